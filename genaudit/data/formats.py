"""Formats of image files that are read here, by extension and by content."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re

from PIL import (  # the plugins register themselves in Image.OPEN when they are imported
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

_BUILT_IN = {
    PngImagePlugin.PngImageFile: (".png", ".apng"),
    JpegImagePlugin.JpegImageFile: (".jpg", ".jpeg", ".jpe", ".jfif"),
    WebPImagePlugin.WebPImageFile: (".webp",),
    BmpImagePlugin.BmpImageFile: (".bmp",),
    TiffImagePlugin.TiffImageFile: (".tif", ".tiff"),
    GifImagePlugin.GifImageFile: (".gif",),
    PpmImagePlugin.PpmImageFile: (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    Jpeg2KImagePlugin.Jpeg2KImageFile: (".jp2", ".j2k", ".jpx", ".j2c"),
    QoiImagePlugin.QoiImageFile: (".qoi",),
}
# format => its extensions, and the packages of which any makes Pillow read it
_PLUGINS = {
    "AVIF": ((".avif", ".avifs"), ("PIL.AvifImagePlugin", "pillow_avif")),
    "HEIF": ((".heic", ".heif", ".hif"), ("pillow_heif", "pi_heif")),
    "JXL": ((".jxl",), ("pillow_jxl", "jxlpy.JXLImagePlugin")),
}


def _readable() -> dict[str, tuple[str, ...]]:
    """Formats and their extensions, with those of the plugins that are installed."""
    formats = {str(plugin.format): extensions for plugin, extensions in _BUILT_IN.items()}
    if not features.check("jpg_2000"):
        del formats["JPEG2000"]
    for kind, (extensions, modules) in _PLUGINS.items():
        if any(_registers(kind, module) for module in modules):
            formats[kind] = extensions
    return formats


def _registers(kind: str, name: str) -> bool:
    """Whether a plugin is installed and makes Pillow read the format."""
    with contextlib.suppress(Exception):  # a plugin that cannot be loaded is none
        if importlib.util.find_spec(name) is not None:
            if name == "PIL.AvifImagePlugin" and not features.check("avif"):
                return False  # built without the codec
            register = getattr(importlib.import_module(name), "register_heif_opener", None)
            if register is not None:
                register()
    return kind in Image.OPEN


_READABLE = _readable()
EXTENSIONS = tuple(extension for extensions in _READABLE.values() for extension in extensions)
FORMATS = tuple(_READABLE)


def looks_like(start: bytes) -> str:
    """The format that a file's first 16 bytes claim, "" where it is none that is read here."""
    for kind in FORMATS:
        accept = Image.OPEN[kind][1]
        if kind != "PPM" and start and accept is not None and accept(start[:16]) is True:
            return kind
    return "PPM" if re.match(rb"P[1-6f][\s#]", start, re.IGNORECASE) else ""
