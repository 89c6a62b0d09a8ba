"""Images inside .zip and .tar archives, read in place; compressed tars are unpacked once into a file without a name.

An archive that is damaged, cut off or incomplete is refused as a whole, not read in part. Only the offsets of the
members are kept; each read fetches one member's bytes at its offset, so any number of threads read one archive. Member
names are labels, never paths, so absolute names and ".." do no harm. Zip members come in the order of their names, as
in a folder; tar members in the tar's own order, which reads it once from front to back (WebDataset shards).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data import tar_members, zip_members
from genaudit.data.bad_image import BadImage
from genaudit.data.columns import is_text, of_members
from genaudit.data.ignored import LINK, SPECIAL, Note, leave_out_companions, why_ignored
from genaudit.data.image_set import Listing
from genaudit.data.reader import EncodedReader, PositionedFile, max_bytes
from genaudit.data.tar_members import Member, label
from genaudit.data.unpacked import UnpackedFile, UnpackingError, compression
from genaudit.errors import UserError
from genaudit.reading import open_regular

Fits = Callable[[str], bool]

_TEXT_BYTES = 1 << 16  # of a text beside an image
_LOCAL_HEADER = 30  # bytes of a zip's local header before name and extra field


class ZipReader(EncodedReader):
    """Members of a zip by their local headers' offsets."""

    def __init__(self, path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> None:
        self.file = PositionedFile(path)
        self.table = np.array(
            [(m.header_offset, m.compress_size, m.file_size, m.compress_type, m.CRC) for m in members], dtype=np.int64
        ).reshape(-1, 5)
        self.encrypted = frozenset(i for i, m in enumerate(members) if m.flag_bits & 0x1)
        self.max_bytes = max_bytes

    def weight(self, index: int) -> int:
        return int(self.table[index, 1] + self.table[index, 2])

    def fetch(self, index: int) -> bytes:
        offset, packed, size, method, checksum = (int(value) for value in self.table[index])
        if index in self.encrypted:
            raise BadImage("is encrypted; expected a zip without a password")
        _check_declared(size, self.max_bytes)
        raw = self.file.read_at(zip_data_start(self.file, offset), min(packed, self.max_bytes))
        if method == zipfile.ZIP_STORED:
            data = raw
        elif method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-15).decompress(raw, size + 1)  # no more than declared, whatever it holds
            except zlib.error as error:
                raise BadImage("is damaged inside the zip (its compressed data cannot be unpacked)") from error
        else:
            raise BadImage(f"is compressed by zip method {method}; stored or deflated members can be read")
        if len(data) != size or zlib.crc32(data) != checksum:
            raise BadImage("is damaged inside the zip (size or checksum does not match)")
        return data

    def start(self, index: int, most: int) -> bytes:
        """Up to `most` first bytes of a member, unverified."""
        offset, packed, _, method, _ = (int(value) for value in self.table[index])
        raw = self.file.read_at(zip_data_start(self.file, offset), min(packed, 2 * most))
        try:
            return zlib.decompressobj(-15).decompress(raw, most) if method == zipfile.ZIP_DEFLATED else raw[:most]
        except zlib.error:
            return b""

    def close(self) -> None:
        self.file.close()


class TarReader(EncodedReader):
    """Members of a tar by offset and size."""

    def __init__(self, file: PositionedFile, spans: list[tuple[int, int]], max_bytes: int) -> None:
        self.file = file
        self.spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        self.max_bytes = max_bytes

    def weight(self, index: int) -> int:
        return int(self.spans[index, 1])

    def fetch(self, index: int) -> bytes:
        offset, size = (int(value) for value in self.spans[index])
        if offset < 0:
            raise BadImage("is a sparse tar member, which is not supported")
        _check_declared(size, self.max_bytes)
        data = self.file.read_at(offset, size)
        if len(data) != size:
            raise BadImage("is cut off: the archive ends inside it")
        return data

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True)
class MemberText:
    """Reads a text of a tar by its offset and size; of a larger one only the beginning."""

    file: PositionedFile

    def __call__(self, place: tuple[int, int]) -> bytes:
        offset, size = place
        return self.file.read_at(offset, min(size, _TEXT_BYTES)) if size else b""


