"""Nearest neighbours against float64 brute force: offsets, ties, near-ties, rows on disk, the point itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_distances

from genaudit.stats import neighbours, products, shortlist
from genaudit.stats.neighbours import NeighbourIndex, nearest


@pytest.fixture(autouse=True, params=["numpy", "torch", "bfloat16"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with all kinds of shortlist, whatever the processor and the work would choose."""
    monkeypatch.setattr(products, "WORTH_TORCH", np.inf if request.param == "numpy" else 0)
    monkeypatch.setattr(shortlist, "multiplies_bfloat16", lambda: request.param == "bfloat16")
    monkeypatch.setattr(shortlist, "ROUGH_QUERIES", 1)
    monkeypatch.setattr(shortlist, "ROUGH_DIMS", 1)
    return str(request.param)


def brute(query: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All float64 differences, sorted by (distance, index)."""
    distances = np.stack([np.linalg.norm(reference.astype(float) - q.astype(float), axis=1) for q in query])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, 1)


class OnDisk:
    """Rows that may only be sliced, and that count what is read at a time."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.largest = rows, rows.shape, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Any) -> np.ndarray:
        block = self.rows[item]
        self.largest = max(self.largest, len(block))
        return block


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
@pytest.mark.parametrize("k", [1, 5])
def test_nearest_equals_brute_force_at_any_offset(offset: float, k: int) -> None:
    rng = np.random.default_rng(0)
    query = (rng.normal(size=(120, 24)) + offset).astype(np.float32)
    reference = (rng.normal(size=(700, 24)) + offset).astype(np.float32)
    found = nearest(query, reference, k=k)
    indices, distances = brute(query, reference, k)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-13)


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**9])
def test_the_bound_of_a_shortlists_errors_holds_and_scales_with_the_rows(scale: float) -> None:
    """Scores are of second order, and a power of two rounds nothing: the bound grows with its square, exactly."""
    rng = np.random.default_rng(5)
    query, reference = (rng.normal(size=(n, 20)).astype(np.float32) for n in (30, 300))

    def searched(query: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        held = shortlist.Reference(reference, False, "cpu", 1 << 30, 1)
        shifted = held.rows_of.shifted(query)
        found = held.shortlist(shifted, 3, len(reference), None, held.rough_pays(len(query), 3))
        rows = held.rows_of.shifted(reference).astype(float)[found.rows]
        exact = (rows**2).sum(2) / 2 - np.einsum("qd,qmd->qm", shifted.astype(float), rows)
        return found.scores, exact, found.error

    scores, exact, error = searched(query, reference)
    assert (np.abs(scores - exact)[:, :3] <= error[:, None]).all()
    np.testing.assert_array_equal(
        searched(query * np.float32(scale), reference * np.float32(scale))[2], error * scale**2
    )


def test_results_do_not_depend_on_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    query, reference = rng.normal(size=(90, 8)).astype(np.float32), rng.normal(size=(1500, 8)).astype(np.float32)
    whole = nearest(query, reference, k=3)
    np.testing.assert_array_equal(whole.indices, brute(query, reference, 3)[0])
    for query_tile, reference_tile in [(7, 128), (64, 1024), (13, 77)]:
        monkeypatch.setattr(shortlist, "QUERY_TILE", query_tile)
        monkeypatch.setattr(shortlist, "REFERENCE_TILE", reference_tile)
        monkeypatch.setattr(neighbours, "QUERY_BYTES", 40 * 8 * 4)
        found = nearest(query, reference, k=3)
        np.testing.assert_array_equal(found.indices, whole.indices)
        np.testing.assert_array_equal(found.distances, whole.distances)


@pytest.mark.parametrize("m", [1, 6, 20, 2000])
def test_the_tile_minima_by_groups_are_those_of_a_full_sort(m: int, by: str) -> None:
    multiplier = products.products("cpu", 1.0)
    assert multiplier.torch == (by != "numpy")
    given = np.random.default_rng(2).permutation(40 * 1024).reshape(40, 1024).astype(np.float32)
    values, columns = (multiplier.get(each) for each in shortlist.smallest(multiplier, multiplier.put(given), m))
    order = np.argsort(given, axis=1)[:, :m]
    sorting = np.argsort(values, axis=1)
    np.testing.assert_array_equal(np.take_along_axis(values, sorting, 1), np.take_along_axis(given, order, 1))
    np.testing.assert_array_equal(np.take_along_axis(columns, sorting, 1), order)


def test_equal_rows_are_at_distance_zero_and_the_lowest_index_wins() -> None:
    rng = np.random.default_rng(3)
    reference = np.repeat(rng.normal(50, 1, (30, 16)).astype(np.float32), 20, axis=0)[rng.permutation(600)]
    found = nearest(reference, reference)
    first = {row.tobytes(): i for i, row in reversed(list(enumerate(reference)))}
    np.testing.assert_array_equal(found.indices[:, 0], [first[row.tobytes()] for row in reference])
    assert (found.distances == 0).all()


def test_ties_beyond_the_shortlist_are_found_again_in_order() -> None:
    """50 copies of one row, and 50 rows that mirror it: far more equal distances than the shortlist holds."""
    rng = np.random.default_rng(4)
    row = rng.normal(size=12).astype(np.float32)
    reference = np.stack([row if i % 2 else -row for i in range(100)])
    query = np.stack([np.zeros(12, np.float32), row * np.float32(0.5), row])
    found = nearest(query, reference, k=4)
    np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3], [1, 3, 5, 7], [1, 3, 5, 7]])


