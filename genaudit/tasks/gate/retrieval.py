"""The training images that the gate's samples retrieve: each counted once, some of them set aside where need be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from genaudit.errors import UserError
from genaudit.stats.arrays import as_rows
from genaudit.stats.chosen import Chosen
from genaudit.stats.copies import copy_distance, mean_row, same_rows
from genaudit.stats.evenness import uniform_pvalue
from genaudit.stats.neighbours import NeighbourIndex
from genaudit.stats.rarefaction import counts_of

EVENNESS_ROWS = 2000  # training images that retrieve their nearest other one, to test for even retrieval


def distinct_images(digests: np.ndarray, rows: Any) -> np.ndarray:
    """The first image of each content, by the bytes' digests and by features that coincide; indices (K,) int64."""
    _, first = np.unique(digests, axis=0, return_index=True)
    first = np.sort(first)
    copies = same_rows(Chosen(rows, first))
    return np.asarray(first[copies == np.arange(len(first))])


@dataclass
class RealRetrievals:
    """Training images that can be retrieved, and what held-out real images retrieve of them.

    `kept` (K,) are the indices among all training images, in order; retrieval gives places 0 .. K - 1 in it. `real`
    (M,) is what held-out real images retrieve, in random order; None where there are none.
    """

    rows: Any
    kept: np.ndarray
    distance: Literal["euclidean", "cosine"] = "euclidean"
    device: str = "cpu"
    real: np.ndarray | None = None
    set_aside: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def n_train(self) -> int:
        return len(self.kept)

    def nearest(self, rows: Any, role: str = "generated") -> tuple[np.ndarray, np.ndarray]:
        """The place of the training image that each row (B, D) retrieves, (B,) int64, and whether it is a copy of it.

        Raises:
            UserError: rows of another width, or that cannot be compared.
        """
        if rows.shape[1] != self.rows.shape[1]:
            raise UserError(
                f"{role} has {rows.shape[1]} features per image, train {self.rows.shape[1]}; they must come from one "
                "feature model"
            )
        try:
            rows = as_rows(rows, role)
        except ValueError as error:
            raise UserError(str(error)) from error
        try:
            neighbours = self._index.nearest(rows)
        except ValueError as error:
            raise UserError(f"{role}: {error}") from error
        allowed = copy_distance(rows, self._centre, self.distance)
        return neighbours.indices[:, 0], neighbours.distances[:, 0] <= allowed

    @cached_property
    def _centre(self) -> np.ndarray:
        return mean_row(self.rows)

    @cached_property
    def _index(self) -> NeighbourIndex:
        try:
            return NeighbourIndex(Chosen(self.rows, self.kept), metric=self.distance, device=self.device)
        except ValueError as error:
            raise UserError(f"train: {error}") from error

    def evenness(self, seed: int) -> float:
        """P-value of even retrieval among the training images: each of some retrieves its nearest other one."""
        order = np.random.default_rng((seed, 8)).permutation(self.n_train)
        some = np.sort(order[: min(EVENNESS_ROWS, self.n_train // 2)])
        others = np.setdiff1d(np.arange(self.n_train), some)
        if len(some) < 2:
            return 1.0
        index = NeighbourIndex(Chosen(self.rows, self.kept[others]), metric=self.distance, device=self.device)
        neighbours = index.nearest(Chosen(self.rows, self.kept[some])).indices[:, 0]
        return uniform_pvalue(counts_of(neighbours), seed=seed)

    def with_set_aside(self, count: int, order: np.ndarray) -> RealRetrievals:
        """The first `count` training images of `order` (K,) leave the set and play held-out real images against it."""
        aside = order[:count]
        rest = np.sort(order[count:])
        smaller = RealRetrievals(self.rows, self.kept[rest], self.distance, self.device, set_aside=self.kept[aside])
        smaller.real = smaller.nearest(Chosen(self.rows, smaller.set_aside), "train")[0]
        return smaller


class Picked(Sequence[str]):
    """The names of some images, in their order."""

    def __init__(self, names: Sequence[str], indices: np.ndarray) -> None:
        self._names, self._indices = names, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._names[int(self._indices[index])]
