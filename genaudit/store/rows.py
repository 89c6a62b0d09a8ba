"""Rows in the order of an ImageSet, and their attachments, read from their shards when they are asked for.

`Rows` behaves like a read-only array (N, D) of float32: `len`, `shape`, slices, index arrays, `np.asarray`. An
attachment (N, ...) is another such array, of which nothing is kept. Positioned reads into private memory take the place
of a memory map, because pages of a map count as resident memory as long as the kernel sees no reason to drop them, and
a million rows of 1,280 are 5 GB.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.errors import UserError
from genaudit.store.shards import Shard, Table, TornShard, set_aside

OPEN_FILES = 128  # of at most 1,024 that a process may usually have

# the shards with (N,) each row's shard and (N,) its row there
Located = tuple[Sequence[Shard], np.ndarray, np.ndarray]


class Rows:
    """Rows of a measure in the order of an ImageSet.

    Args:
        locate: says where the rows lie; asked again with True where a shard is gone: another process compacted it.
        columns: names of the D numbers, or None. memory: the rows, where they were read already.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self,
        locate: Callable[[bool], Located],
        columns: tuple[str, ...] | None = None,
        memory: np.ndarray | None = None,
    ) -> None:
        self._files: OrderedDict[int, int] = OrderedDict()
        self._locate = locate
        self._memory = memory
        self.columns = columns
        self.shape: tuple[int, ...] = (0, 0) if memory is None else memory.shape
        if memory is None:
            self._shards, self._shard_of, self._row_of = locate(False)
            self.shape = (len(self._shard_of), self._shards[0].rows.shape[1] if self._shards else 0)

    @property
    def attachments(self) -> dict[str, Attachment]:
        """What the measure keeps beside the rows, by name: (N, ...) each, in the same order, read when asked for."""
        shards = self._shards if self._memory is None else self._locate(False)[0]
        return {name: Attachment(self._locate, name) for name in (shards[0].attachments if shards else ())}

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
        if self._memory is not None:
            rows: np.ndarray = self._memory[index]
            return rows
        try:
            return self._gather(index)
        except FileNotFoundError:
            self.close()
            self._shards, self._shard_of, self._row_of = self._locate(True)
            return self._gather(index)

    def _gather(self, index: np.ndarray) -> np.ndarray:
        out = np.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        shard, row = self._shard_of[index], self._row_of[index]
        order = np.argsort(shard, kind="stable")
        numbers, starts = np.unique(shard[order], return_index=True)
        for number, places in zip(numbers, np.split(order, starts[1:]) if len(index) else [], strict=True):
            try:
                out[places] = self._table(self._shards[number]).read(row[places], self._open(int(number)))
            except TornShard as error:
                raise _damaged(self._shards[number].path, error) from error
        return out

    def _open(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) >= OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        self._files[shard] = os.open(self._shards[shard].path, os.O_RDONLY)
        return self._files[shard]

    def close(self) -> None:
        """Closes the files; reading again opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _table(self, shard: Shard) -> Table:
        return shard.rows

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()


class Attachment(Rows):
    """An attachment (N, ...) of a measure's rows, read like them; its files are closed after each reading."""

    def __init__(self, locate: Callable[[bool], Located], name: str) -> None:
        super().__init__(locate)
        self._name = name
        table = self._table(self._shards[0])
        self.shape, self.dtype, self.ndim = (len(self), *table.shape[1:]), table.dtype, len(table.shape)

    def subset(self, places: np.ndarray) -> Attachment:
        """That of the images at `places` (n,)."""

        def located(again: bool) -> Located:
            shards, shard_of, row_of = self._locate(again)
            return shards, shard_of[places], row_of[places]

        return Attachment(located, self._name)

    def _read(self, index: np.ndarray) -> np.ndarray:
        try:
            return super()._read(index)
        finally:
            self.close()

    def _table(self, shard: Shard) -> Table:
        if self._name not in shard.attachments:
            raise TornShard(f"holds no {self._name} beside its rows", shard.path)
        return shard.attachments[self._name]


def _damaged(path: Path, error: TornShard) -> UserError:
    """What must be said of a shard that was verified, or whose attachments nobody had asked for; it is set aside."""
    set_aside(path)
    return UserError(f"{path} is damaged ({error}): it is set aside; run again, and what it held is measured again")
