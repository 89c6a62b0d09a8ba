"""Rows that are exactly equal."""

from __future__ import annotations

import numpy as np

from genaudit.stats.equal_rows import first_of_each, row_keys


def test_keys_are_equal_for_equal_rows_only_whatever_their_type_and_place() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 3)).astype(np.float32)
    rows[4999] = rows[7]
    keys = row_keys(rows)
    assert keys[4999] == keys[7]
    assert len(np.unique(keys)) == 4999
    np.testing.assert_array_equal(row_keys(rows.astype(np.float64)), keys)
    np.testing.assert_array_equal(first_of_each(keys), np.arange(4999))
    zero = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0 + 1e-15]])
    assert len(np.unique(row_keys(zero))) == 2
