"""Images for the tests: random pixels, so that no two files share a digest unless they are meant to."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encode(pixels: np.ndarray, kind: str = "png", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    if mode is not None:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, *, end: bool = True) -> bytes:
    """A PNG written by hand: any header with any compressed rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + (chunk(b"IEND", b"") if end else b"")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    """(6, 9, 7, 3) uint8"""
    return rng.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)


@pytest.fixture
def files(pixels: np.ndarray) -> dict[str, bytes]:
    """Six files of mixed sizes, modes, kinds and depths in folders, in the order of their names."""
    return {
        "B.PNG": encode(pixels[0]),
        "a/b/grey.png": encode(pixels[1], mode="L"),
        "a/palette.gif": encode(pixels[2], "gif", mode="P"),
        "a/photo.jpeg": encode(np.tile(pixels[3], (4, 4, 1)), "jpeg"),
        "c.webp": encode(pixels[4], "webp", lossless=True),
        "d.tiff": encode(pixels[5], "tiff", mode="RGBA"),
    }


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    root = tmp_path / "folder"
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root
