"""Rows in the order of an ImageSet, read from their shards when they are asked for.

`Rows` behaves like a read-only array (N, D) of float32: `len`, `shape`, slices, index arrays, `np.asarray`. It reads
with positioned reads into private memory rather than through a memory map, because pages of a map count as
resident memory as long as the kernel sees no reason to drop them, and a million rows of 1,280 are 5 GB.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from genaudit.store.shards import Shard

OPEN_FILES = 128  # of at most 1,024 that a process may usually have


class Rows:
    """Rows of a measure in the order of an ImageSet.

    Args:
        shards: where rows lie.
        shard_of: (N,) index of each image's shard. row_of: (N,) its row there.
        columns: names of the D numbers, or None.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self, shards: Sequence[Shard], shard_of: np.ndarray, row_of: np.ndarray, columns: tuple[str, ...] | None = None
    ) -> None:
        self._shards = list(shards)
        self._shard_of = shard_of
        self._row_of = row_of
        self._files: OrderedDict[int, int] = OrderedDict()
        self.columns = columns
        self.shape = (len(shard_of), self._shards[0].dim if self._shards else 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, item: Any) -> np.ndarray:
        item, rest = (item[0], item[1:]) if isinstance(item, tuple) else (item, ())
        index = np.arange(len(self))[item]
        rows = self._read(np.atleast_1d(index))
        columns = rows[(slice(None),) + rest] if rest else rows  # noqa: RUF005 (mypy takes a star here for 3.11's)
        return columns[0] if np.ndim(index) == 0 else columns

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self[:]
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def _read(self, index: np.ndarray) -> np.ndarray:
        out = np.empty((len(index), self.shape[1]), dtype=np.float32)
        shard, row = self._shard_of[index], self._row_of[index]
        # images measured one after the other lie one after the other: a run of them is one read
        breaks = np.flatnonzero((np.diff(shard) != 0) | (np.diff(row) != 1)) + 1
        edges = [0, *breaks.tolist(), len(index)]
        for begin, end in itertools.pairwise(edges):
            if begin < end:
                self._fill(out[begin:end], int(shard[begin]), int(row[begin]))
        return out

    def _fill(self, out: np.ndarray, shard: int, row: int) -> None:
        where = self._shards[shard]
        offset = where.offset + row * where.dim * out.itemsize
        target = memoryview(out.reshape(-1).view(np.uint8).data)
        while len(target):
            got = os.preadv(self._open(shard), [target], offset)
            if got == 0:
                raise OSError(f"{where.path} ended early: it was altered while it was read; run again")
            target, offset = target[got:], offset + got

    def _open(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) >= OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        self._files[shard] = os.open(self._shards[shard].path, os.O_RDONLY)
        return self._files[shard]

    def close(self) -> None:
        """Closes the files; reading again opens them anew."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        self.close()
