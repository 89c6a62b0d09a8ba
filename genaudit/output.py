"""Standard output and error that may vanish, fill up or lack characters while a command works on to its own end.

A reader that leaves (`| head -1`), a full disk (`> /dev/full`), a closed terminal or an encoding without the
characters of a table change nothing but what is read: files are written and the exit code is the command's own.

`told` is what the command line was asked to say: `--quiet` says errors only, `--json` a line of JSON a run, and a run
that has a folder keeps what is said in its log.txt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

LEFT = (errno.EPIPE, errno.ECONNRESET, errno.EIO)  # the reader left or hung up: nobody is there to be told


class Told:
    """What this process's command says, and where; a program that imports genaudit says nothing here but notes."""

    def __init__(self) -> None:
        self.quiet = False
        self.command = ""
        self.results: list[dict[str, Any]] = []
        self._log: list[str] | None = None
        self._file: Any = None
        self._path: str | None = None
        self._mode = "w"

    def note(self, text: str) -> None:
        """A line for the person who waits, on standard error and in the log."""
        if not self.quiet:
            print(f"genaudit: {text}", file=sys.stderr, flush=True)
        self.log(f"genaudit: {text}\n")

    def result(self, **facts: Any) -> None:
        """What `--json` prints of a run."""
        self.results.append(facts)

    def keep_log(self, path: str | os.PathLike[str], head: str, *, mode: str = "w") -> None:
        """From now on what is said is kept; the file is made when `begin_log` says that the run begins.

        Args:
            head: its first lines. mode: "w" replaces the log of an earlier run in the same folder, "a" goes on with it.
        """
        self.end_log()
        self._path, self._log, self._mode = os.fspath(path), [head], mode

    def begin_log(self) -> None:
        """The run begins: its log is written from here on, where it can be."""
        if self._log is None or self._path is None or self._file is not None:
            return
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            self._file = open(self._path, self._mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            self._file.write("".join(self._log))
            self._file.flush()

    def log(self, text: str) -> None:
        """Into the log alone; colours and the like are left out."""
        if self._log is None:
            return
        text = _TERMINAL.sub("", text)
        if self._file is None:
            self._log.append(text)
            return
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
            self._file.flush()

    def end_log(self, last: str = "") -> None:
        if last:
            self.log(last)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._log = self._file = self._path = None


told = Told()
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Forgiving:
    """A text stream that replaces what its encoding lacks, and falls silent where it cannot be written.

    Args:
        stream: what is written to. name: how the one sentence about a failure calls it; None says nothing.
        logged: what is written goes into the log too. muted: it goes nowhere else.
    """

    def __init__(self, stream: Any, name: str | None = None, *, logged: bool = False, muted: bool = False) -> None:
        self._stream, self._name, self._silent = stream, name, False
        self._logged, self._muted = logged, muted
        self._number = _descriptor(stream)

    def write(self, text: str) -> int:
        """Takes all of `text`, whatever becomes of it."""
        if self._logged:
            told.log(text)
        if not self._silent and not self._muted:
            try:
                self._write(text)
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self._fall_silent(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._silent:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fall_silent(error)

    def close(self) -> None:
        """Closes nothing: the stream is the process's, and who holds this may outlive the command (a log handler)."""
        self.flush()

    def isatty(self) -> bool:
        try:
            return not (self._silent or self._muted) and bool(self._stream.isatty())
        except (OSError, ValueError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "replace").decode(encoding))

    def _fall_silent(self, error: Exception) -> None:
        self._silent = True
        if self._number is not None:  # what is still buffered goes nowhere, also when Python ends and flushes again
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._number)
                os.close(nowhere)
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()
        if self._name is not None and isinstance(error, OSError) and error.errno not in LEFT:
            why = error.strerror or type(error).__name__
            print(f"genaudit: {self._name} cannot be written ({why}); the command continues", file=sys.stderr)


@contextlib.contextmanager
def forgiving(*, muted: bool = False) -> Iterator[Forgiving]:
    """Makes `sys.stdout` and `sys.stderr` forgiving for a while, and flushes them at its end.

    Args:
        muted: nothing is said on standard output but by what this gives: standard output itself.

    Standard input that was closed is empty; its bytes are read as names of files are, whatever the console's encoding.
    """
    _open_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    else:
        _read_names(sys.stdin)
    sys.stderr = Forgiving(sys.stderr or open(os.devnull, "w"))  # noqa: SIM115
    plain = Forgiving(sys.stdout or open(os.devnull, "w"), "standard output")  # noqa: SIM115
    sys.stdout = Forgiving(before[1] or plain, "standard output", logged=True, muted=muted)
    try:
        yield plain
    finally:
        for stream in (sys.stdout, plain, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def _open_descriptors() -> None:
    """Opens what of 0, 1 and 2 is closed: else a file that is opened later is taken for the console."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest free number


def _read_names(stream: Any) -> None:
    if hasattr(stream, "reconfigure"):
        with contextlib.suppress(Exception):  # it was read from before, by whoever called us
            stream.reconfigure(encoding=sys.getfilesystemencoding(), errors="surrogateescape")


def _descriptor(stream: Any) -> int | None:
    """The stream's file descriptor, where it is that of a console: 1 or 2."""
    try:
        number = int(stream.fileno())
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return number if number in (1, 2) else None
