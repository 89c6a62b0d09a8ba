"""From an image file's bytes, or any array, to `(H, W, 3)` uint8 RGB; what cannot be used is refused with a reason.

Conversions, all of them deterministic:

- grey, 1-bit, palette: the same colours in RGB (a palette entry's transparency is dropped);
- RGBA, LA: alpha is dropped, not composited, as torch-fidelity, clean-fid and pytorch-fid do;
- CMYK, YCbCr, HSV: Pillow's conversion; colour profiles are not applied, again as the tools above do;
- orientation (EXIF, TIFF): applied, so that an image is measured as people see it and as readers that apply it by
  themselves hand it over (Hugging Face datasets, TIFF, HEIF); the tools above ignore it, and reports count it;
- 16-bit grey: v / 257, rounded (65535 = 255 · 257, so 0xABAB becomes 0xAB exactly); Pillow itself reads 16-bit
  *colour* as its high bytes, at most one level away; 12-bit TIFF: 255 v / 4095; TIFF where white is zero: turned;
- 32-bit float grey: x in [0, 1] becomes round(255 x); other ranges are refused, and so are 32-bit integers, since
  nothing says which value is white.

Only the first frame of an animation and the first page of a TIFF are read; the others are counted. Metadata (text,
colour profiles, their checksums) is cut out before a decoder sees it. H rows, W columns.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from genaudit.data.bad_image import BadImage as BadImage
from genaudit.data.encoding import (
    PNG_END,
    BareFile,
    Encoding,
    is_critical,
    jpeg_quality,
    orientation,
    pixels_only,
    png_chunks,
    webp_format,
)
from genaudit.data.formats import EXTENSIONS, FORMATS
from genaudit.data.memory import DECODING_BYTES, PIXELS
from genaudit.data.tiff import Tiff, read_tiff
from genaudit.stats.process_state import Shared, Undo

ROUNDING = 1 / 512  # half a level: a resize or a sampler in float32 leaves [0, 1] by far less, another scale by more
_CONVERTED_BY_PILLOW = frozenset(("1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"))
_GREY_IN_I = ("PNG", "PPM")  # of which Pillow opens 16-bit grey as "I" (of PNG, older Pillows)
_SIXTEEN_BITS = frozenset(("I;16", "I;16L", "I;16B", "I;16N"))


class Header(NamedTuple):
    """What a file says of its image before anything is decoded.

    Attributes:
        mode: Pillow's, with ";16" for 16-bit colour. height, width: of the image as it is seen.
        frames: of an animation or pages of a TIFF, of which the first is read.
        turned: the file names an orientation that is applied.
        reading: what is done to the decoder's pixels, as part of the image's address in the store; "" is nothing.
        format: the file's, as in `Encoding`. quality, exact: of a JPEG.
    """

    mode: str
    height: int
    width: int
    frames: int = 1
    turned: bool = False
    reading: str = ""
    format: str = ""
    quality: int = 0
    exact: bool = True

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.mode, self.format, self.quality, self.exact, self.turned)


def probe(data: bytes, max_pixels: int) -> Header:
    """The header of an encoded image; no pixel is decoded.

    Raises:
        BadImage: empty, not an image, a damaged header, more than `max_pixels` pixels, or a mode without a
            defined conversion.
    """
    image, kind, parts = _open(data, max_pixels)
    with image:
        mode = image.mode
        if mode in ("RGB", "RGBA") and data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16:
            mode += ";16"
        turn = _turn(image, parts)
        height, width = (image.width, image.height) if turn > 4 else (image.height, image.width)
        quality, exact = jpeg_quality(getattr(image, "quantization", {})) if kind == "JPEG" else (0, True)
        name = webp_format(data) if kind == "WEBP" else kind
        return Header(mode, height, width, _frames(image, parts), turn > 1, _reading(parts, turn), name, quality, exact)


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """The image as `(H, W, 3)` uint8, C-contiguous and writable.

    Raises:
        BadImage: as `probe`, and truncated or damaged pixel data. A PNG must be whole: every critical chunk's
            checksum and the end chunk are verified, since Pillow decodes some truncated files silently.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:  # set by another package: truncated images would pass as grey areas
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    image, kind, parts = _open(data, max_pixels)
    if kind == "PNG":
        _verify_png(data)
    with image, PIXELS.claim(image.height * image.width * DECODING_BYTES):
        try:
            with _WHOLE():
                image.load()
        except Exception as error:
            raise BadImage(f"is a truncated or damaged {kind} file ({_say(error)})") from error
        levels, inverted = (parts.levels, parts.inverted) if isinstance(parts, Tiff) else (65535, False)
        return upright(to_rgb(image, levels=levels, inverted=inverted), _turn(image, parts))


