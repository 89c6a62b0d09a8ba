"""What of an encoded file bears pixels: PNG and JPEG without their metadata, so that metadata decides nothing.

Text, profiles, thumbnails and their checksums are cut out before a decoder sees the file: a workflow of 2 MB in a text
chunk, a broken colour profile or a wrong checksum of an ancillary chunk neither refuses a picture nor changes it.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_APP0, _APP14, _COMMENT, _SCAN = 0xE0, 0xEE, 0xFE, 0xDA


class BareFile(NamedTuple):
    """A file without its metadata, the Exif block that stood in it, and how many frames its header claims."""

    data: bytes
    exif: bytes = b""
    frames: int = 1


def pixels_only(data: bytes) -> BareFile:
    """The file without metadata; as it is where it is neither PNG nor JPEG, or its structure is damaged."""
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    return BareFile(data)


def orientation(exif: bytes) -> int:
    """The orientation 1 to 8 that an Exif block names; 1 where it names none, or cannot be read."""
    if not exif:
        return 1
    try:
        block: Any = Image.Exif()
        block.load(exif)
        value = block.get(_ORIENTATION)
    except Exception:  # metadata that cannot be read decides nothing
        return 1
    return value if value in range(1, 9) else 1


def _png(data: bytes) -> BareFile:
    """The critical chunks (PNG, section 5.4): those whose name begins with a capital letter."""
    kept, exif, frames = [PNG], b"", 1
    position, size = 8, len(data)
    while position + 12 <= size:
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > size:
            break
        if not name[0] & 0x20:
            kept.append(data[position:end])
        elif name == b"eXIf":
            exif = exif or data[position + 8 : end - 4]
        elif name == b"acTL" and length == 8:
            frames = max(1, int.from_bytes(data[position + 8 : position + 12], "big"))
        position = end
        if name == b"IEND":
            return BareFile(b"".join(kept), exif, frames)
    return BareFile(b"".join([*kept, data[position:]]), exif, frames)


def _jpeg(data: bytes) -> BareFile:
    """The segments up to the first scan but for APP1 to APP13, APP15 and comments; APP14 says how colours are coded."""
    kept, exif = [data[:2]], b""
    position, size = 2, len(data)
    while position + 4 <= size and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _SCAN or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or end > size or end < position + 4:
            break
        if marker == 0xE1 and data.startswith(b"Exif\0\0", position + 4):
            exif = exif or data[position + 4 : end]
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= 0xEF or marker == _COMMENT):
            kept.append(data[position:end])
        position = end
    return BareFile(b"".join([*kept, data[position:]]), exif)