def test_near_ties_below_float32_resolution_are_distinguished() -> None:
    rng = np.random.default_rng(5)
    base = rng.normal(size=32)
    # Distances to the origin differ by parts in 10^9: products in float32 cannot order them.
    reference = np.stack([base * (1 + 1e-9 * j) for j in rng.permutation(200)]) * rng.choice([-1, 1], (200, 1))
    found = nearest(np.zeros((1, 32)), reference, k=5)
    np.testing.assert_array_equal(found.indices, brute(np.zeros((1, 32)), reference, 5)[0])


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_cosine_equals_sklearn(offset: float) -> None:
    rng = np.random.default_rng(6)
    query, reference = rng.normal(offset, 1, (50, 20)), rng.normal(offset, 1, (300, 20))
    found = nearest(query, reference, k=4, metric="cosine")
    distances = cosine_distances(query, reference)
    order = np.argsort(distances, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(found.indices, order)
    # 1 - cos is known to about 1e-16 by scikit-learn, whatever its size.
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, order, 1), atol=1e-15)


def test_the_point_itself_is_left_out_but_its_copies_are_not() -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(200, 6)).astype(np.float32)
    rows[150] = rows[3]
    found = nearest(rows, rows, k=2, exclude_self=True)
    distances = np.linalg.norm(rows[:, None].astype(float) - rows, axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1, kind="stable")[:, :2])
    assert found.indices[3, 0] == 150
    assert found.distances[150, 0] == 0


def test_the_point_itself_is_left_out_of_collapsed_sets() -> None:
    rows = np.ones((40, 5), np.float32)
    found = nearest(rows, rows, k=2, exclude_self=True)
    assert (found.distances == 0).all()
    np.testing.assert_array_equal(found.indices[:3], [[1, 2], [0, 2], [0, 1]])


def test_rows_on_disk_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    monkeypatch.setattr(shortlist, "QUERY_TILE", 32)
    monkeypatch.setattr(shortlist, "REFERENCE_TILE", 64)
    monkeypatch.setattr(neighbours, "QUERY_BYTES", 64 * 10 * 4)
    query, reference = rng.normal(size=(300, 10)).astype(np.float32), rng.normal(size=(900, 10)).astype(np.float32)
    np.save(tmp_path / "r.npy", reference)
    on_disk = OnDisk(query), OnDisk(np.load(tmp_path / "r.npy", mmap_mode="r"))
    found = nearest(*on_disk)
    np.testing.assert_array_equal(found.indices, brute(query, reference, 1)[0])
    assert on_disk[0].largest <= 64
    assert on_disk[1].largest <= 64 * (1 + shortlist.ROUGH_SPARE)


