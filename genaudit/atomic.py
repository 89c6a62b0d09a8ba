"""A file that is whole or not there: written beside its place under another name, then renamed in one step."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".tmp"  # of what a process that was killed leaves behind
STALE_SECONDS = 86_400  # a file this old is nobody's: no write takes a day
LONGEST = 64  # characters of the file's own name in that of the temporary one: names end at 255 bytes


@contextmanager
def atomic_write(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Gives a path to write to; on leaving, that file takes the place of `path`; where anything fails, nothing stays.

    Readers see the old file or the new one, never a part. Any number of processes may write the same path: each has a
    temporary file of its own, and the last to finish stands.

        with atomic_write(out / "record.json") as temporary:
            temporary.write_text(text)

    Args:
        path: its folder is made where it is missing.
        durable: the contents reach the disk before the file takes its place, for what a power cut must not cost.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:LONGEST]}.{secrets.token_hex(6)}{SUFFIX}")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path, seconds: float = STALE_SECONDS) -> list[Path]:
    """Removes temporary files of killed processes that are older than `seconds`; returns what it removed."""
    removed = []
    for path in folder.glob(f"*{SUFFIX}") if folder.is_dir() else []:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()
                removed.append(path)
    return removed
