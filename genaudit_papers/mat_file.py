"""Numeric arrays of MATLAB's files (Level 5), as SVHN comes in them.

SciPy's reader ends the process on some damaged files (a segmentation fault, found by changing random bytes), and
unpacks whatever a file unpacks to. This one reads full numeric arrays alone, and no more bytes than it is told.

Layout ("MAT-File Level 5 File Format", The MathWorks): 128 bytes of header, then elements of a tag (type and length, 8
bytes) and data, padded to 8 bytes. A matrix's data are elements again: flags, dimensions, name, values. An element of
at most 4 bytes may keep its data in the tag. Elements may be packed with zlib.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genaudit.reading import read_bytes

HEADER = 128
MATRIX, PACKED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x08  # of a matrix's flags


def arrays(path: Path, names: tuple[str, ...], limit: int) -> dict[str, np.ndarray]:
    """The arrays of these names, in MATLAB's shapes.

    Raises:
        OSError: no regular file, or more than `limit` bytes. ValueError: damaged, another format, a name that is not
            there or is no full numeric array, or one that unpacks to more than `limit` bytes.
    """
    data = read_bytes(path, limit)
    if len(data) < HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it is no MATLAB file of Level 5")
    order = "<" if data[126:128] == b"IM" else ">"
    found: dict[str, np.ndarray] = {}
    try:
        for kind, body in _elements(memoryview(data)[HEADER:], order):
            if kind == PACKED:
                kind, body = next(_elements(memoryview(_unpacked(body, limit)), order))
            if kind == MATRIX:
                name, array = _matrix(body, order)
                if name in names and array is not None:
                    found[name] = array
    except (struct.error, zlib.error, StopIteration, UnicodeDecodeError) as error:
        raise ValueError(f"it is damaged ({error})") from None
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"it holds no array of numbers called {missing[0]}")
    return found


def _unpacked(body: memoryview, limit: int) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(body, limit)
    if stream.unconsumed_tail or not stream.eof:
        raise ValueError(f"it is cut off, or unpacks to more than {limit:,} bytes")
    return data


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and data of one element after another."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, step = at + 8, 8 + size + (-size % 8 if kind != PACKED else 0)
        if kind >> 16:  # the length stands with the type, the data in the rest of the tag
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        if start + size > len(data) or (step == 8 and size > 4):
            raise ValueError("it is cut off")
        yield kind, data[start : start + size]
        at += step


def _matrix(body: memoryview, order: str) -> tuple[str, np.ndarray | None]:
    """Name and values of a matrix; None where it is sparse, complex, or of text, cells and objects."""
    parts = _elements(body, order)
    flags = struct.unpack_from(f"{order}I", next(parts)[1])[0]
    shape = [int(side) for side in np.frombuffer(next(parts)[1], f"{order}i4")]
    name = bytes(next(parts)[1]).decode("ascii")
    if flags & 0xFF not in CLASSES or flags >> 8 & COMPLEX:
        return name, None
    kind, values = next(parts)
    if kind not in TYPES or min(shape, default=-1) < 0:
        raise ValueError("it is damaged")
    stored = np.frombuffer(values, order + TYPES[kind])
    if len(stored) != math.prod(shape):
        raise ValueError(f"{name} should hold {'x'.join(map(str, shape))} values and holds {len(stored):,}")
    return name, stored.astype(CLASSES[flags & 0xFF]).reshape(shape, order="F")
