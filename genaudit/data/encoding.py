"""How an image file is stored, known from its header, and which of its bytes bear pixels.

Text, profiles, thumbnails and their checksums of PNG and JPEG are cut out before a decoder sees the file: a workflow of
2 MB in a text chunk, a broken colour profile or a wrong checksum of an ancillary chunk neither refuses a picture nor
changes it.

JPEG quality inverts the scaling of the Independent JPEG Group's encoder (jcparam.c of libjpeg), which nearly all others
share: the quality q in 1..100 gives the scale s = 5000/q below 50 and 200 - 2q from there on, and a quantisation step
is (base * s + 50) / 100, cut to 1..255, with the base tables of the JPEG standard (ITU-T T.81, Annex K.1). A table
that no q gives (Photoshop's, mozjpeg's) has "about" the quality whose steps sum to the nearest value.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

ARRAY = "array"  # the format of images that were never files
# fmt: off
LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])  # Table K.1, by rows
# fmt: on
_LOSSY = frozenset(("JPEG", "WEBP", "AVIF", "HEIF", "JPEG2000", "JXL"))
_ALPHA = frozenset(("RGBA", "LA", "PA", "RGBa", "La"))
LOSSLESS_WEBP = "WEBP lossless"
LOSSLESS = "lossless"
PNG, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_ORIENTATION = 0x0112
_APP0, _APP14, _COMMENT, _SCAN = 0xE0, 0xEE, 0xFE, 0xDA


class Encoding(NamedTuple):
    """How one image was stored.

    Attributes:
        mode: Pillow's, with ";16" for 16-bit colour and " float" for floats.
        format: "PNG", "JPEG", "WEBP", "WEBP lossless", ...; "array" for what was never a file.
        quality: of a JPEG, 1 to 100; 0 for other formats.
        exact: the quality is that of the standard tables; else about.
        turned: an orientation of the file is applied.
    """

    mode: str
    format: str = ARRAY
    quality: int = 0
    exact: bool = True
    turned: bool = False

    @property
    def compression(self) -> str:
        """The format where it loses information (JPEG 2000 and its like may), else "lossless"."""
        return self.format if self.format in _LOSSY else LOSSLESS

    @property
    def alpha(self) -> bool:
        """Whether it has an alpha channel, which is dropped."""
        return self.mode.partition(";")[0].removesuffix(" float") in _ALPHA

    @property
    def depth(self) -> str:
        """What the levels of its samples are: "1 bit", "palette", "8 bits", "16 bits", or "float"."""
        if self.mode == "1":
            return "1 bit"
        if self.mode in ("P", "PA"):
            return "palette"
        if self.mode == "F" or self.mode.endswith("float"):
            return "float"
        return "16 bits" if "16" in self.mode or self.mode == "I" else "8 bits"


def standard_table(quality: int) -> np.ndarray:
    """The luminance steps, (64,) by rows, of a quality from 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps: np.ndarray = np.clip((LUMINANCE * scale + 50) // 100, 1, 255)
    return steps


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> tuple[int, bool]:
    """The quality of a JPEG's quantisation tables, and whether it is exact; (0, False) where there is no table.

    The order of a table's steps plays no part: Pillow's has changed.
    """
    first = tables.get(0) or next(iter(tables.values()), None)
    if not first:
        return 0, False
    steps = tuple(sorted(first))
    if steps in _known():
        return _known()[steps], True
    total = sum(steps)
    return min(_known().values(), key=lambda quality: (abs(_sum_of(quality) - total), -quality)), False


@cache
def _known() -> dict[tuple[int, ...], int]:
    """Sorted steps => the largest quality that gives them."""
    return {tuple(sorted(standard_table(quality).tolist())): quality for quality in range(1, 101)}


@cache
def _sum_of(quality: int) -> int:
    return int(standard_table(quality).sum())


def webp_format(data: bytes) -> str:
    """ "WEBP lossless" where the first frame of a WebP file is coded without loss, else "WEBP"."""
    position = 12  # after "RIFF", size, "WEBP": chunks of a name, a length and a payload padded to an even length
    while position + 8 <= len(data):
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return LOSSLESS_WEBP if name == b"VP8L" else "WEBP"
        if name == b"ANMF":  # a frame: its chunks follow 16 bytes of place and time
            position += 24
            continue
        position += 8 + length + length % 2
    return "WEBP"


def tally(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Counts of the same name added up, by name."""
    totals: Counter[str] = Counter()
    for name, n in counts:
        totals[name] += n
    return dict(sorted(totals.items()))


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
    """The critical chunks."""
    kept, exif, frames = [PNG], b"", 1
    name, end = b"", len(PNG)
    for name, start, end in png_chunks(data):
        if is_critical(name):
            kept.append(data[start:end])
        elif name == b"eXIf":
            exif = exif or data[start + 8 : end - 4]
        elif name == b"acTL" and end - start == 12 + 8:
            frames = max(1, int.from_bytes(data[start + 8 : start + 12], "big"))
    return BareFile(b"".join(kept if name == PNG_END else [*kept, data[end:]]), exif, frames)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each whole chunk of a PNG file, up to its end chunk or where it is cut off."""
    position = len(PNG)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return
        yield name, position, end
        if name == PNG_END:
            return
        position = end


def is_critical(chunk: bytes) -> bool:
    """Whether a decoder must know a chunk of this name: its first letter is a capital (PNG, section 5.4)."""
    return not chunk[0] & 0x20


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
