"""What of a TIFF bears pixels: the first page without its metadata, and how its samples are to be read.

Pillow ignores some of what the tags say: 16-bit and float grey where white is zero, 12 bits a sample, signed bytes,
subsampled YCbCr without compression. Such files are read by their tags here, or refused.
(TIFF 6.0, sections 3 to 6 and 21.)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from genaudit.data.bad_image import BadImage

_TYPES = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
}  # of the tags read here; others stand for none
_NEW_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 254, 258, 259, 262, 274
_SAMPLE_FORMAT, _SUBSAMPLING = 339, 530
# Tags without which the pixels cannot be decoded; all others are metadata and are cut out.
_PIXEL_TAGS = frozenset((
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325),
    *(332, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 532, 34925, 50674),
))  # fmt: skip
_MOST_PAGES = 1 << 20


class Tiff(NamedTuple):
    """A TIFF's first page without metadata.

    Attributes:
        data: the file. orientation: 1 to 8, which the decoder no longer sees. frames: its pages.
        levels: the largest value of a grey sample of more than 8 bits. inverted: white is zero and the decoder, which
            turns 8-bit grey itself, leaves it so.
    """

    data: bytes
    orientation: int = 1
    frames: int = 1
    levels: int = 65535
    inverted: bool = False


def read_tiff(data: bytes) -> Tiff:
    """The first page of a classic TIFF; other kinds (BigTIFF) and damaged ones as they are.

    Raises:
        BadImage: samples of a kind that the decoder would misread.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return Tiff(data)
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
        end = start + 2 + 12 * count
        tags = {int.from_bytes(e[:2], "little" if order == "<" else "big"): _values(data, e, order) for e in entries}
        frames = _pages(data, struct.unpack_from(f"{order}I", data, end)[0], order, start)
    except (struct.error, IndexError):
        return Tiff(data)
    levels, inverted = _samples(tags)
    kept = [e for e in entries if struct.unpack(f"{order}H", e[:2])[0] in _PIXEL_TAGS]
    if inverted:  # the decoder reads it as black is zero, and `decode` turns it
        black_is_zero = struct.pack(f"{order}HHIHH", _PHOTOMETRIC, 3, 1, 1, 0)
        kept = [black_is_zero if struct.unpack(f"{order}H", e[:2])[0] == _PHOTOMETRIC else e for e in kept]
    first = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)  # 0: no further page
    turn = tags.get(_ORIENTATION, (1,))[:1] or (1,)
    plain = b"".join((data[:start], first, data[start + len(first) :]))
    return Tiff(plain, turn[0] if turn[0] in range(1, 9) else 1, frames, levels, inverted)


def _values(data: bytes, entry: bytes, order: str) -> tuple[int, ...]:
    """The whole numbers of an entry of the directory; none for other types."""
    _, kind, count = struct.unpack(f"{order}HHI", entry[:8])
    code = _TYPES.get(kind)
    if code is None or count > 64:
        return ()
    size = struct.calcsize(f"={count}{code}")
    where = struct.unpack(f"{order}I", entry[8:12])[0] if size > 4 else None
    return struct.unpack_from(f"{order}{count}{code}", entry[8:12] if where is None else data, where or 0)


def _pages(data: bytes, offset: int, order: str, first: int) -> int:
    """How many directories the chain holds, the first one included."""
    seen = {first}
    while offset and offset not in seen and len(seen) < _MOST_PAGES:
        try:
            (count,) = struct.unpack_from(f"{order}H", data, offset)
            (following,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)
        except struct.error:
            break
        seen.add(offset)
        offset = following
    return len(seen)


def _samples(tags: dict[int, tuple[int, ...]]) -> tuple[int, bool]:
    """The largest value of a grey sample, and whether white is zero where the decoder leaves that to us."""
    photometric = tags.get(_PHOTOMETRIC, ())[:1]
    bits, formats = set(tags.get(_BITS, (1,))), set(tags.get(_SAMPLE_FORMAT, (1,)))
    if 2 in formats:
        raise BadImage("holds signed samples, and nothing says which value is white; expected unsigned ones")
    if photometric == (6,) and tags.get(_COMPRESSION, (1,)) == (1,) and tags.get(_SUBSAMPLING, (2, 2)) != (1, 1):
        raise BadImage("holds subsampled YCbCr without compression, which cannot be read; expected RGB")
    deep = bits <= {12, 16, 24, 32, 64} or 3 in formats
    return 4095 if bits == {12} else 65535, deep and photometric == (0,)
