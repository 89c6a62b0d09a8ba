"""Which rows are copies of one another, up to rounding?

Two files with the same pixels, or one image measured in two batches, have features that differ by rounding only. Rows
are sorted by their projection on a random direction: copies have projections that differ by rounding, so that only
neighbours in that order are compared.

N rows, D features.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from genaudit.stats.arrays import RowsLike

TOLERANCE = 1e-5  # of a row's distance from the mean: above rounding over batches, below one grey level of one pixel
ROUNDING = 4 * float(
    np.finfo(np.float32).eps
)  # of a row's norm: what float32 cannot tell apart where rows have an offset
BLOCK = 4096
LOOK_BACK = 8  # rows in the order of projections that a row is compared with


def mean_row(rows: RowsLike) -> np.ndarray:
    """The mean row, (D,) float64."""
    total = sum(np.asarray(rows[start : start + BLOCK], np.float64).sum(0) for start in range(0, rows.shape[0], BLOCK))
    return np.asarray(total / rows.shape[0])


def copy_distance(
    rows: RowsLike, centre: np.ndarray, metric: Literal["euclidean", "cosine"] = "euclidean"
) -> np.ndarray:
    """How far from each row a copy of it may lie, (N,); `centre` (D,) is the mean row of those that are compared."""
    if metric == "cosine":  # 1 - cosine of two directions that differ by a relative error is half its square
        return np.full(rows.shape[0], TOLERANCE**2)
    found = np.empty(rows.shape[0])
    for start in range(0, len(found), BLOCK):
        block = np.asarray(rows[start : start + BLOCK], np.float64)
        away = np.linalg.norm(block - centre, axis=1)
        found[start : start + len(block)] = np.maximum(TOLERANCE * away, ROUNDING * np.linalg.norm(block, axis=1))
    return found


def same_rows(rows: RowsLike, *, seed: int = 0) -> np.ndarray:
    """For each row the first row that it is a copy of, itself where there is none before it; (N,) int64.

    >>> same_rows(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])).tolist()
    [0, 1, 0]
    """
    count, dims = rows.shape
    direction = np.random.default_rng((seed, 7)).normal(size=dims)
    allowed = copy_distance(rows, mean_row(rows))
    projection = np.empty(count)
    for start in range(0, count, BLOCK):
        block = np.asarray(rows[start : start + BLOCK], np.float64)
        projection[start : start + len(block)] = block @ direction
    order = np.argsort(projection, kind="stable")
    # |d.v| <= |d| |v|: copies' projections differ by at most this.
    near = allowed * float(np.linalg.norm(direction))
    first = np.arange(count)
    for back in range(1, min(LOOK_BACK, count - 1) + 1):
        later, earlier = order[back:], order[:-back]
        close = np.abs(projection[later] - projection[earlier]) <= np.maximum(near[later], near[earlier])
        places = np.flatnonzero(close)
        for start in range(0, len(places), BLOCK):
            a, b = later[places[start : start + BLOCK]], earlier[places[start : start + BLOCK]]
            gap = np.linalg.norm(np.asarray(rows[a], np.float64) - np.asarray(rows[b], np.float64), axis=1)
            for x, y in zip(*(side[gap <= np.maximum(allowed[a], allowed[b])] for side in (a, b)), strict=True):
                one, other = _root(first, x), _root(first, y)
                first[max(one, other)] = min(one, other)
    return np.array([_root(first, index) for index in range(count)], np.int64)


def _root(first: np.ndarray, index: int) -> int:
    while first[index] != index:
        index = int(first[index])
    return int(index)
