"""Shortlists of near rows by matrix products, and how far the products may be wrong.

A shortlist holds for every query the m reference rows with the smallest `|r|^2/2 - q.r`, computed by products of
float32 rows or, where the processor multiplies bfloat16 in tiles (AMX), of bfloat16 rows in an eighth of the time.
NumPy multiplies or, where that pays, torch (`genaudit.stats.products`): what is found does not depend on it. Each
shortlist comes with a bound on the error of its scores, by which `genaudit.stats.neighbours` proves that no row beyond
the shortlist can be among the nearest, or searches again.

Both sets are shifted by the reference's mean: distances do not change, and the terms that cancel become small.

Q queries, R reference rows, D features, T rows of a tile, m shortlisted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudit.stats.arrays import RowsLike, blocks
from genaudit.stats.process_state import exact_float32
from genaudit.stats.products import NumPyProducts, TorchProducts, products

QUERY_TILE, REFERENCE_TILE = 4096, 4096  # a tile of products takes 64 MiB in float32
GROUPS = 64  # a tile row of 4,096 products is reduced to the minima of 64 groups before any is sorted
SPARE, ROUGH_SPARE = 3, 11  # shortlisted beyond k, in float32 and in bfloat16
ROUGH_QUERIES, ROUGH_DIMS = 256, 128  # with fewer the conversion costs more than the products save

# Higham & Mary (2019): a dot product of D terms errs by at most LAMBDA*sqrt(D)*u*|q||r| with probability
# 1 - 2D*exp(-LAMBDA^2/2); sums in 16 lanes or more make it smaller still. 4u more for the shift and the cast.
LAMBDA = 6.0
UNIT_ROUNDOFF = 2.0**-24
ROUGH_ROUNDOFF = 2.0**-8  # bfloat16 keeps 8 significant bits


class SearchRows:
    """How rows enter the search: as they are or scaled to unit length, and shifted by the reference's mean."""

    def __init__(self, cosine: bool, dims: int) -> None:
        self.cosine = cosine
        self.centre = np.zeros(dims)
        self.largest_norm = 0.0  # of the shifted reference rows

    def centre_on(self, reference: RowsLike) -> None:
        total = np.zeros_like(self.centre)
        for _, block in blocks(reference, "reference", size=REFERENCE_TILE, dtype=kind(reference)):
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


@dataclass(frozen=True)
class Shortlist:
    """For Q queries the m reference rows of the smallest scores `|r|^2/2 - q.r`, best first.

    Attributes:
        scores: (Q, m) float64. rows: (Q, m) int64.
        error: (Q,) by how much the score of a row that may be among the k nearest can be wrong at most.
    """

    scores: np.ndarray
    rows: np.ndarray
    error: np.ndarray


