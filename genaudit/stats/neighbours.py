"""Nearest neighbours in feature space: blocked matrix multiplication, then an exact choice among near-ties.

`|q - r|^2 = |q|^2 - 2 q.r + |r|^2` turns the search into matrix products, but in float32 the three terms cancel: with
features that have an offset, the plain expansion retrieves the wrong image. Two measures make the result exact:

- both sets are shifted by the reference's mean (distances do not change, the terms become as small as they can);
- the products only make a shortlist. Candidates within the products' rounding error of the k-th best are compared by
  their float64 differences, ties going to the lowest index. A query whose shortlist is too short for that bound
  (many near-equal rows) is searched again, in float64 and over all rows.

Cosine distances are half the squared Euclidean distances of the rows scaled to unit length, so that one search
serves both. Rows are read block by block: neither set need be in memory.

Q queries, R reference rows, D features, k neighbours, m = k + SPARE shortlisted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from genaudit.stats.arrays import RowsLike, as_rows, blocks

Metric = Literal["euclidean", "cosine"]

QUERY_BYTES = 256 << 20  # float32 queries held at a time: the reference is read once per such part
QUERY_TILE, REFERENCE_TILE = 4096, 4096  # a tile of products takes 64 MiB
GROUPS = 64  # a tile row of 4,096 products is reduced to the minima of 64 groups before any is sorted
SPARE = 3
HELD_BYTES = 2 << 30  # shifted reference rows that an index keeps
PAIR_BYTES = 64 << 20  # float64 differences formed at a time

# Higham & Mary (2019): a dot product of D terms errs by at most LAMBDA*sqrt(D)*u*|q||r| with probability
# 1 - 2D*exp(-LAMBDA^2/2); sums in 16 lanes or more make it smaller still. 4u more for the shift and the cast.
LAMBDA = 6.0
UNIT_ROUNDOFF = 2.0**-24


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
    return Index(reference, metric=metric, device=device, held_bytes=0).nearest(query, k=k, exclude_self=exclude_self)


class Index:
    """A reference that is searched many times, a few queries at a time: its mean, norms and shifted rows, once.

    Args:
        reference: rows (R, D).
        metric, device: as in `nearest`.
        held_bytes: shifted rows are held, on the device, where they take no more; else they are formed anew each time.

    Raises:
        ValueError: wrong shape, a value that is not finite, or a row of zeros under "cosine".

    >>> int(Index([[5.0, 5.0], [0.0, 0.0]]).nearest([[0.0, 0.1]]).indices[0, 0])
    1
    """

    def __init__(
        self, reference: Any, *, metric: Metric = "euclidean", device: str = "cpu", held_bytes: int = HELD_BYTES
    ) -> None:
        self._reference = as_rows(reference, "reference")
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be 'euclidean' or 'cosine', not {metric!r}")
        self._device = device
        rows, dims = self._reference.shape
        self._rows_of = _Rows(metric, dims)
        self._rows_of.centre_on(self._reference)
        held = 4 * rows * dims <= held_bytes
        self._held: list[tuple[int, Any, Any]] | None = list(self._form_tiles()) if held else None

    def nearest(self, query: Any, *, k: int = 1, exclude_self: bool = False) -> Neighbours:
        """The k nearest rows for every row of `query`; see the function `nearest`."""
        reference, rows_of = self._reference, self._rows_of
        dims = reference.shape[1]
        query = as_rows(query, "query", columns=dims)
        n_query, n_reference = query.shape[0], reference.shape[0]
        if exclude_self and n_query != n_reference:
            raise ValueError(f"exclude_self needs the same rows twice, not {n_query} queries and {n_reference} rows")
        available = n_reference - exclude_self
        if not 1 <= k <= available:
            raise ValueError(f"k must be between 1 and the {available} rows there are, not {k}")
        indices = np.empty((n_query, k), np.int64)
        distances = np.empty((n_query, k), np.float64)
        part = max(QUERY_TILE, QUERY_BYTES // (4 * dims))
        for start in range(0, n_query, part):
            stop = min(start + part, n_query)
            own = start if exclude_self else None
            scores, shortlist = self._shortlist(query, start, stop, min(k + SPARE, available), own)
            for tile in range(0, stop - start, QUERY_TILE):
                at = slice(tile, min(tile + QUERY_TILE, stop - start))
                found = _rerank(
                    query, start + at.start, scores[at], shortlist[at], reference, rows_of, k, available, exclude_self
                )
                indices[start + at.start : start + at.stop], distances[start + at.start : start + at.stop] = found
        return Neighbours(indices, distances / 2 if rows_of.cosine else np.sqrt(distances))

    def _form_tiles(self) -> Iterator[tuple[int, Any, Any]]:
        """(first row, shifted rows (T, D) float32, half their squared norms (T,)) on the device, tile by tile."""
        import torch

        reference, rows_of = self._reference, self._rows_of
        for offset, block in blocks(reference, "reference", size=REFERENCE_TILE, dtype=_kind(reference)):
            rows = rows_of.shifted(block)
            # In float32: the error bound of the products covers this one, since a norm is at most `reach`.
            half = torch.from_numpy(np.einsum("ij,ij->i", rows, rows) / 2)
            rows_of.largest_norm = max(rows_of.largest_norm, 1.001 * float(half.max() * 2) ** 0.5)
            yield offset, torch.from_numpy(rows).to(self._device), half.to(self._device)

    def _shortlist(
        self, query: RowsLike, start: int, stop: int, m: int, own: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """For queries start..stop the m smallest `|r|^2/2 - q.r` (float32) and their rows, each (stop - start, m).

        `own` is the reference row of the first query where a query must not find itself.
        """
        import torch

        device, reference = self._device, self._reference
        held = np.concatenate(
            [self._rows_of.shifted(np.asarray(block, _kind(query))) for block in _parts(query, start, stop)],
            dtype=np.float32,
        )
        queries = torch.from_numpy(held).to(device)
        n = stop - start
        best = torch.full((n, m), torch.inf, device=device)
        at = torch.zeros((n, m), dtype=torch.int64, device=device)
        products = torch.empty(min(n, QUERY_TILE) * min(REFERENCE_TILE, reference.shape[0]), device=device)
        with torch.inference_mode(), _full_precision():
            for offset, tile, half in self._form_tiles() if self._held is None else self._held:
                for first in range(0, n, QUERY_TILE):
                    part = slice(first, min(first + QUERY_TILE, n))
                    scores = products[: (part.stop - first) * len(tile)].view(part.stop - first, len(tile))
                    torch.mm(queries[part], tile.T, out=scores)
                    torch.sub(half, scores, out=scores)
                    if own is not None:
                        _forget_self(scores, own + first, offset)
                    values, columns = _smallest(scores, m)
                    values = torch.cat([best[part], values], 1)
                    columns = torch.cat([at[part], columns + offset], 1)
                    best[part], order = values.topk(m, dim=1, largest=False)
                    at[part] = columns.gather(1, order)
        return best.cpu().numpy(), at.cpu().numpy()


class _Rows:
    """How rows enter the search: as they are or scaled to unit length, and shifted by the reference's mean."""

    def __init__(self, metric: Metric, dims: int) -> None:
        self.cosine = metric == "cosine"
        self.centre = np.zeros(dims)
        self.largest_norm = 0.0  # of the shifted reference rows

    def centre_on(self, reference: RowsLike) -> None:
        total = np.zeros_like(self.centre)
        for _, block in blocks(reference, "reference", size=REFERENCE_TILE, dtype=_kind(reference)):
            total += self.exact(block).sum(axis=0) if self.cosine else block.sum(axis=0, dtype=np.float64)
        # Any shift leaves distances unchanged, so its rounding to float32 costs nothing, and subtracting it from
        # float32 rows that lie close to it is then exact.
        self.centre = (total / reference.shape[0]).astype(np.float32).astype(np.float64)

    def exact(self, block: np.ndarray) -> np.ndarray:
        """Float64 rows whose Euclidean distance decides; not shifted, so that equal rows stay equal."""
        rows = np.asarray(block, np.float64)
        if self.cosine:
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            if not norms.all():
                raise ValueError("a row of zeros has no direction: cosine distance is undefined")
            rows = rows / norms
        return rows

    def shifted(self, block: np.ndarray) -> np.ndarray:
        """Float32 rows for the matrix products."""
        if self.cosine or block.dtype != np.float32:
            return (self.exact(block) - self.centre).astype(np.float32)
        return np.asarray(block - self.centre.astype(np.float32))