def test_tensors_integers_and_single_rows_are_taken() -> None:
    found = nearest(torch.tensor([[1.0, 1.0]]), [[0, 0], [1, 2]])
    assert found.indices.tolist() == [[1]]
    assert found.distances.tolist() == [[1.0]]
    assert nearest([[3.0]], [[1.0]]).distances.tolist() == [[2.0]]


def test_bad_input_is_refused() -> None:
    rows = np.zeros((4, 3))
    with pytest.raises(ValueError, match="k must be"):
        nearest(rows, rows, k=5)
    with pytest.raises(ValueError, match="k must be"):
        nearest(rows, rows, k=4, exclude_self=True)
    with pytest.raises(ValueError, match="columns"):
        nearest(np.zeros((2, 2)), rows)
    with pytest.raises(ValueError, match="zeros"):
        nearest(rows, rows, metric="cosine")
    with pytest.raises(ValueError, match="metric"):
        nearest(rows, rows, metric="manhattan")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        nearest(OnDisk(np.full((2, 3), np.nan)), rows)
    with pytest.raises(ValueError, match="finite"):
        nearest(rows, OnDisk(np.full((2, 3), np.nan)))


@pytest.mark.parametrize("held_bytes", [0, 1 << 30])
def test_index_searched_a_few_queries_at_a_time_finds_what_one_search_finds(held_bytes: int) -> None:
    rng = np.random.default_rng(8)
    reference, query = rng.normal(size=(5000, 6)).astype(np.float32) + 50, rng.normal(size=(40, 6)) + 50
    for metric in ("euclidean", "cosine"):
        whole = nearest(query, reference, k=3, metric=metric)
        index = NeighbourIndex(reference, metric=metric, held_bytes=held_bytes)
        for start in range(0, 40, 7):
            found = index.nearest(query[start : start + 7], k=3)
            np.testing.assert_array_equal(found.indices, whole.indices[start : start + 7])
            np.testing.assert_allclose(found.distances, whole.distances[start : start + 7], rtol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_clusters_far_tighter_than_the_products_can_resolve_are_searched_exactly(
    spread: float, exclude_self: bool
) -> None:
    rng = np.random.default_rng(9)
    centres = rng.normal(size=(5, 48)) * 10
    rows = (centres[rng.integers(0, 5, 600)] + spread * rng.normal(size=(600, 48))).astype(np.float32)
    found = nearest(rows, rows, k=2, exclude_self=exclude_self)
    distances = np.linalg.norm(rows[:, None].astype(float) - rows, axis=2)
    if exclude_self:
        np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1, kind="stable")[:, :2])


@pytest.mark.parametrize("kind", ["normal", "offset", "pixels", "heavy"])
def test_the_scores_of_a_shortlist_err_by_no_more_than_they_say(by: str, kind: str) -> None:
    rng = np.random.default_rng(10)
    rows = {
        "normal": rng.normal(size=(900, 300)),
        "offset": rng.normal(size=(900, 300)) + 500,
        "pixels": rng.integers(0, 2, (900, 300)) * 255.0,  # equal values: rounding errors that all go one way
        "heavy": rng.standard_t(2, (900, 300)),
    }[kind].astype(np.float32)
    queries, reference = rows[:300], rows[300:]
    held = shortlist.Reference(reference, cosine=False, device="cpu", held_bytes=0, queries=len(queries))
    q, r = (held.rows_of.shifted(each) for each in (queries, reference))
    found = held.shortlist(q, 1, len(reference), None, by == "bfloat16")
    exact = (r.astype(float) ** 2).sum(1) / 2 - q.astype(float) @ r.astype(float).T
    wrong = np.abs(found.scores - np.take_along_axis(exact, found.rows, 1))
    assert (wrong[:, 0] <= found.error).all()
    assert (exact.min(1) >= found.scores[:, 0] - 2 * found.error).all()
    assert wrong.max() > 0
