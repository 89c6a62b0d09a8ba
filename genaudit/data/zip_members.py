"""The members of a zip, every one of them: a zip that does not list all that it holds is refused, not read in part."""

from __future__ import annotations

import os
import posixpath
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL = b"PK\x03\x04"
_TAIL = 22 + 65535  # bytes of the end record with the longest comment
_LINK_BYTES = 4096


class IncompleteZip(Exception):
    """A zip that does not list what it holds; the text is a predicate that follows its name."""


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The members that are no folders, links within the zip as the members that they name.

    Raises:
        Incomplete: no zip, a damaged directory, or one that lists less than there is.
    """
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            every = archive.infolist()
            _check_count(file, len(every))
            _check_start(file, every)
            return [member for member in every if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, LookupError) as error:
        raise IncompleteZip(f"is not a zip archive that can be read ({error})") from error


def is_link(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a symbolic link: its data are then the path that it names."""
    return stat.S_ISLNK(member.external_attr >> 16) and member.file_size <= _LINK_BYTES


def target(member: zipfile.ZipInfo, data: bytes) -> str:
    """The path in the zip that a link names."""
    text = data.decode("utf-8", "replace")
    return posixpath.normpath(posixpath.join(posixpath.dirname(member.filename), text))


def _check_count(file: Any, listed: int) -> None:
    """The end record says how many members the directory has (APPNOTE 4.3.16, and 4.3.14 for zip64)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL - 20))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0:
        return
    (claimed,) = struct.unpack_from("<H", tail, end + 10)
    locator = tail[end - 20 : end] if end >= 20 else b""
    if locator.startswith(_LOCATOR_64):
        file.seek(struct.unpack_from("<Q", locator, 8)[0])
        record = file.read(56)
        if record.startswith(_END_64):
            claimed = struct.unpack_from("<Q", record, 32)[0]
    # writers without zip64 count modulo 65,536
    if claimed not in (listed, 0xFFFF) and claimed != listed % 65536:
        raise IncompleteZip(f"is damaged: its directory lists {listed:,} members and its end record says {claimed:,}")


def _check_start(file: Any, listed: list[zipfile.ZipInfo]) -> None:
    """A zip may stand behind a program; but another zip before it would be lost."""
    first = min((member.header_offset for member in listed), default=0)
    file.seek(0)
    if first > 0 and file.read(4) == _LOCAL:
        raise IncompleteZip(
            "is several archives in one file, or its directory is damaged: members stand before the first that it "
            "lists; give each archive by itself, or pack them again"
        )
