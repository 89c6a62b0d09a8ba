"""The members of a tar, every one of them: a tar that is damaged, cut off or incomplete is refused, not read in part.

Python's `tarfile` ends in silence at the first header that it cannot read; where it ends is looked at here. A whole tar
ends with two blocks of zeros, filled up to a record of 10,240 bytes at most (POSIX.1-2008, pax, "ustar interchange").
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

BLOCK, RECORD = 512, 10240
_PIECE = 1 << 20


class Incomplete(Exception):
    """A tar that does not hold what it should; the text is a predicate that follows its name."""


class Member(NamedTuple):
    """A member that is no folder.

    Attributes:
        name: its path, as a label. offset, size: of its bytes in the tar; offset -1 where it is sparse.
        target: for links the path of the member that they stand for, else "". special: a device or pipe.
    """

    name: str
    offset: int
    size: int
    target: str = ""
    special: bool = False


def members(file: Any) -> Iterator[Member]:
    """The members of an open, uncompressed tar in their order.

    Raises:
        Incomplete: no tar, damaged, cut off, or followed by what does not belong to it; raised after the last member
            that could be read.
    """
    name = ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # or a large tar's headers would all stay in memory
                name = label(member.name)
                if not member.isdir():
                    yield _member(name, member)
            end = archive.offset
    except (tarfile.TarError, EOFError, OSError, ValueError, LookupError, OverflowError, MemoryError) as error:
        raise Incomplete(f"is not a tar archive, or it is cut off{_after(name)} ({error})") from error
    _check_end(file, end, name)


def label(name: str) -> str:
    """A member's name without a leading "./"."""
    while name.startswith("./"):
        name = name[2:]
    return name


def _member(name: str, member: tarfile.TarInfo) -> Member:
    if member.islnk():
        return Member(name, 0, 0, label(member.linkname))
    if member.issym():
        return Member(name, 0, 0, posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
    if not member.isreg():
        return Member(name, 0, 0, special=True)
    return Member(name, -1 if member.issparse() else member.offset_data, member.size)


def _after(name: str) -> str:
    return f", after {name}" if name else ""


def _check_end(file: Any, end: int, name: str) -> None:
    """Refuses a tar whose members end at byte `end` without the mark of an end, or that continues behind it."""
    file.seek(end)
    header = file.read(BLOCK)
    if len(header) < BLOCK:
        raise Incomplete(f"is cut off{_after(name)}: it has no end mark (two blocks of zeros)")
    if any(header):
        raise Incomplete(f"is damaged{_after(name)}: the header of the next member cannot be read")
    zeros = BLOCK
    # a whole tar needs two blocks, and at most fills its last record: more stands for members that were lost
    most = (end + 2 * BLOCK + RECORD - 1) // RECORD * RECORD - end
    while piece := file.read(_PIECE):
        if any(piece):
            raise Incomplete(
                f"continues behind its end{_after(name)}: it is several archives in one file, or a part of it is lost; "
                "give each archive by itself, or pack them again"
            )
        zeros += len(piece)
        if zeros > most:
            raise Incomplete(
                f"is followed by more zeros than a tar ends with{_after(name)}: its rest may be lost (a download that "
                "is not complete); pack it again if it is whole"
            )
