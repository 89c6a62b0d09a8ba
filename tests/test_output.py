"""Whatever becomes of standard output, the work is done and the exit code is the command's own."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genaudit import output
from genaudit.cli import main
from genaudit.errors import DONE, REJECTED
from genaudit.reports.styled import make_console

PIXELS = ("feature_model=pixels", "feature_model.size=4", "progress=false", "device=cpu")


class Unwritable(io.StringIO):
    """A stream whose other end is gone, or whose disk is full."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


def console(encoding: str) -> tuple[io.BytesIO, io.TextIOWrapper]:
    held = io.BytesIO()
    return held, io.TextIOWrapper(held, encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_replaced_and_the_rest_is_as_it_was(encoding: str) -> None:
    held, stream = console(encoding)
    forgiving = output.Forgiving(stream)
    assert forgiving.write("value ↓ é │\n") == 12
    forgiving.flush()
    assert held.getvalue() == "value ↓ é │\n".encode(encoding, "replace")


def test_a_lone_surrogate_of_a_file_name_is_replaced_in_utf_8() -> None:
    held, stream = console("utf-8")
    output.Forgiving(stream).write("a\udcffb")
    stream.flush()
    assert held.getvalue() == b"a?b"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF])
def test_a_table_on_a_stream_that_fails_raises_nothing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    stream: Any = output.Forgiving(Unwritable(number), "standard output")
    make_console(stream).print("a table")  # rich ends the program with code 1 where it sees a broken pipe
    stream.write("more")
    stream.flush()
    assert not stream.isatty()
    silent = number in (errno.EPIPE, errno.EIO)
    assert said.getvalue().count("standard output cannot be written") == (0 if silent else 1)


def test_who_still_holds_the_stream_cannot_close_the_process_s() -> None:
    """A log handler of a library keeps the stream that it found when it was imported, and closes it at its own end."""
    held, stream = console("utf-8")
    output.Forgiving(stream).close()
    stream.write("still open")
    stream.flush()
    assert held.getvalue() == b"still open"


def test_the_streams_are_the_callers_again_afterwards() -> None:
    before = sys.stdin, sys.stdout, sys.stderr
    with output.forgiving():
        assert sys.stdout is not before[1]
        assert sys.stderr is not before[2]
    assert (sys.stdin, sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_verb_on_a_console_that_is_not_utf_8_is_done(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, stream = console(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["list", "metrics"]) == DONE
    assert b"irs_alpha" in held.getvalue()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "genaudit", *arguments]


@pytest.mark.parametrize("how", ["reader that left", "full disk", "closed"])
def test_a_rejecting_gate_rejects_and_writes_its_files_whoever_reads_its_output(
    how: str, make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collapsed model: `genaudit reject ... | head -1` and `... > /dev/full` must not pass it."""
    train, one = make_images("train", 40, seed=1), make_images("one", 1, seed=2)
    collapsed = tmp_path / "collapsed"
    collapsed.mkdir()
    for i in range(60):
        (collapsed / f"{i}.png").write_bytes((one / "0000.png").read_bytes())
    out = tmp_path / "out"
    arguments = command("reject", str(collapsed), f"train={train}", "absolute=true", *PIXELS, f"out={out}")
    if "absolute" not in (Path(__file__).parents[1] / "configs" / "reject.yaml").read_text():
        arguments.remove("absolute=true")
    if how == "full disk" and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    if how == "closed":
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *arguments], stderr=subprocess.PIPE, text=True)
    elif how == "full disk":
        with open("/dev/full", "w") as full:
            done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    else:
        reads, writes = os.pipe()
        os.close(reads)
        done = subprocess.run(arguments, stdout=writes, stderr=subprocess.PIPE, text=True)
        os.close(writes)
    assert done.returncode == REJECTED, done.stderr
    assert (out / "decision.json").exists()
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert ("No space left" in done.stderr) == (how == "full disk")
