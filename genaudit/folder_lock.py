"""One process at a time in a folder: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genaudit.errors import UserError

NAME = ".lock"


class LockedElsewhere(UserError):
    """Another process holds a folder's lock."""


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Holds the folder's lock inside.

    The lock is the operating system's, on the file `.lock`: it is gone as soon as the process is, killed or not. NFS
    and the usual cluster file systems keep it between hosts. Where a file system has none, the file itself is the lock;
    one that a process of this host left behind is taken over.

    Args:
        what: what is done there, for the message: "trained".

    Raises:
        LockedElsewhere: another process holds it; says which.
    """
    path = folder / NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            got = _lock(descriptor)
            if got is False or (got is None and _alive(path)):
                raise _held(path, folder, what)
            if not _same(descriptor, path):  # its holder removed it between our opening and locking it
                continue
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return
        finally:
            os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool | None:
    """Whether this process has the lock now; None where the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _lock_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN) else None
    return True


def _lock_windows(descriptor: int) -> bool:
    import msvcrt

    os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond what is written, which stays readable
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def _holder(path: Path) -> tuple[int, str] | None:
    try:
        about = json.loads(path.read_text())
        return int(about["pid"]), str(about["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(path: Path) -> bool:
    """Whether the process that the file names may still run; one of another host may."""
    holder = _holder(path)
    if holder is None or holder == (os.getpid(), socket.gethostname()):
        return False
    pid, host = holder
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _held(path: Path, folder: Path, what: str) -> LockedElsewhere:
    holder = _holder(path)
    who = f" (process {holder[0]} on {holder[1]})" if holder else ""
    return LockedElsewhere(
        f"{folder} is being {what} by another process{who}: wait until it has ended, or give another out="
    )
