"""Copies up to rounding: found wherever they lie, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.stats.copies import copy_distance, mean_row, same_rows


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_copies_that_differ_by_rounding_are_found_and_other_rows_are_not(offset: float) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 24)) + offset).astype(np.float32)
    copies = rows[[5, 9, 5]] * np.float32(1 + 1e-7)
    near = rows[[7]] + np.float32(0.01)
    found = same_rows(np.concatenate([rows, copies, near]))
    assert found[:300].tolist() == list(range(300))
    assert found[300:].tolist() == [5, 9, 5, 303]


def test_every_copy_points_at_the_first() -> None:
    assert same_rows(np.ones((20, 3))).tolist() == [0] * 20
    assert same_rows(np.zeros((4, 3))).tolist() == [0] * 4
    assert same_rows(np.array([[1.0, 2.0]])).tolist() == [0]


def test_one_grey_level_of_one_pixel_is_no_copy() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (50, 28 * 28)).astype(np.float32) / 255
    changed = images[0].copy()
    changed[100] += 1 / 255 if changed[100] < 0.5 else -1 / 255
    assert same_rows(np.concatenate([images, changed[None]]))[-1] == 50
    assert copy_distance(changed[None], mean_row(images))[0] < 1 / 255
