"""Compressed tars: unpacked once into a temporary file without a name, which is gone when the last reader is."""

from __future__ import annotations

import bz2
import gzip
import importlib
import importlib.util
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from typing import Any

from genaudit.data.reader import PositionedFile
from genaudit.reading import open_regular

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PIECE = 1 << 20
_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, ValueError, RuntimeError)


class UnpackedFile(PositionedFile):
    """A compressed file, read at offsets of what it holds; unpacked at the first read, and again after pickling."""

    def _open(self) -> Any:
        with open_regular(self.path) as packed:
            kind = compression(packed.read(8))
            packed.seek(0)
            file = tempfile.TemporaryFile(prefix="genaudit-")  # noqa: SIM115 (lives as long as the reader)
            try:
                _copy(_decompressor(kind)(packed), file)
            except BaseException as error:
                file.close()
                if isinstance(error, UnpackingError) or not isinstance(error, _DAMAGED):
                    raise
                raise UnpackingError(f"it is cut off or damaged: {error}") from error
        return file

    def whole(self) -> Any:
        self.read_at(0, 1)
        file = os.fdopen(os.dup(self._file.fileno()), "rb")
        file.seek(0)
        return file


class UnpackingError(OSError):
    """A file that cannot be unpacked; the text says why."""


def compression(start: bytes) -> str:
    """How a file that begins with these bytes is compressed; "" where it is not."""
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), "")


def _copy(source: Any, target: Any) -> None:
    """Everything of `source`, but no more than half of what is free where `target` lies."""
    room = shutil.disk_usage(tempfile.gettempdir()).free // 2
    while piece := source.read(_PIECE):
        room -= len(piece)
        if room < 0:
            raise UnpackingError(f"it unpacks to more than half of what is free in {tempfile.gettempdir()}")
        target.write(piece)
    target.flush()


def _decompressor(kind: str) -> Callable[[Any], Any]:
    if kind == "zstd":
        return _zstd()
    known: dict[str, Callable[[Any], Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    if kind not in known:
        raise UnpackingError("it has changed since it was first read")
    return known[kind]


def _zstd() -> Callable[[Any], Any]:
    for name in ("compression.zstd", "backports.zstd", "zstandard"):  # Python 3.14's own first
        try:
            if importlib.util.find_spec(name) is not None:
                opener: Callable[[Any], Any] = importlib.import_module(name).open
                return opener
        except ImportError:
            continue
    raise UnpackingError("it is compressed with zstd, which needs Python 3.14 or the package zstandard")
