"""Nearest neighbours in feature space: blocked matrix multiplication, then an exact choice among near-ties.

`|q - r|^2 = |q|^2 - 2 q.r + |r|^2` turns the search into matrix products, but the three terms cancel: with features
that have an offset, the plain expansion in float32 retrieves the wrong image. So the products only make a shortlist
(`genaudit.stats.shortlist`). Candidates within the products' error of the k-th best are compared by their float64
differences, ties going to the lowest index. A query whose shortlist is too short for that bound (many near-equal rows)
is searched again: after bfloat16 in float32, after float32 in float64 and over all rows.

Cosine distances are half the squared Euclidean distances of the rows scaled to unit length, so that one search
serves both. Rows are read block by block: neither set need be in memory.

Q queries, R reference rows, D features, k neighbours, m shortlisted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from genaudit.stats import shortlist
from genaudit.stats.arrays import RowsLike, as_rows, blocks, out_of_range
from genaudit.stats.shortlist import LAMBDA, Reference, SearchRows, Shortlist, kind

Metric = Literal["euclidean", "cosine"]

QUERY_BYTES = 256 << 20  # float32 queries held at a time: the reference is read once per such part
HELD_BYTES = 2 << 30  # shifted reference rows that an index keeps
PAIR_BYTES = 64 << 20  # float64 differences formed at a time
ROUGH_FAILS = 0.5  # where the bfloat16 shortlist was too short for a larger share of queries, it is not tried again


@dataclass(frozen=True)
class Neighbours:
    """The k nearest reference rows of every query, nearest first; equal distances in order of the index.

    `indices` has shape (Q, k), int64; `distances` has shape (Q, k), float64: Euclidean, or 1 - cosine.
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest(
    query: Any,
    reference: Any,
    *,
    k: int = 1,
    metric: Metric = "euclidean",
    device: str = "cpu",
    exclude_self: bool = False,
) -> Neighbours:
    """The k nearest rows of `reference` for every row of `query`, exact up to float64 rounding of the rows given.

    Args:
        query: rows (Q, D), array, tensor or rows on disk.
        reference: rows (R, D).
        k: neighbours a query, 1 <= k <= R (R - 1 with `exclude_self`).
        metric: "euclidean", or "cosine" for 1 - cosine similarity.
        device: where the matrix products run ("cpu", "cuda", "cuda:1", "mps").
        exclude_self: query i *is* reference row i and is not its own neighbour; copies of it elsewhere are.

    Returns:
        `Neighbours`, NumPy arrays of shape (Q, k). A query that is equal to a reference row has distance exactly 0
        ("cosine": exactly 0 for equal rows, about 1e-32 for multiples of each other).

    Raises:
        ValueError: wrong shapes, k out of range, a value that is not finite, or a row of zeros under "cosine".

    >>> found = nearest([[0.0, 0.1]], [[5.0, 5.0], [0.0, 0.0], [0.0, 0.0]])
    >>> int(found.indices[0, 0]), float(found.distances[0, 0])
    (1, 0.1)
    """
    shape: tuple[int, ...] = getattr(query, "shape", ())
    index = NeighbourIndex(
        reference, metric=metric, device=device, held_bytes=0, queries=shape[0] if len(shape) == 2 else None
    )
    return index.nearest(query, k=k, exclude_self=exclude_self)