class Reference:
    """The rows that are searched, as tiles of shifted float32 rows on the device.

    Args:
        reference: rows (R, D). cosine: whether rows are scaled to unit length. device: where products run.
        held_bytes: tiles are held on the device where they take no more; else they are formed again each time.
        queries: how many will be searched, as far as is known: for few NumPy multiplies.
    """

    def __init__(self, reference: RowsLike, cosine: bool, device: str, held_bytes: int, queries: int) -> None:
        self.given = reference
        self.device = device
        self.by = products(device, float(queries) * reference.shape[0] * reference.shape[1])
        self.rows_of = SearchRows(cosine, reference.shape[1])
        self.rows_of.centre_on(reference)
        held = 4 * reference.shape[0] * reference.shape[1] <= held_bytes
        self._held: list[tuple[int, Any, Any]] | None = list(self._form()) if held else None

    def _form(self) -> Iterator[tuple[int, Any, Any]]:
        """(first row, shifted rows (T, D) float32, half their squared norms (T,)) on the device, tile by tile."""
        for offset, block in blocks(self.given, "reference", size=REFERENCE_TILE, dtype=kind(self.given)):
            rows = self.rows_of.shifted(block)
            # In float32: the error bound of the products covers this one, since a norm is at most `reach`.
            half = np.einsum("ij,ij->i", rows, rows) / 2
            self.rows_of.largest_norm = max(self.rows_of.largest_norm, 1.001 * float(half.max() * 2) ** 0.5)
            yield offset, self.by.put(rows), self.by.put(half)

    def rough_pays(self, queries: int, k: int) -> bool:
        """Whether a bfloat16 shortlist is worth a try: the processor has tiles of it, and the search is large."""
        large = queries >= ROUGH_QUERIES and self.given.shape[1] >= ROUGH_DIMS
        # with more shortlisted the minima by groups no longer help
        few = (k + ROUGH_SPARE) * 4 <= GROUPS
        return self.device == "cpu" and self.by.torch and large and few and multiplies_bfloat16()

    def shortlist(self, queries: np.ndarray, k: int, available: int, own: np.ndarray | None, rough: bool) -> Shortlist:
        """Shortlists for shifted queries (Q, D) float32.

        Args:
            k: neighbours wanted. available: rows that a query may find.
            own: (Q,) the row that each query is and must not find. rough: by products of bfloat16 rows.
        """
        n, dims = queries.shape
        by, m = self.by, min(k + (ROUGH_SPARE if rough else SPARE), available)
        form = _Rough(dims) if rough else _Exact()
        held = form.queries(by.put(queries))
        mine = None if own is None else by.put(own)
        best, at = by.full((n, m), np.inf), by.full((n, m), 0, np.int64)
        room = by.empty(min(n, QUERY_TILE) * min(REFERENCE_TILE, self.given.shape[0]), held)
        with self._calculating():
            for offset, tile, half in self._form() if self._held is None else self._held:
                right, half = form.reference(tile, half)
                for first in range(0, n, QUERY_TILE):
                    part = slice(first, min(first + QUERY_TILE, n))
                    scores = room[: (part.stop - first) * len(tile)].reshape(part.stop - first, len(tile))
                    by.multiply(held[part], right, scores)
                    if half is not None:
                        by.subtract_from(half, scores)
                    if mine is not None:
                        _forget(by, scores, mine[part] - offset)
                    values, columns = smallest(by, scores, m)
                    columns = by.join(at[part], columns + offset)
                    best[part], order = by.lowest(by.join(best[part], values), m)
                    at[part] = by.take(columns, order)
        scored, rows = by.get(best).astype(np.float64), by.get(at)
        order = np.argsort(scored, axis=1, kind="stable")
        found = np.take_along_axis(scored, order, 1)
        error = self._error(queries, found[:, k - 1], form)
        return Shortlist(found + form.shift, np.take_along_axis(rows, order, 1), error)

    @contextlib.contextmanager
    def _calculating(self) -> Iterator[None]:
        """Where torch multiplies: without gradients, and float32 as it is written."""
        if not self.by.torch:
            yield
            return
        import torch

        with torch.inference_mode(), exact_float32(self.device):
            yield

    def _error(self, queries: np.ndarray, kth: np.ndarray, form: _Exact | _Rough) -> np.ndarray:
        """The error of rows that matter: those no farther than the k-th best, so of norm at most |q| + its distance.

        The k-th best score is itself wrong by the error, so the bound begins with that of any row and is narrowed.
        """
        norms = 1.001 * np.sqrt(np.einsum("ij,ij->i", queries, queries))
        factor = UNIT_ROUNDOFF * (LAMBDA * np.sqrt(queries.shape[1]) + 4)
        reach = np.full_like(norms, self.rows_of.largest_norm, dtype=np.float64)
        for _ in range(3):
            error = form.error(factor * reach * (norms + reach), norms, reach, kth)
            farthest = 1.01 * np.sqrt(np.maximum(norms**2 + 2 * (kth + form.shift + error), 0))
            reach = np.minimum(reach, norms + farthest)
        return form.error(factor * reach * (norms + reach), norms, reach, kth)