def _whole() -> Undo:
    """Truncated images are errors, whatever another package has set; else they would pass with grey areas."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False

    def undo() -> None:
        ImageFile.LOAD_TRUNCATED_IMAGES = before

    return undo


_WHOLE = Shared(_whole)


def to_rgb(image: Image.Image, *, levels: int = 65535, inverted: bool = False) -> np.ndarray:
    """A Pillow image as `(H, W, 3)` uint8 by the rules of this module, but for its orientation.

    `levels` is the white of a grey sample of more than 8 bits, or its black where `inverted`.
    """
    mode = image.mode
    if mode in _SIXTEEN_BITS or (mode == "I" and image.format in _GREY_IN_I):
        wide = np.minimum(np.asarray(image).astype(np.uint32), levels)
        wide = levels - wide if inverted else wide
        return grey_to_rgb(((wide * 255 + levels // 2) // levels).astype(np.uint8))
    if mode == "F":
        grey = unit_to_uint8(np.asarray(image))
        return grey_to_rgb(255 - grey if inverted else grey)
    _refuse_mode(mode, image.format)
    image.info.pop("transparency", None)  # or Pillow warns that it drops it
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def seen(image: Image.Image) -> tuple[np.ndarray, str]:
    """A Pillow image as people see it: `to_rgb`, upright by its Exif block, and its mode."""
    pixels = to_rgb(image)
    exif = image.info.get("exif")
    return upright(pixels, orientation(exif if isinstance(exif, bytes) else b"")), str(image.mode)


def upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """`(H, W, C)` pixels turned and mirrored as an orientation of 1 to 8 says (Exif 2.3, tag 274)."""
    if turn == 1:
        return pixels
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """`(H, W)` to `(H, W, 3)`, a writable copy."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def unit_to_uint8(x: np.ndarray, slack: float = ROUNDING) -> np.ndarray:
    """Floats in [0, 1] to uint8, round(255 x) with halves up, as torchvision's `save_image` rounds.

    Args:
        x: any shape. slack: values that leave [0, 1] by up to this much, by rounding, are clamped.

    Raises:
        BadImage: a value that is not finite or lies outside [0, 1].
    """
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadImage("holds NaN or infinity")
    wide = x if x.dtype == np.float64 else x.astype(np.float32)
    if low < 0.0 or high > 1.0:
        if low < -slack or high > 1.0 + slack:
            raise BadImage(f"holds floats from {low:g} to {high:g}, and floats must lie in [0, 1]{_range(low, high)}")
        wide = wide.clip(0.0, 1.0)
    return (wide * 255 + 0.5).astype(np.uint8)