def _kind(rows: RowsLike) -> Any:
    return np.float32 if np.asarray(rows[:1]).dtype.itemsize <= 4 else np.float64


def _parts(rows: RowsLike, start: int, stop: int) -> Iterator[np.ndarray]:
    for first in range(start, stop, REFERENCE_TILE):
        block = np.asarray(rows[first : min(first + REFERENCE_TILE, stop)])
        if not np.isfinite(block).all():
            raise ValueError("query holds values that are not finite (NaN or infinity)")
        yield block


def _forget_self(scores: Any, first_query: int, first_reference: int) -> None:
    low = max(first_query, first_reference)
    high = min(first_query + scores.shape[0], first_reference + scores.shape[1])
    if low < high:
        scores[low - first_query : high - first_query, low - first_reference : high - first_reference].fill_diagonal_(
            float("inf")
        )


def _smallest(scores: Any, m: int) -> tuple[Any, Any]:
    """The m smallest of every row of a tile and their columns, (Q, min(m, R)) each.

    The m smallest lie in the m groups with the smallest minima, and minima are cheap where sorting is not.
    """
    n, width = scores.shape
    size = width // GROUPS
    if width % GROUPS or m * 4 > GROUPS or size < 2:
        values, columns = scores.topk(min(m, width), dim=1, largest=False)
        return values, columns
    grouped = scores.view(n, size, GROUPS)  # group g holds the columns g, g + GROUPS, ...
    groups = grouped.amin(1).topk(m, dim=1, largest=False).indices
    members = grouped.gather(2, groups[:, None, :].expand(n, size, m)).reshape(n, size * m)
    values, order = members.topk(m, dim=1, largest=False)
    columns = order.div(m, rounding_mode="floor") * GROUPS + groups.gather(1, order % m)
    return values, columns


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products in float32 proper: TF32 and bfloat16 passes would make every shortlist too short."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _rerank(
    query: RowsLike,
    start: int,
    scores: np.ndarray,
    shortlist: np.ndarray,
    reference: RowsLike,
    rows_of: _Rows,
    k: int,
    available: int,
    exclude_self: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances (Q, k) of the shortlisted rows by float64 differences, proved or searched again."""
    n, m = scores.shape
    block = np.asarray(query[start : start + n])
    exact = rows_of.exact(block)
    shifted = rows_of.shifted(np.asarray(block, _kind(query)))
    norms = 1.001 * np.sqrt(np.einsum("ij,ij->i", shifted, shifted))
    order = np.argsort(scores, axis=1)
    scores = np.take_along_axis(scores, order, 1).astype(np.float64)
    shortlist = np.take_along_axis(shortlist, order, 1)

    # A row that matters is no farther than the k-th best, so its norm is at most |q| + distance.
    reach = norms + np.sqrt(np.maximum(norms**2 + 2 * scores[:, k - 1], 0)) * 1.01
    reach = np.minimum(reach, rows_of.largest_norm)
    factor = UNIT_ROUNDOFF * (LAMBDA * np.sqrt(exact.shape[1]) + 4)
    error = factor * reach * (norms + reach)
    candidate = scores <= (scores[:, k - 1] + 2 * error)[:, None]
    proved = ~candidate[:, -1] | (m == available)

    distances = np.full((n, m), np.inf)
    row, column = np.nonzero(candidate)
    distances[row, column] = _squared(exact, row, reference, shortlist[row, column], rows_of)
    order = np.lexsort((shortlist, distances), axis=1)[:, :k]
    indices = np.take_along_axis(shortlist, order, 1)
    distances = np.take_along_axis(distances, order, 1)
    again = np.nonzero(~proved)[0]
    if again.size:
        own = start + again if exclude_self else None
        indices[again], distances[again] = _search_exactly(exact[again], distances[again], reference, rows_of, own)
    return indices, distances


def _squared(exact: np.ndarray, row: np.ndarray, reference: RowsLike, index: np.ndarray, rows_of: _Rows) -> np.ndarray:
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
    exact: np.ndarray, known: np.ndarray, reference: RowsLike, rows_of: _Rows, own: np.ndarray | None
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
    step = max(1, PAIR_BYTES // (8 * REFERENCE_TILE))
    for offset, block in blocks(reference, "reference", size=REFERENCE_TILE, dtype=np.float64):
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
