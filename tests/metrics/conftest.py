"""Shared by the metrics' tests: rows that can only be read slice by slice, as those of the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


class RowsOnDisk:
    """Rows that count how many of them were ever read at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows
        self.most_at_once = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self._rows.shape

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: Any) -> np.ndarray:
        part = self._rows[item]
        self.most_at_once = max(self.most_at_once, len(part))
        return part


@pytest.fixture
def on_disk() -> Callable[[np.ndarray], RowsOnDisk]:
    return RowsOnDisk
