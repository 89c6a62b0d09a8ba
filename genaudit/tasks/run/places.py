"""Folders that a run writes into: whether they can be written is found out before anything is measured."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from genaudit.errors import UserError

STEPS = "tables"  # the folder of the steps of `genaudit reproduce` in the row store
ROOM = 256 << 10  # bytes that a report needs at the least: a disk with less is full


def expanded(key: str, given: str) -> Path:
    """A path whose ~ is the home folder.

    Raises:
        UserError: there is no home folder.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UserError(f"{key}={given}: no home folder can be found for ~; write the path in full") from None


def check_folder(key: str, folder: Path, files: Iterable[str] = ()) -> None:
    """Tries whether files can be written into a folder, which is not made yet.

    Args:
        key: that names it. files: what will be written there; a folder of such a name is in the way.

    Raises:
        UserError: it is a file or within one, cannot be written, is full, or something is in the way.
    """
    there = folder
    try:
        while not _is_there(there):
            there = there.parent
        if not there.is_dir():
            inside = "" if there == folder else f" and {folder} would lie within it"
            raise UserError(f"{key}={folder}: {there} is not a folder{inside}; name a folder that can be made")
        for name in files:
            if (folder / name).is_dir():
                raise UserError(f"{key}={folder}: {name} there is a folder, and a file of that name is to be written")
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(ROOM))
            probe.flush()
            os.fsync(probe.fileno())
    except (OSError, ValueError) as error:
        raise UserError(_sentence(key, folder, error)) from error


def _is_there(path: Path) -> bool:
    """Whether something of that name is there, a dangling link too; what cannot be a name is an error."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextlib.contextmanager
def saving(key: str, folder: Path) -> Iterator[None]:
    """While results are saved, after they were printed: a fault of the disk is one sentence."""
    try:
        yield
    except OSError as error:
        kept = "; what was measured is kept in the row store, and the same command with another out= saves it"
        raise UserError(_sentence(key, folder, error) + kept) from error


def _sentence(key: str, folder: Path, error: OSError | ValueError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{key}={folder}: it cannot be written ({reason})"