def _range(low: float, high: float) -> str:
    """What would bring floats of this range into [0, 1], where that can be told."""
    if low >= -0.5 and high <= 1.5:
        return "; clamping to [0, 1] would be right where a model or a resize overshoots"
    if -1.0 - ROUNDING <= low < 0.0 and high <= 1.0 + ROUNDING:
        return "; (x + 1) / 2 would map [-1, 1] there"
    return "; dividing by 255 would map [0, 255] there" if low >= 0.0 and 1.5 < high <= 255.0 else ""


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raises BadImage where the image has no pixel or more than `max_pixels`."""
    if height * width > max_pixels:
        raise BadImage(
            f"would decode to {width} x {height} = {height * width:,} pixels, more than max_pixels={max_pixels:,}"
        )
    if height * width == 0:
        raise BadImage(f"has no pixels ({width} x {height})")


def _open(data: bytes, max_pixels: int) -> tuple[Image.Image, str, BareFile | Tiff]:
    """The image with only its header read, its format, and what of the file the decoder got.

    The plugins are called directly, not through `Image.open`, whose own limit on pixels is a global of the
    process: `max_pixels` is the limit here, whatever it is there.
    """
    if not data:
        raise BadImage("is empty (0 bytes)")
    prefix = data[:16]
    for kind in FORMATS:
        factory, accept = Image.OPEN[kind]
        if accept is not None and accept(prefix) is not True:
            continue
        parts = read_tiff(data) if kind == "TIFF" else pixels_only(data)
        try:
            image: Any = factory(io.BytesIO(parts.data), "")
        except Exception as error:
            raise BadImage(f"is a {kind} file with a damaged header ({_say(error)})") from error
        check_pixels(image.height, image.width, max_pixels)
        _refuse_mode(image.mode, kind)
        return image, kind, parts
    readable = ", ".join(extension[1:] for extension in EXTENSIONS)
    raise BadImage(f"is not an image that can be read (first bytes {prefix[:8]!r}; readable: {readable})")


def _turn(image: Image.Image, parts: BareFile | Tiff) -> int:
    """The orientation that is to be applied, 1 to 8."""
    if isinstance(parts, Tiff):
        return parts.orientation
    exif = parts.exif or image.info.get("exif")
    return orientation(exif if isinstance(exif, bytes) else b"")


def _frames(image: Image.Image, parts: BareFile | Tiff) -> int:
    if parts.frames > 1:
        return parts.frames
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # the first one may be whole
        return 1


def _reading(parts: BareFile | Tiff, turn: int) -> str:
    if isinstance(parts, Tiff):  # whose orientation Pillow has always applied
        return "inverted" * parts.inverted + f"levels {parts.levels}" * (parts.levels != 65535)
    return f"turned {turn}" if turn > 1 else ""


def _refuse_mode(mode: str, kind: str | None) -> None:
    if mode in _CONVERTED_BY_PILLOW or mode in _SIXTEEN_BITS or mode == "F" or (mode == "I" and kind in _GREY_IN_I):
        return
    why = "32-bit integers, and nothing says which value is white" if mode == "I" else f"pixels of mode {mode}"
    raise BadImage(f"holds {why}; save it as 8-bit or 16-bit grey, or as RGB")


def _verify_png(data: bytes) -> None:
    """Raises BadImage unless every critical chunk is whole and the file ends with IEND."""
    name = b""
    for name, start, end in png_chunks(data):
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if is_critical(name) and zlib.crc32(memoryview(data)[start + 4 : end - 4]) != checksum:
            raise BadImage(f"is a damaged PNG file (checksum of its chunk {name.decode('latin-1')} does not match)")
    if name != PNG_END:
        raise BadImage(f"is a truncated PNG file (it ends after {len(data):,} bytes, before its end chunk)")


def _say(error: Exception) -> str:
    """An exception's text for people, without memory addresses, which would make reports differ between runs."""
    if str(error) == "unknown pixel mode":  # TIFF
        return "samples of its depth and kind cannot be read"
    cause = error.__cause__ or error  # plugins wrap what their parsing of a garbled header ran into
    if isinstance(cause, (struct.error, IndexError, KeyError, TypeError, EOFError)):
        return "it is cut off or garbled"
    return re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", str(error)).strip() or type(error).__name__
