"""From an image file's bytes, or any array, to `(H, W, 3)` uint8 RGB; what cannot be used is refused with a reason.

Conversions, all of them deterministic:

- grey, 1-bit, palette: the same colours in RGB (a palette entry's transparency is dropped);
- RGBA, LA: alpha is dropped, not composited, as torch-fidelity, clean-fid and pytorch-fid do;
- CMYK, YCbCr, HSV: Pillow's conversion, without a colour profile; EXIF orientation and profiles are not applied,
  again as the tools above do;
- 16-bit grey: v / 257, rounded (65535 = 255 · 257, so 0xABAB becomes 0xAB exactly); Pillow itself reads 16-bit
  *colour* as its high bytes, at most one level away;
- 32-bit float grey: x in [0, 1] becomes round(255 x); other ranges are refused, and so are 32-bit integers, since
  nothing says which value is white.

Only the first frame of an animation is read. H rows, W columns.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import (  # the plugins register themselves in Image.OPEN when they are imported
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from genaudit.stats.shared import Shared, Undo

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")

_FORMATS = tuple(
    str(plugin.format)
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        GifImagePlugin.GifImageFile,
    )
)
_CONVERTED_BY_PILLOW = frozenset(("1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"))
_SIXTEEN_BITS = frozenset(("I;16", "I;16L", "I;16B", "I;16N"))


class BadImage(Exception):
    """An image that cannot be used; the text is a predicate ("is empty (0 bytes)") that follows its name."""


class Header(NamedTuple):
    """What a file says of its image before anything is decoded. `mode` is Pillow's, with ";16" for 16-bit colour."""

    mode: str
    height: int
    width: int


def probe(data: bytes, max_pixels: int) -> Header:
    """The header of an encoded image; no pixel is decoded.

    Raises:
        BadImage: empty, not an image, a damaged header, more than `max_pixels` pixels, or a mode without a
            defined conversion.
    """
    image, _ = _open(data, max_pixels)
    with image:
        mode = image.mode
        if mode in ("RGB", "RGBA") and data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16:
            mode += ";16"
        return Header(mode, image.height, image.width)


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """The image as `(H, W, 3)` uint8, C-contiguous and writable.

    Raises:
        BadImage: as `probe`, and truncated or damaged pixel data. A PNG must be whole: every critical chunk's
            checksum and the end chunk are verified, since Pillow decodes some truncated files silently.
    """
    image, kind = _open(data, max_pixels)
    if kind == "PNG":
        _verify_png(data)
    with image:
        try:
            with _WHOLE():
                image.load()
        except Exception as error:
            raise BadImage(f"is a truncated or damaged {kind} file ({_say(error)})") from error
        return to_rgb(image)


def _whole() -> Undo:
    """Truncated images are errors, whatever another package has set; else they would pass with grey areas."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False

    def undo() -> None:
        ImageFile.LOAD_TRUNCATED_IMAGES = before

    return undo


_WHOLE = Shared(_whole)


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image as `(H, W, 3)` uint8 by the rules of this module."""
    mode = image.mode
    if mode in _SIXTEEN_BITS or (mode == "I" and image.format == "PNG"):  # older Pillows open 16-bit PNG as "I"
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return grey_to_rgb(grey)
    if mode == "F":
        return grey_to_rgb(unit_to_uint8(np.asarray(image)))
    _refuse_mode(mode, image.format)
    image.info.pop("transparency", None)  # or Pillow warns that it drops it
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """`(H, W)` to `(H, W, 3)`, a writable copy."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def unit_to_uint8(x: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] to uint8, round(255 x) with halves up, as torchvision's `save_image` rounds.

    Raises:
        BadImage: a value that is not finite or lies outside [0, 1].
    """
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadImage("holds NaN or infinity")
    if low < 0.0 or high > 1.0:
        hint = "; (x + 1) / 2 would map [-1, 1] there" if -1.0 <= low < 0.0 and high <= 1.0 else ""
        hint = "; dividing by 255 would map [0, 255] there" if low >= 0.0 and 1.0 < high <= 255.0 else hint
        raise BadImage(f"holds floats from {low:g} to {high:g}, and floats must lie in [0, 1]{hint}")
    wide = x if x.dtype == np.float64 else x.astype(np.float32)
    return (wide * 255 + 0.5).astype(np.uint8)


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raises BadImage where the image has no pixel or more than `max_pixels`."""
    if height * width > max_pixels:
        raise BadImage(
            f"would decode to {width} x {height} = {height * width:,} pixels, more than max_pixels={max_pixels:,}"
        )
    if height * width == 0:
        raise BadImage(f"has no pixels ({width} x {height})")


def _open(data: bytes, max_pixels: int) -> tuple[Image.Image, str]:
    """The image with only its header read, and its format.

    The plugins are called directly, not through `Image.open`, whose own limit on pixels is a global of the
    process: `max_pixels` is the limit here, whatever it is there.
    """
    if not data:
        raise BadImage("is empty (0 bytes)")
    prefix = data[:16]
    for kind in _FORMATS:
        factory, accept = Image.OPEN[kind]
        if accept is not None and accept(prefix) is not True:
            continue
        try:
            image: Any = factory(io.BytesIO(data), "")
        except Exception as error:
            raise BadImage(f"is a {kind} file with a damaged header ({_say(error)})") from error
        check_pixels(image.height, image.width, max_pixels)
        _refuse_mode(image.mode, kind)
        return image, kind
    readable = ", ".join(extension[1:] for extension in EXTENSIONS)
    raise BadImage(f"is not an image that can be read (first bytes {prefix[:8]!r}; readable: {readable})")


def _refuse_mode(mode: str, kind: str | None) -> None:
    if mode in _CONVERTED_BY_PILLOW or mode in _SIXTEEN_BITS or mode == "F" or (mode == "I" and kind == "PNG"):
        return
    why = "32-bit integers, and nothing says which value is white" if mode == "I" else f"pixels of mode {mode}"
    raise BadImage(f"holds {why}; save it as 8-bit or 16-bit grey, or as RGB")


def _verify_png(data: bytes) -> None:
    """Raises BadImage unless every critical chunk is whole and the file ends with IEND."""
    position, size = 8, len(data)
    while position + 12 <= size:
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > size:
            break
        critical = not name[0] & 0x20  # the case of the first letter says so
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if critical and zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise BadImage(f"is a damaged PNG file (checksum of its chunk {name.decode('latin-1')} does not match)")
        if name == b"IEND":
            return
        position = end
    raise BadImage(f"is a truncated PNG file (it ends after {size:,} bytes, before its end chunk)")


def _say(error: Exception) -> str:
    """An exception's text for people, without memory addresses, which would make reports differ between runs."""
    cause = error.__cause__ or error  # plugins wrap what their parsing of a garbled header ran into
    if isinstance(cause, (struct.error, IndexError, KeyError, TypeError, EOFError)):
        return "it is cut off or garbled"
    return re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", str(error)).strip() or type(error).__name__
