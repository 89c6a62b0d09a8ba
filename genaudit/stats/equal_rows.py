"""Rows that are exactly equal, within a set or across sets, found by hashes of their values. N rows, D features.

Copies up to rounding, which need not be equal, are the business of `genaudit.stats.copies`.
"""

from __future__ import annotations

import hashlib

import numpy as np

from genaudit.stats.arrays import RowsLike, blocks

KEY_BYTES = 16


def row_keys(rows: RowsLike, name: str = "rows") -> np.ndarray:
    """A key of each row (N, D), equal for rows with equal values, as (N,) opaque items; rows are read in blocks."""
    keys = [
        hashlib.blake2b(row.tobytes(), digest_size=KEY_BYTES).digest()
        for _, block in blocks(rows, name)
        for row in np.ascontiguousarray(block + 0.0)  # -0 becomes 0
    ]
    return np.frombuffer(b"".join(keys), dtype=f"V{KEY_BYTES}")


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """The places of the rows that equal no earlier one, in increasing order."""
    places: np.ndarray = np.sort(np.unique(keys, return_index=True)[1])
    return places
