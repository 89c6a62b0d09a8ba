from __future__ import annotations

import numpy as np
import pytest
from scipy import spatial, stats

from genaudit.metrics.ct import _fit, _scatter_of_cells, _search, _spread, ct, judge
from genaudit.metrics.result import Unavailable
from genaudit.stats.subsampling import quantile


def _nearest(a: np.ndarray, train: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - train[None], axis=2).min(axis=1)


def test_with_one_cell_it_is_scipys_mann_whitney_z() -> None:
    rng = np.random.default_rng(0)
    train, held_out, made = rng.normal(size=(60, 3)), rng.normal(size=(50, 3)), rng.normal(size=(40, 3)) * 0.8
    u = stats.mannwhitneyu(_nearest(made, train), _nearest(held_out, train)).statistic
    expected = (u - 40 * 50 / 2) / np.sqrt(40 * 50 * 91 / 12)
    assert ct(train, held_out, made, cells=1) == pytest.approx(expected, rel=1e-12)
    # For untied distances scipy's asymptotic p-value is that of the same z.
    one_sided = stats.mannwhitneyu(
        _nearest(made, train), _nearest(held_out, train), alternative="less", method="asymptotic", use_continuity=False
    ).pvalue
    found = judge(train=train, reference=held_out, generated=made, cells=1)
    assert found.pvalue == pytest.approx(one_sided, rel=1e-9)
    assert found.farther == pytest.approx(u / 2000, rel=1e-12)


def test_cells_are_weighted_by_their_held_out_images_and_search_only_their_own_training_images() -> None:
    # Two clusters 100 apart: k-means with two cells finds them whatever its seed.
    rng = np.random.default_rng(1)
    apart = np.array([100.0, 0.0])
    train = [rng.normal(size=(40, 2)), rng.normal(size=(50, 2)) + apart]
    held_out = [rng.normal(size=(30, 2)), rng.normal(size=(60, 2)) + apart]
    made = [rng.normal(size=(25, 2)) * 0.5, rng.normal(size=(35, 2)) + apart]
    z = [ct(train[i], held_out[i], made[i], cells=1) for i in range(2)]
    found = judge(
        train=np.concatenate(train), reference=np.concatenate(held_out), generated=np.concatenate(made), cells=2
    )
    assert found.ct == pytest.approx((30 * z[0] + 60 * z[1]) / 90, rel=1e-10)
    assert found.cautions == ()
    # With 15 generated images the first cell no longer counts.
    fewer = judge(
        train=np.concatenate(train),
        reference=np.concatenate(held_out),
        generated=np.concatenate([made[0][:15], made[1]]),
        cells=2,
    )
    assert fewer.ct == pytest.approx(z[1], rel=1e-10)
    assert [caution.code for caution in fewer.cautions] == ["cells-left-out"]
    assert fewer.share_generated_in_cells == pytest.approx(35 / 50)


def _z(train: np.ndarray, held_out: np.ndarray, made: np.ndarray) -> float:
    """A cell's Z by SciPy, over all pairs."""
    nearest = [spatial.distance.cdist(rows, train).min(1) for rows in (made, held_out)]
    n, m = len(held_out), len(made)
    u = stats.mannwhitneyu(*nearest).statistic
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def test_the_interval_counts_how_c_t_moves_between_cells_that_are_as_good() -> None:
    """Two cells of four modes on a square lie side by side or one above the other, as the training images fell."""
    rng = np.random.default_rng(6)
    corners = 10.0 * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])

    def drawn(scales: tuple[float, ...]) -> np.ndarray:
        return np.stack(
            [corner + scale * rng.normal(size=(40, 2)) for corner, scale in zip(corners, scales, strict=True)]
        )

    rows = {
        "train": drawn((0.02, 0.02, 0.4, 0.4)),
        "reference": drawn((0.02, 0.02, 0.4, 0.4)),
        "generated": drawn((0.2, 0.2, 0.2, 0.2)),
    }

    def c_t(*cells: tuple[int, int]) -> float:
        return float(np.mean([_z(*(np.concatenate(each[list(cell)]) for each in rows.values())) for cell in cells]))

    apart = c_t((0, 1), (2, 3)) - c_t((0, 2), (1, 3))
    assert abs(apart) > 0.5
    flat = {role: np.concatenate(each) for role, each in rows.items()}
    scatter = _scatter_of_cells(flat, 2, 20, "cpu", seed=0)
    ratio = scatter**2 * 56 / apart**2
    assert ratio == pytest.approx(round(ratio), rel=1e-9)
    assert round(ratio) in (7, 12, 15, 16)  # k (8 - k): k of eight fits lie one way, the others the other way
    # one cell is the same whatever training images it is fitted to
    assert _scatter_of_cells(flat, 1, 20, "cpu", seed=0) == pytest.approx(0, abs=1e-12)
    found = judge(**flat, cells=2).ct
    searched = _search(flat, _fit(flat["train"], 2, seed=0), 20, "cpu")[1]
    in_these_cells = _spread(searched, {role: len(each) for role, each in flat.items()}, seed=0).error
    error = (found.upper - found.lower) / 2 / quantile(0.95)
    assert error == pytest.approx(np.hypot(in_these_cells, scatter), rel=1e-12)


def test_copies_are_far_below_zero_and_distant_images_far_above() -> None:
    rng = np.random.default_rng(2)
    train, held_out = rng.normal(size=(300, 4)), rng.normal(size=(150, 4))
    copies = judge(train=train, reference=held_out, generated=train[:200] + rng.normal(size=(200, 4)) * 1e-3)
    assert copies.ct < -5
    assert copies.pvalue < 1e-6
    assert copies.farther == 0.0
    assert copies.ct.lower is None  # every pair agrees: no variance to speak of
    assert ct(train, held_out, rng.normal(size=(200, 4)) * 3) > 5


def test_under_equal_laws_the_p_value_is_calibrated_and_the_interval_holds_zero() -> None:
    rng = np.random.default_rng(3)
    train = rng.normal(size=(150, 2))
    results = [
        judge(train=train, reference=rng.normal(size=(90, 2)), generated=rng.normal(size=(110, 2)), cells=2)
        for _ in range(80)
    ]
    # Four standard errors of a share of 80: 0.05 + 0.098, 0.5 ± 0.224, 0.95 - 0.098.
    assert np.mean([result.pvalue < 0.05 for result in results]) <= 0.148
    assert 0.27 < np.mean([result.pvalue < 0.5 for result in results]) < 0.73
    assert np.mean([result.ct.lower <= 0 <= result.ct.upper for result in results]) >= 0.852


def test_it_repeats_by_seed_and_reads_rows_on_disk(on_disk) -> None:
    rng = np.random.default_rng(4)
    sets = {
        role: rng.normal(size=(n, 5)).astype(np.float32)
        for role, n in (("train", 120), ("reference", 80), ("generated", 90))
    }
    expected = judge(**sets, seed=7)
    assert judge(**{role: on_disk(rows) for role, rows in sets.items()}, seed=7) == expected


def test_without_a_cell_that_counts_it_is_unavailable() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(Unavailable, match="more images or fewer cells"):
        judge(
            train=rng.normal(size=(30, 2)),
            reference=rng.normal(size=(9, 2)),
            generated=rng.normal(size=(19, 2)),
            cells=1,
        )
    with pytest.raises(ValueError, match="cells must be between"):
        ct(rng.normal(size=(3, 2)), rng.normal(size=(9, 2)), rng.normal(size=(19, 2)), cells=4)
