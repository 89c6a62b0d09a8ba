"""Rows of an array that lies in a file, read with positioned reads and never through a memory map.

A map of a file that somebody shortens ends the process (SIGBUS), and one that is rewritten changes under the reader;
here the first is an error with a sentence, and the second shows when the row's digest is compared. N rows.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from mmap import PAGESIZE
from typing import Any

import numpy as np

from genaudit.data.archive import zip_data_start
from genaudit.data.reader import PositionedFile
from genaudit.errors import UserError

HELD_BYTES = 64 << 20  # arrays up to this size are read at once and held


class CutOff(OSError):
    """A file that ends before a row does."""


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class FileRows:
    """An array `(N, ...)` of a file, row by row; behaves like a read-only array for indices, slices and index arrays.

    Args:
        path: the file. offset: where the array begins, in bytes. shape, dtype: of the array.
        strides: in elements, where the array does not lie in C order; an index of the first axis is still a span.
        widen: a row is of bfloat16 (dtype uint16 here) and becomes float32.
    """

    def __init__(
        self,
        path: str,
        offset: int,
        shape: tuple[int, ...],
        dtype: Any,
        strides: tuple[int, ...] | None = None,
        widen: bool = False,
    ) -> None:
        self.shape = tuple(int(side) for side in shape)
        self.ndim = len(self.shape)
        self._stored = np.dtype(dtype)
        self.dtype = np.dtype(np.float32) if widen else self._stored
        self.stored = "bfloat16" if widen else str(self._stored)
        self._offset = offset
        self._strides = strides or _c_strides(self.shape)
        self._file = PositionedFile(path)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, item: Any) -> np.ndarray:
        if isinstance(item, int) and 0 <= item < len(self):
            return self._row(item)
        item, rest = (item[0], item[1:]) if isinstance(item, tuple) else (item, ())
        index = np.arange(len(self))[item]
        if index.ndim == 0:
            row = self._row(int(index))
            return row[rest] if rest else row
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        for place, number in enumerate(index.tolist()):
            rows[place] = self._row(number)
        return rows[(slice(None),) + rest] if rest else rows  # noqa: RUF005 (mypy takes a star here for 3.11's)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self[:]
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def _row(self, index: int) -> np.ndarray:
        size = self._stored.itemsize
        inner = self._strides[1:]
        span = 1 + sum((side - 1) * step for side, step in zip(self.shape[1:], inner, strict=True))
        data = self._read(self._offset + index * self._strides[0] * size, span * size)
        flat = np.frombuffer(data, self._stored)
        row = np.lib.stride_tricks.as_strided(flat, self.shape[1:], tuple(step * size for step in inner))
        if self.stored == "bfloat16":  # bfloat16 is the upper half of a float32
            return (row.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(row)

    def _read(self, offset: int, length: int) -> bytearray:
        data = bytearray()
        while len(data) < length:
            piece = self._file.read_at(offset + len(data), length - len(data))
            if not piece:
                raise CutOff(f"{os.path.basename(self._file.path)} has become shorter since it was opened")
            data += piece
        return data


def stored_array(path: str, offset: int, shape: tuple[int, ...], dtype: np.dtype, fortran: bool) -> Any:
    """An array that lies uncompressed in a file from `offset` on: read and held where it is small, else `FileRows`.

    Raises:
        CutOff: the file ends before the array does.
    """
    count = math.prod(shape)
    if fortran or len(shape) < 2 or count * dtype.itemsize <= HELD_BYTES:  # in Fortran's order a row lies everywhere
        flat = FileRows(path, offset, (1, count), dtype)[0] if count else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")
    return FileRows(path, offset, shape, dtype)


def tensor_rows(path: str, tensor: Any) -> Any:
    """A tensor that `torch.load(mmap=True)` mapped from a file, as rows that are read from it; None where none can be.

    Its storage is one of the archive's members, found by its size and its place in a page: a map begins with a page.
    """
    import torch

    storage = tensor.untyped_storage()
    steps = tensor.stride()
    if tensor.ndim < 2 or not tensor.numel() or steps[0] < max(steps[1:], default=0):
        return None
    starts = [start for start, size in _members(path)
              if size == storage.nbytes() and (storage.data_ptr() - start) % PAGESIZE == 0]  # fmt: skip
    widen = tensor.dtype == torch.bfloat16
    if len(starts) != 1 or not (widen or tensor.dtype in (torch.uint8, torch.float16, torch.float32, torch.float64)):
        return None
    kind = np.dtype(np.uint16) if widen else torch.empty(0, dtype=tensor.dtype).numpy().dtype
    offset = starts[0] + tensor.storage_offset() * kind.itemsize
    return FileRows(path, offset, tuple(tensor.shape), kind, steps, widen)


def _members(path: str) -> list[tuple[int, int]]:
    """Begin and size of the stored members of a zip."""
    file = PositionedFile(path)
    with zipfile.ZipFile(path) as archive:
        listed = [member for member in archive.infolist() if member.compress_type == zipfile.ZIP_STORED]
    return [(zip_data_start(file, member.header_offset), member.file_size) for member in listed]


def verified(rows: Any, digests: np.ndarray, digest: Callable[[np.ndarray], bytes], name: str) -> Any:
    """Rows that were hashed, as they were: held rows as they are, rows of a file with a look at each digest."""
    return VerifiedRows(rows, digests, digest, name) if isinstance(rows, FileRows) else rows


class VerifiedRows:
    """Rows `(N, D)` of a file that must not change: a digest that differs is the user's to mend."""

    def __init__(self, rows: FileRows, digests: np.ndarray, digest: Callable[[np.ndarray], bytes], name: str) -> None:
        self._rows, self._digests, self._digest, self._name = rows, digests, digest, name
        self.shape, self.dtype, self.ndim = rows.shape, rows.dtype, rows.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, item: Any) -> np.ndarray:

        item, rest = (item[0], item[1:]) if isinstance(item, tuple) else (item, ())
        index = np.arange(len(self))[item]
        try:
            rows = self._rows[np.atleast_1d(index)]
        except OSError as error:
            raise UserError(f"{self._name} cannot be read ({error}).") from error
        for number, row in zip(np.atleast_1d(index).tolist(), rows, strict=True):
            if self._digest(row) != self._digests[number].tobytes():
                raise UserError(f"{self._name} has changed since it was first read (row {number}).")
        rows = rows[(slice(None),) + rest] if rest else rows  # noqa: RUF005 (mypy takes a star here for 3.11's)
        return rows[0] if index.ndim == 0 else rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self[:]
        return rows if dtype is None else rows.astype(dtype, copy=False)