class _Exact:
    """Products of float32 rows."""

    shift = 0.0

    def queries(self, queries: Any) -> Any:
        return queries

    def reference(self, tile: Any, half: Any) -> tuple[Any, Any]:
        return tile, half

    def error(self, summation: np.ndarray, norms: np.ndarray, reach: np.ndarray, kth: np.ndarray) -> np.ndarray:
        return summation


class _Rough:
    """Products of bfloat16 rows, the half norms as three more columns, so that the product is the score.

    The score leaves the product rounded to bfloat16; half norms enter less their median, which keeps scores small.
    """

    EXTRA = 3  # three times 8 bits: half norms keep float32's 24

    def __init__(self, dims: int) -> None:
        self.width = -(-(dims + self.EXTRA) // 32) * 32  # AMX works on 32 columns at a time
        self.dims = dims
        self.shift: float = 0.0
        self.lost_queries = np.zeros(0)
        self.lost_reference = 0.0
        self._started = False

    def queries(self, queries: Any) -> Any:
        held = queries.new_zeros(len(queries), self.width, dtype=_bfloat16())
        held[:, : self.dims] = queries
        self.lost_queries = (queries - held[:, : self.dims]).norm(dim=1).double().numpy()
        held.neg_()[:, self.dims : self.dims + self.EXTRA] = 1
        return held

    def reference(self, tile: Any, half: Any) -> tuple[Any, Any]:
        if not self._started:
            self.shift, self._started = float(half.median()), True
        held = tile.new_zeros(len(tile), self.width, dtype=_bfloat16())
        held[:, : self.dims] = tile
        self.lost_reference = max(self.lost_reference, float((tile - held[:, : self.dims]).norm(dim=1).max()))
        rest = half - self.shift
        for column in range(self.dims, self.dims + self.EXTRA):
            held[:, column] = rest
            rest = rest - held[:, column].float()
        return held, None

    def error(self, summation: np.ndarray, norms: np.ndarray, reach: np.ndarray, kth: np.ndarray) -> np.ndarray:
        # q.r - q'.r' = (q - q').r + q'.(r - r'), each at most the product of its norms (Cauchy and Schwarz)
        lost_reference = np.minimum(self.lost_reference, ROUGH_ROUNDOFF * reach)
        products = self.lost_queries * reach + norms * lost_reference + summation
        # a row that matters scores no more than 2 * products from the k-th, and is rounded once more on its way out
        total: np.ndarray = 1.02 * (products + ROUGH_ROUNDOFF * np.abs(kth))
        return total


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in tiles, several times as fast as float32."""
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", None)  # not in every release of PyTorch
    return capabilities is not None and bool(capabilities().get("amx_bf16"))


def _bfloat16() -> Any:
    import torch

    return torch.bfloat16


def _forget(by: NumPyProducts | TorchProducts, scores: Any, own: Any) -> None:
    """Sets each query's score of the row that it is, where that row is one of this tile."""
    (inside,) = by.where((own >= 0) & (own < scores.shape[1]))
    scores[inside, own[inside]] = float("inf")


def smallest(by: NumPyProducts | TorchProducts, scores: Any, m: int) -> tuple[Any, Any]:
    """The m smallest of every row of a tile and their columns, (Q, min(m, R)) each, in any order.

    The m smallest lie in the m groups with the smallest minima, and minima are cheap where sorting is not.
    """
    n, width = scores.shape
    size = width // GROUPS
    if width % GROUPS or m * 4 > GROUPS or size < 2:
        return by.lowest(scores, m)
    grouped = scores.reshape(n, size, GROUPS)  # group g holds the columns g, g + GROUPS, ...
    _, groups = by.lowest(by.minima(grouped), m)
    values, order = by.lowest(by.members(grouped, groups).reshape(n, size * m), m)
    return values, order // m * GROUPS + by.take(groups, order % m)


def kind(rows: RowsLike) -> Any:
    """The type that rows are read in: float32 where they hold no more."""
    return np.float32 if np.asarray(rows[:1]).dtype.itemsize <= 4 else np.float64