class NeighbourIndex:
    """A reference that is searched many times, a few queries at a time: its mean, norms and shifted rows, once.

    Args:
        reference: rows (R, D).
        metric, device: as in `nearest`.
        held_bytes: shifted rows are held, on the device, where they take no more; else they are formed again each time.
        queries: how many will be searched in all, as far as is known (None: as many as the reference has rows).

    Raises:
        ValueError: wrong shape, a value that is not finite, or a row of zeros under "cosine".

    >>> int(NeighbourIndex([[5.0, 5.0], [0.0, 0.0]]).nearest([[0.0, 0.1]]).indices[0, 0])
    1
    """

    def __init__(
        self,
        reference: Any,
        *,
        metric: Metric = "euclidean",
        device: str = "cpu",
        held_bytes: int = HELD_BYTES,
        queries: int | None = None,
    ) -> None:
        rows = as_rows(reference, "reference")
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be 'euclidean' or 'cosine', not {metric!r}")
        expected = rows.shape[0] if queries is None else queries
        self._reference = Reference(rows, metric == "cosine", device, held_bytes, expected)

    def nearest(self, query: Any, *, k: int = 1, exclude_self: bool = False) -> Neighbours:
        """The k nearest rows for every row of `query`; see the function `nearest`."""
        n_reference, dims = self._reference.given.shape
        query = as_rows(query, "query", columns=dims)
        n_query = query.shape[0]
        if exclude_self and n_query != n_reference:
            raise ValueError(f"exclude_self needs the same rows twice, not {n_query} queries and {n_reference} rows")
        available = n_reference - exclude_self
        if not 1 <= k <= available:
            raise ValueError(f"k must be between 1 and the {available} rows there are, not {k}")
        indices = np.empty((n_query, k), np.int64)
        distances = np.empty((n_query, k), np.float64)
        part = max(shortlist.QUERY_TILE, QUERY_BYTES // (4 * dims))
        rough = self._reference.rough_pays(min(n_query, part), k)
        for start in range(0, n_query, part):
            stop = min(start + part, n_query)
            search = _Search(self._reference, query, start, stop, k, available, exclude_self)
            left = np.arange(stop - start)
            if rough:
                left = search.by_products(left, rough=True)
                rough = len(left) <= ROUGH_FAILS * (stop - start)
            left = search.by_products(left, rough=False)
            search.exactly(left)
            indices[start:stop], distances[start:stop] = search.indices, search.distances
        return Neighbours(indices, distances / 2 if self._reference.rows_of.cosine else np.sqrt(distances))


class _Search:
    """The search for queries start to stop: their k nearest (n, k) as far as they are known, squared distances."""

    def __init__(
        self,
        reference: Reference,
        query: RowsLike,
        start: int,
        stop: int,
        k: int,
        available: int,
        exclude_self: bool,
    ) -> None:
        self.reference, self.rows_of = reference, reference.rows_of
        self.query, self.start, self.k, self.available = query, start, k, available
        self.own = np.arange(start, stop) if exclude_self else None
        self.shifted = np.concatenate(
            [self.rows_of.shifted(np.asarray(block, kind(query))) for block in _parts(query, start, stop)],
            dtype=np.float32,
        )
        self.indices = np.empty((stop - start, k), np.int64)
        self.distances = np.empty((stop - start, k), np.float64)

    def by_products(self, places: np.ndarray, rough: bool) -> np.ndarray:
        """Searches the queries at `places` by a shortlist; gives those for which it was too short to prove anything."""
        if not len(places):
            return places
        own = None if self.own is None else self.own[places]
        whole = len(places) == len(self.shifted)
        queries = self.shifted if whole else self.shifted[places]
        found = self.reference.shortlist(queries, self.k, self.available, own, rough)
        unproved = []
        for first in range(0, len(places), shortlist.QUERY_TILE):
            at = slice(first, first + shortlist.QUERY_TILE)
            unproved.append(self._choose(places[at], Shortlist(found.scores[at], found.rows[at], found.error[at])))
        return np.concatenate(unproved)

    def _choose(self, places: np.ndarray, found: Shortlist) -> np.ndarray:
        """Takes the k nearest of the shortlisted rows by float64 differences; gives the places without a proof."""
        candidate = found.scores <= (found.scores[:, self.k - 1] + 2 * found.error)[:, None]
        proved = ~candidate[:, -1] | (found.rows.shape[1] == self.available)
        squared = np.full(found.scores.shape, np.inf)
        row, column = np.nonzero(candidate)
        squared[row, column] = _squared(
            self._exact(places), row, self.reference.given, found.rows[row, column], self.rows_of
        )
        order = np.lexsort((found.rows, squared), axis=1)[:, : self.k]
        self.indices[places] = np.take_along_axis(found.rows, order, 1)
        self.distances[places] = np.take_along_axis(squared, order, 1)
        return places[~proved]

    def exactly(self, places: np.ndarray) -> None:
        """Searches the queries at `places` over all rows by float64 products."""
        for first in range(0, len(places), shortlist.QUERY_TILE):
            at = places[first : first + shortlist.QUERY_TILE]
            own = None if self.own is None else self.own[at]
            self.indices[at], self.distances[at] = _search_exactly(
                self._exact(at), self.distances[at], self.reference.given, self.rows_of, own
            )

    def _exact(self, places: np.ndarray) -> np.ndarray:
        """The float64 rows (P, D) of queries; places that adjoin are read as one block."""
        first, last = int(places[0]), int(places[-1])
        adjoining = last - first == len(places) - 1
        chosen = slice(self.start + first, self.start + last + 1) if adjoining else self.start + places
        return self.rows_of.exact(np.asarray(self.query[chosen]))


def _parts(rows: RowsLike, start: int, stop: int) -> Iterator[np.ndarray]:
    for first in range(start, stop, shortlist.REFERENCE_TILE):
        block = np.asarray(rows[first : min(first + shortlist.REFERENCE_TILE, stop)])
        if fault := out_of_range(block):
            raise ValueError(f"query {fault}")
        yield block


def _squared(
    exact: np.ndarray, row: np.ndarray, reference: RowsLike, index: np.ndarray, rows_of: SearchRows
) -> np.ndarray:
    """Squared float64 distances (P,) between queries `row` (P,) and reference rows `index` (P,)."""
    out = np.empty(len(row))
    step = max(1, PAIR_BYTES // (8 * exact.shape[1]))
    for first in range(0, len(row), step):
        part = slice(first, first + step)
        # Rows on disk are read once each and in order.
        unique, inverse = np.unique(index[part], return_inverse=True)
        difference = rows_of.exact(np.asarray(reference[unique]))[inverse]
        difference -= exact[row[part]]
        out[part] = np.einsum("ij,ij->i", difference, difference)
    return out


def _search_exactly(
    exact: np.ndarray, known: np.ndarray, reference: RowsLike, rows_of: SearchRows, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances (Q, k) over all reference rows, products in float64, for a few queries.

    `known` (Q, k) are squared distances of k different rows: nothing farther than the last of them matters.
    """
    n, k = known.shape
    indices = np.full((n, k), np.iinfo(np.int64).max)
    distances = np.full((n, k), np.inf)
    shifted = exact - rows_of.centre
    norms = np.einsum("ij,ij->i", shifted, shifted)
    bound = known[:, -1]
    slack = 2.0**-52 * (LAMBDA * np.sqrt(exact.shape[1]) + 4) * (2 * np.sqrt(norms) + np.sqrt(bound)) ** 2
    active = np.arange(n)
    step = max(1, PAIR_BYTES // (8 * shortlist.REFERENCE_TILE))
    for offset, block in blocks(reference, "reference", size=shortlist.REFERENCE_TILE, dtype=np.float64):
        rows = rows_of.exact(block) - rows_of.centre
        half = np.einsum("ij,ij->i", rows, rows)
        for first in range(0, len(active), step):
            part = active[first : first + step]
            squared = norms[part, None] + half - 2 * (shifted[part] @ rows.T)
            if own is not None:
                inside = (own[part] >= offset) & (own[part] < offset + len(half))
                squared[np.nonzero(inside)[0], own[part][inside] - offset] = np.inf
            row, column = np.nonzero(squared <= (bound + slack)[part, None])
            row = part[row]
            found = _squared(exact, row, reference, column + offset, rows_of)
            # Merge with what is known, in order of (query, distance, index), and keep k a query.
            all_rows = np.concatenate([np.repeat(part, k), row])
            all_distances = np.concatenate([distances[part].ravel(), found])
            all_indices = np.concatenate([indices[part].ravel(), column + offset])
            order = np.lexsort((all_indices, all_distances, all_rows))
            first_of = np.searchsorted(all_rows[order], part)
            keep = order[(first_of[:, None] + np.arange(k))]
            indices[part], distances[part] = all_indices[keep], all_distances[keep]
        # Rows come in order of their index, so k copies at distance 0 cannot be beaten.
        active = active[distances[active, -1] > 0]
        bound = np.minimum(bound, distances[:, -1])
    return indices, distances