def list_zip(path: Path, role: str, max_pixels: int, fits: Fits | None = None) -> Listing:
    """Every image of a zip, sorted by name; links within the zip stand for the member that they name.

    With `fits`, a test of names, only the images that it chooses, masks beside images too.

    Raises:
        UserError: not a zip, a damaged directory, or one that lists less than there is.
    """
    try:
        every = zip_members.members(path)
    except zip_members.IncompleteZip as error:
        raise UserError(f"{role}: {path} {error}.") from error
    every.sort(key=lambda member: label(member.filename))
    reader = ZipReader(path, every, max_bytes(max_pixels))
    by_name = {label(member.filename): member for member in every}
    ignored: Counter[str] = Counter()
    names: list[str] = []
    texts: dict[str, int] = {}
    images: list[zipfile.ZipInfo] = []
    for index, member in enumerate(every):
        name = label(member.filename)
        found: zipfile.ZipInfo | None = member
        if zip_members.is_link(member):
            found = by_name.get(label(zip_members.target(member, _fetched(reader, index))))
        reason = why_ignored(name, lambda index=index: _fetched(reader, index, 64))  # type: ignore[misc]
        reason = reason or (LINK if found is None or zip_members.is_link(found) else "")
        if is_text(name):
            texts[name] = index
        if reason or found is None:
            ignored[reason] += 1
        else:
            names.append(name)
            images.append(found)
    kept, notes = _chosen(names, ignored, fits)
    images = [images[index] for index in kept]
    names = [names[index] for index in kept]
    columns = of_members(names, texts, reader.fetch, str(path))
    return Listing(names, ZipReader(path, images, max_bytes(max_pixels)), ignored, notes, columns=columns)


def _chosen(names: Sequence[str], ignored: Counter[str], fits: Fits | None) -> tuple[list[int], tuple[Note, ...]]:
    """The places of the images that are used, as `leave_out_companions` chooses, or `fits` where it is given."""
    if fits is None:
        return leave_out_companions(names, ignored)
    return [index for index, name in enumerate(names) if fits(name)], ()


def _fetched(reader: ZipReader, index: int, most: int = 1 << 20) -> bytes:
    """A member's bytes where it is small enough to be looked into, none where it cannot be read."""
    try:
        return reader.start(index, most)
    except (BadImage, OSError):
        return b""


def list_tar(path: Path, role: str, max_pixels: int, fits: Fits | None = None) -> Listing:
    """Every image of a tar in its order, or those that `fits` chooses.

    Links within the tar stand for the member that they name. A tar that is compressed (gzip, bzip2, xz; zstd where
    Python or the package zstandard unpacks it) is unpacked into a temporary file without a name.

    Raises:
        UserError: not a tar, damaged, cut off, or followed by what does not belong to it.
    """
    with open_regular(path) as file:
        packed = compression(file.read(8))
    data = UnpackedFile(path) if packed else PositionedFile(path)
    names: list[str] = []
    found: list[Member] = []
    texts: dict[str, tuple[int, int]] = {}
    ignored: Counter[str] = Counter()
    try:
        with data.whole() as file:
            for member in tar_members.members(file):
                reason = _why_ignored(data, member)
                if is_text(member.name) and not member.special:
                    texts[member.name] = member.offset, member.size
                if reason:
                    ignored[reason] += 1
                else:
                    names.append(member.name)
                    found.append(member)
            found = _followed(file, found)
    except tar_members.Incomplete as error:
        raise UserError(f"{role}: {path} {error}.") from error
    except UnpackingError as error:
        raise UserError(f"{role}: {path} cannot be unpacked ({packed}): {error}.") from error
    whole = [index for index, member in enumerate(found) if not member.target]
    ignored.update([LINK] * (len(found) - len(whole)))
    kept, notes = _chosen([names[index] for index in whole], ignored, fits)
    chosen = [whole[index] for index in kept]
    spans = [(found[index].offset, found[index].size) for index in chosen]
    names = [names[i] for i in chosen]
    columns = of_members(names, texts, MemberText(data), str(path))
    return Listing(names, TarReader(data, spans, max_bytes(max_pixels)), +ignored, notes, columns=columns)


def _why_ignored(data: PositionedFile, member: Member) -> str:
    if member.special:
        return SPECIAL
    return why_ignored(member.name, lambda: data.read_at(member.offset, min(member.size, 64)) if member.size else b"")


def _followed(file: Any, found: list[Member]) -> list[Member]:
    """The members with links as what they name; links that lead nowhere stay."""
    if not any(member.target for member in found):
        return found
    file.seek(0)
    every = {member.name: member for member in tar_members.members(file)}
    followed = []
    for member in found:
        last = member
        for _ in range(8):  # links may name links
            last = every.get(last.target, last) if last.target else last
        followed.append(member if last.special else last)
    return followed


def zip_data_start(file: PositionedFile, header_offset: int) -> int:
    """Where a zip member's data begins; raises BadImage where its local header is damaged."""
    header = file.read_at(header_offset, _LOCAL_HEADER)
    if len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise BadImage("is damaged inside the zip (no header where the directory says)")
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    return int(header_offset + _LOCAL_HEADER + name_length + extra_length)


def _check_declared(size: int, limit: int) -> None:
    if size > limit:
        raise BadImage(f"would unpack to {size:,} bytes, more than an image of max_pixels needs ({limit:,})")
