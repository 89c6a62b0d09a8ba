"""Files that belong together replace those of an earlier run all at once: no reader sees some of each.

They are written in a folder beside the target. Where the target holds nothing else, the two folders are exchanged in
one step of the file system. Where it holds other files too, or the file system cannot exchange, the old files leave
before the new ones come, and come back if anything fails; the last file, by which a folder is known to be whole, leaves
first and comes last.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def replaced(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """Gives a folder to write the files `names` into; on leaving they stand in `out`, where nothing fails.

    Args:
        out: made where it is missing. names: the files, the one last by which the folder is known to be whole; those
            that are not written are removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    out = Path(os.path.realpath(out))
    staging = _staging(out)
    try:
        yield staging
        if not _exchanged(staging, out, names):
            _moved(staging, out, names)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _staging(out: Path) -> Path:
    """A new folder beside `out`, or in it where nothing may be written beside it."""
    name = f".{out.name}.{secrets.token_hex(4)}.tmp"
    for parent in (out.parent, out):
        with contextlib.suppress(PermissionError):
            (parent / name).mkdir()
            return parent / name
    (out / name).mkdir()  # raises what is wrong
    return out / name


def _exchanged(staging: Path, out: Path, names: Sequence[str]) -> bool:
    """Puts the whole folder in the place of `out` if that holds nothing but earlier files of these names."""
    here = Path.cwd() if _has_cwd() else None
    if staging.parent == out or (here is not None and (out == here or out in here.parents)):
        return False
    if not set(os.listdir(out)) <= set(names):
        return False
    os.chmod(staging, out.stat().st_mode & 0o7777)
    return _exchange(staging, out)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; False where this system has no such step."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            call: Callable[..., int] = libc.renameat2
            done = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
        elif sys.platform == "darwin":
            done = libc.renamex_np(os.fsencode(one), os.fsencode(other), _RENAME_EXCHANGE)
        else:
            return False
    except (OSError, AttributeError, TypeError):  # no such function, or no library to ask
        return False
    return done == 0


def _moved(staging: Path, out: Path, names: Sequence[str]) -> None:
    """Old files out, then new files in; if anything fails, all back as it was."""
    back: list[tuple[Path, Path]] = []
    try:
        for name in reversed(names):
            if os.path.lexists(out / name):
                os.rename(out / name, staging / f"old.{name}")
                back.append((staging / f"old.{name}", out / name))
        for name in names:
            if os.path.lexists(staging / name):  # else one that only leaves
                os.rename(staging / name, out / name)
                back.append((out / name, staging / name))
    except BaseException:
        for now, before in reversed(back):
            with contextlib.suppress(OSError):
                os.rename(now, before)
        raise


def _has_cwd() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
