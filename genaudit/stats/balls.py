"""Nearest-neighbour balls: which points of one set lie within which balls of another, tile by tile of pairs.

Each row carries a ball whose radius is the distance to its k-th neighbour in its own set, itself left out; a point
lies inside if it is strictly nearer than the radius. The distances between the sets are never stored: float32 matrix
products decide all pairs but those within the products' rounding error of a radius, and these are decided by float64
differences, as the radii are. So the result does not depend on the tiles, and a copy of a k-th neighbour counts as
outside. N centres, M points, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from genaudit.stats.arrays import RowsLike, blocks
from genaudit.stats.neighbours import Neighbours, nearest
from genaudit.stats.products import NumPyProducts, TorchProducts, products
from genaudit.stats.subsampling import kth_kept, neighbours_for

CENTRE_TILE, POINT_TILE = 2048, 4096  # products of a tile take 32 MiB, its list of inside pairs at most 128
PAIR_BYTES = 64 << 20  # float64 differences formed at a time


MOST_PAIRS = 1 << 23  # pairs inside the widest balls that are held: 96 MiB


def radii(rows: RowsLike, k: int, *, device: str = "cpu") -> np.ndarray:
    """The distance (N,) of each row to its k-th nearest other row."""
    return nearest(rows, rows, k=k, exclude_self=True, device=device).distances[:, -1]


def spare_neighbours(rows: RowsLike, k: int, *, device: str = "cpu") -> Neighbours:
    """As many nearest other rows of each row as hold the k-th among a half of them: the radius is in column k - 1."""
    return nearest(rows, rows, k=min(neighbours_for(k), len(rows) - 1), exclude_self=True, device=device)


class Members:
    """Pairs of a centre and a point that lie in the widest of the centre's balls, for the balls of parts of the images.

    Args:
        neighbours: of the centres among themselves, `spare_neighbours`. k: of the ball. points: how many there are.
    """

    def __init__(self, neighbours: Neighbours, k: int, points: int) -> None:
        self.neighbours, self.k, self.points = neighbours, k, points
        self.widest = neighbours.distances[:, -1]
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._held = 0

    def add(self, at_centre: np.ndarray, at_point: np.ndarray, squares: np.ndarray) -> None:
        """Takes pairs with their squared distances (P,), float32."""
        self._held += len(at_centre)
        if not self.complete:
            self._found = []
            return
        self._found.append((at_centre.astype(np.int32), at_point.astype(np.int32), squares))

    @property
    def complete(self) -> bool:
        """False where there were too many pairs to hold."""
        return self._held <= MOST_PAIRS

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres, points and their squared distances (P,)."""
        parts = zip(*self._found, strict=True) if self._found else ([np.empty(0, np.int32)],) * 3
        centre, point, squares = (np.concatenate(list(part)) for part in parts)
        return centre, point, squares

    def inside(self, kept_centres: np.ndarray, most: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (centre, point) in the balls that the kept centres have among themselves, none above `most`."""
        centre, point, squares = self.pairs
        limits = np.square(np.minimum(self.radii(kept_centres), most)).astype(np.float32)
        limits[~kept_centres] = -np.inf
        chosen = squares < limits[centre]
        return centre[chosen], point[chosen]

    def radii(self, kept_centres: np.ndarray) -> np.ndarray:
        """The radii (N,) that the kept centres have among themselves."""
        place = kth_kept(self.neighbours.indices, kept_centres, self.k)
        found: np.ndarray = np.take_along_axis(self.neighbours.distances, place[:, None], 1)[:, 0]
        return found


@dataclass(frozen=True)
class Tile:
    """All pairs of a block of centres x (B, D) and a block of points y (C, D).

    `rows` and `columns` are their places in the two sets; `closeness` (B, C), float32, is -distance^2/2 but for
    rounding, an array of `by`.
    """

    rows: slice
    columns: slice
    closeness: Any
    x: np.ndarray
    y: np.ndarray
    x_half: np.ndarray  # half the squared norms of the shifted rows, float64
    y_half: np.ndarray
    unit: float  # rounding error of the products, relative to the product of the norms
    by: NumPyProducts | TorchProducts

    def points_inside(self, radii_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (centre of x, point of y) with the point strictly inside; `radii_x` (N,) of all centres."""
        own = radii_x[self.rows]
        at_x, at_y = self._inside(self.closeness, self.x_half, self.x, self.y, own)
        return at_x + self.rows.start, at_y + self.columns.start

    def add_members(self, of_x: Members | None = None, of_y: Members | None = None) -> None:
        """Hands the tile's pairs to the members of x's balls, and of y's."""
        for members, closeness, rows, columns in (
            (of_x, self.closeness, self.rows, self.columns),
            (of_y, self.closeness.T, self.columns, self.rows),
        ):
            if members is not None and members.complete:
                least = self.by.put((np.square(members.widest[rows]) / -2).astype(np.float32))
                at_centre, at_point = self.by.where(closeness > least[:, None])
                squares = self.by.get(closeness[at_centre, at_point] * -2)
                at_centre, at_point = self.by.get(at_centre), self.by.get(at_point)
                members.add(at_centre + rows.start, at_point + columns.start, squares)

    def centres_inside(self, radii_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (row of x, centre of y) with the row of x strictly inside y's ball; `radii_y` (M,)."""
        own = radii_y[self.columns]
        at_y, at_x = self._inside(self.closeness.T, self.y_half, self.y, self.x, own)
        return at_x + self.rows.start, at_y + self.columns.start

    def _thresholds(self, own: np.ndarray, half_squares: np.ndarray) -> tuple[Any, Any]:
        """What closeness must exceed to be perhaps, and to be surely, inside balls of these radii (both float32).

        A point near the sphere is no farther from the origin than centre and radius together, which bounds the error.
        """
        norms = np.sqrt(2 * half_squares)
        error = self.unit * (norms + norms + own) ** 2
        middle = np.where(own > 0, -np.square(own) / 2, np.inf)  # nothing is strictly inside a ball of radius 0
        low, high = ((middle + sign * error).astype(np.float32) for sign in (-1, 1))
        return self.by.put(low), self.by.put(high)

    def _inside(
        self, closeness: Any, half_squares: np.ndarray, centres: np.ndarray, points: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (index of a centre, index of a point) where the point lies strictly within the centre's radius."""
        low, high = self._thresholds(own, half_squares)
        at_centre, at_point = self.by.where(closeness > low[:, None])
        kept = self.by.get(closeness[at_centre, at_point] > high[at_centre])
        at_centre, at_point = self.by.get(at_centre), self.by.get(at_point)
        unsure = np.nonzero(~kept)[0]
        step = max(1, PAIR_BYTES // (8 * centres.shape[1]))
        for start in range(0, len(unsure), step):
            part = unsure[start : start + step]
            kept[part] = distances(centres[at_centre[part]], points[at_point[part]]) < own[at_centre[part]]
        return at_centre[kept], at_point[kept]


def tiles(centres: RowsLike, points: RowsLike, *, names: tuple[str, str], device: str = "cpu") -> Iterator[Tile]:
    """Every pair of a centre (N, D) and a point (M, D), tile by tile, each once; `names` for error messages."""
    by = products(device, float(len(centres)) * len(points) * centres.shape[1])
    # Any common shift leaves distances unchanged; this one keeps the three terms of |x|^2 + |y|^2 - 2 x'y small.
    middle = sum(block.sum(axis=0) for _, block in blocks(centres, names[0])) / len(centres)
    # Higham & Mary 2019: a product of D terms errs by at most 6·sqrt(D)·u·|x||y| but once in 10^7; 8u for the rest.
    unit = 2.0**-24 * (6 * np.sqrt(centres.shape[1]) + 8)
    for i, x in blocks(centres, names[0], size=CENTRE_TILE):
        left = (x - middle).astype(np.float32)
        x_half, left = _half_squares(left), by.put(left)
        for j, y in blocks(points, names[1], size=POINT_TILE):
            right = (y - middle).astype(np.float32)
            y_half = _half_squares(right)
            closeness = left @ by.put(right).T
            closeness -= by.put(x_half.astype(np.float32))[:, None]
            closeness -= by.put(y_half.astype(np.float32))[None, :]
            yield Tile(slice(i, i + len(x)), slice(j, j + len(y)), closeness, x, y, x_half, y_half, unit, by)


def _half_squares(rows: np.ndarray) -> np.ndarray:
    half: np.ndarray = np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / 2
    return half


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances (P,) between rows of equal place, by float64 differences."""
    difference = a - b
    found: np.ndarray = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return found
