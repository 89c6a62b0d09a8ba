"""Some rows of a set of rows, in a given order, read only as they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.stats.arrays import RowsLike


class Chosen:
    """The rows `indices` (M,) of `rows` (N, D), themselves rows (M, D); nothing is read before it is sliced."""

    def __init__(self, rows: RowsLike, indices: np.ndarray) -> None:
        self._rows, self._indices = rows, indices

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._indices), self._rows.shape[1])

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, item: Any) -> np.ndarray:
        return self._rows[self._indices[item]]
