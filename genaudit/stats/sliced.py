"""Sliced optimal transport: squared Wasserstein-2 distances of two sets of rows along random directions.

Along a direction u both sets are numbers, and the optimal plan couples their quantiles: sorted values in order where
the sets are equally large, else the quantile functions piece by piece, which needs no subsampling. The distance's
influence function along u is the Kantorovich potential phi with phi'(x) = 2 (x - T(x)), T the transport map
(del Barrio & Loubes 2019), so that the sums over directions give each row's influence on the mean distance.
N and M rows, D features, P directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudit.stats.arrays import RowsLike, as_rows, blocks

LEAST = 10  # images of a set: with fewer there is no interval
PROJECTED_BYTES = 64 << 20  # projections of both sets held at a time


@dataclass(frozen=True)
class Sliced:
    """Squared distances (P,) along the directions, and the influence of each row on their mean, (N,) and (M,)."""

    squared: np.ndarray
    influence_x: np.ndarray
    influence_y: np.ndarray

    @property
    def mean(self) -> float:
        """The mean over the directions: an estimate of the mean over the sphere."""
        return float(self.squared.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over new rows of either set and over other directions."""
        parts = (self.influence_x, self.influence_y, self.squared)
        return float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts if len(part) > 1)))


def random_directions(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Unit vectors (P, D), uniform on the sphere."""
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions))
    directions: np.ndarray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return directions


def sliced_wasserstein(x: Any, y: Any, directions: np.ndarray, *, names: tuple[str, str] = ("x", "y")) -> Sliced:
    """Squared Wasserstein-2 distances between two sets of rows along directions, and the rows' influences.

    Args:
        x: rows (N, D), array, tensor or rows on disk, read once for every tile of directions.
        y: rows (M, D).
        directions: unit vectors (P, D).
        names: of the two sets, for error messages.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    a, b = as_rows(x, names[0]), as_rows(y, names[1])
    directions = np.asarray(directions, np.float64)
    if directions.ndim != 2 or len(directions) == 0 or not a.shape[1] == b.shape[1] == directions.shape[1]:
        raise ValueError(
            f"{names[0]}, {names[1]} and the directions must have equally many columns, "
            f"not {a.shape[1]}, {b.shape[1]} and {directions.shape[-1]}"
        )
    n, m, count = len(a), len(b), len(directions)
    pieces = _Pieces(n, m)
    squared, influence_x, influence_y = np.empty(count), np.zeros(n), np.zeros(m)
    tile = max(1, PROJECTED_BYTES // (8 * (n + m)))
    for start in range(0, count, tile):
        part = directions[start : start + tile]
        for offset, (left, right) in enumerate(
            zip(_project(a, names[0], part), _project(b, names[1], part), strict=True)
        ):
            at_x, at_y = np.argsort(left), np.argsort(right)
            u, v = left[at_x], right[at_y]
            squared[start + offset] = pieces.weights @ np.square(u[pieces.x] - v[pieces.y])
            influence_x[at_x] += _potential(u, np.bincount(pieces.x, pieces.weights * v[pieces.y]) * n)
            influence_y[at_y] += _potential(v, np.bincount(pieces.y, pieces.weights * u[pieces.x]) * m)
    return Sliced(squared, influence_x / count, influence_y / count)


class _Pieces:
    """Where two empirical quantile functions are constant together: the pieces' ranks in either set and weights."""

    def __init__(self, n: int, m: int) -> None:
        ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1/(n m)
        starts = np.concatenate([[0], ends[:-1]])
        self.x, self.y = starts // m, starts // n
        self.weights = (ends - starts) / (n * m)


def _project(rows: RowsLike, name: str, directions: np.ndarray) -> np.ndarray:
    return np.concatenate([block @ directions.T for _, block in blocks(rows, name)]).T


def _potential(points: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The potential at sorted points (N,) whose (mean) images under the map are `images`, by the trapezoid rule."""
    slope = points - images
    potential: np.ndarray = np.concatenate([[0.0], np.cumsum(np.diff(points) * (slope[1:] + slope[:-1]))])
    return potential - potential.mean()
