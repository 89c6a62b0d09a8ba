"""Images inside .zip and uncompressed .tar archives, read in place: nothing is extracted to disk.

Only the offsets of the members are kept; each read fetches one member's bytes at its offset, so any number of
threads read one archive. Member names are labels, never paths, so absolute names and ".." do no harm. Zip members
come in the order of their names, as in a folder; tar members in the tar's own order, which reads it once from
front to back (WebDataset shards).
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from genaudit.data.decode import BadImage
from genaudit.data.folder import extension, is_image_name
from genaudit.data.image_set import Listing
from genaudit.data.reader import EncodedReader, PositionedFile
from genaudit.errors import UserError

_LOCAL_HEADER = 30  # bytes of a zip's local header before name and extra field
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class ZipReader(EncodedReader):
    """Members of a zip by their local headers' offsets."""

    def __init__(self, path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> None:
        self.file = PositionedFile(path)
        self.table = np.array(
            [(m.header_offset, m.compress_size, m.file_size, m.compress_type, m.CRC) for m in members], dtype=np.int64
        ).reshape(-1, 5)
        self.encrypted = frozenset(i for i, m in enumerate(members) if m.flag_bits & 0x1)
        self.max_bytes = max_bytes

    def fetch(self, index: int) -> bytes:
        offset, packed, size, method, checksum = (int(value) for value in self.table[index])
        if index in self.encrypted:
            raise BadImage("is encrypted; a zip without a password would be right")
        _check_declared(size, self.max_bytes)
        start = zip_data_start(self.file, offset)
        raw = self.file.read_at(start, min(packed, self.max_bytes))
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

    def close(self) -> None:
        self.file.close()


class TarReader(EncodedReader):
    """Members of an uncompressed tar by offset and size."""

    def __init__(self, path: Path, spans: list[tuple[int, int]], max_bytes: int) -> None:
        self.file = PositionedFile(path)
        self.spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        self.max_bytes = max_bytes

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


def list_zip(path: Path, role: str, max_pixels: int) -> Listing:
    """Every image of a zip, sorted by name.

    Raises:
        UserError: not a zip, or a damaged directory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{role}: {path} is not a zip archive that can be read ({error}).") from error
    members.sort(key=lambda member: _label(member.filename))
    ignored: Counter[str] = Counter()
    images: list[zipfile.ZipInfo] = []
    for member in members:
        if is_image_name(_label(member.filename)):
            images.append(member)
        else:
            ignored[extension(member.filename)] += 1
    names = [_label(member.filename) for member in images]
    return Listing(names, ZipReader(path, images, max_bytes(max_pixels)), ignored)


def list_tar(path: Path, role: str, max_pixels: int, limit: int | None = None) -> Listing:
    """Every image of a tar in its order; with `limit` no header is read beyond the last image needed.

    Raises:
        UserError: not a tar, compressed, or cut off.
    """
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise UserError(
                f"{role}: {path} is compressed ({kind}), so single images cannot be read from it. Give an "
                f"uncompressed .tar (images are compressed already) or a .zip."
            )
    names: list[str] = []
    spans: list[tuple[int, int]] = []
    ignored: Counter[str] = Counter()
    try:
        with tarfile.open(path, "r:") as archive:
            while limit is None or len(names) < limit:
                member = archive.next()
                if member is None:
                    break
                archive.members.clear()  # type: ignore[attr-defined] # or a large tar's headers would all stay in memory
                if member.isdir():
                    continue
                name = _label(member.name)
                if member.isreg() and is_image_name(name):
                    names.append(name)
                    spans.append((-1 if member.issparse() else member.offset_data, member.size))
                else:
                    ignored[extension(name)] += 1
    except tarfile.TarError as error:
        after = f", after {names[-1]}" if names else ""
        raise UserError(f"{role}: {path} is not a tar archive, or it is cut off{after} ({error}).") from error
    return Listing(names, TarReader(path, spans, max_bytes(max_pixels)), ignored)


def max_bytes(max_pixels: int) -> int:
    """The largest file that an image of `max_pixels` needs: 16-bit RGBA, uncompressed, and a margin for metadata."""
    return 8 * max_pixels + (16 << 20)


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


def _label(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name
