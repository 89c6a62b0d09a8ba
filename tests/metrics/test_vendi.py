from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.result import Unavailable
from genaudit.metrics.vendi import judge, vendi_score


@pytest.mark.parametrize("q", [0.5, 1, 2, np.inf])
def test_equally_many_copies_of_orthogonal_directions_count_the_directions(q: float) -> None:
    # K/N has 5 eigenvalues of 1/5: every order of entropy is log 5.
    x = np.repeat(np.eye(8)[:5] * np.arange(1, 6)[:, None], 4, axis=0)
    assert vendi_score(x, q=q) == pytest.approx(5.0, rel=1e-12)
    assert vendi_score(np.ones((30, 4)), q=q) == pytest.approx(1.0, rel=1e-12)
    assert vendi_score(np.eye(6), q=q) == pytest.approx(6.0, rel=1e-12)


def test_two_directions_of_unequal_shares_have_a_closed_form() -> None:
    x = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    assert vendi_score(x) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))), rel=1e-13)
    assert vendi_score(x, q=2) == pytest.approx(1 / (0.75**2 + 0.25**2), rel=1e-13)
    assert vendi_score(x, q=np.inf) == pytest.approx(4 / 3, rel=1e-13)


@pytest.mark.parametrize(("n", "dimensions"), [(60, 10), (10, 60), (30, 30)])
def test_it_equals_the_vendi_score_package(n: int, dimensions: int) -> None:
    vendi = pytest.importorskip("vendi_score.vendi")
    x = np.random.default_rng(0).normal(size=(n, dimensions)) + 0.3
    # Its K/N has min(n, dimensions) eigenvalues beside rounding ones near 1e-17, which enter as -p log p: 1e-14 in all.
    assert vendi_score(x) == pytest.approx(vendi.score_X(x), rel=1e-11)
    assert vendi_score(x) == pytest.approx(vendi.score_dual(x), rel=1e-11)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert vendi_score(x, q=2) == pytest.approx(vendi.score_K(unit @ unit.T, q=2), rel=1e-11)


def test_it_does_not_depend_on_order_rotation_row_lengths_or_blocks(on_disk) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5000, 6)) * np.arange(1, 7)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    expected = vendi_score(x)
    assert vendi_score(rng.permutation(x) @ rotation * rng.uniform(0.1, 9, (5000, 1))) == pytest.approx(
        expected, rel=1e-11
    )
    rows = on_disk(x)
    assert vendi_score(rows) == pytest.approx(expected, rel=1e-12)
    assert rows.most_at_once < 5000


def test_the_influence_is_the_derivative_of_the_entropy() -> None:
    # The delta-method half width must equal that of numerical influences: (log VS(weights + h on i) - log VS) / h.
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 3)) + 1
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)

    def log_score(weights: np.ndarray, q: float) -> float:
        p = np.linalg.eigvalsh((unit.T * (weights / weights.sum())) @ unit)
        return float(-(p * np.log(p)).sum()) if q == 1 else float(np.log((p**q).sum()) / (1 - q))

    for q in (1, 2, 3.5):
        step = 1e-5
        influences = [
            (log_score(1 + step * np.eye(60)[i], q) - log_score(1 - step * np.eye(60)[i], q)) / (2 * step) * 60
            for i in range(60)
        ]
        result = judge(generated=x, q=q)
        half = 1.959964 * np.std(influences, ddof=1) / np.sqrt(60)
        assert np.log(result.vendi.upper / result.vendi) == pytest.approx(half, rel=1e-5)


@pytest.mark.parametrize(("n", "q"), [(40, 1), (200, 2)])
def test_the_interval_covers_the_mean_score_of_sets_of_this_size(n: int, q: float) -> None:
    # 300 intervals at 95 %: at least 0.95 - 4·0.0126 = 0.90.
    rng = np.random.default_rng(3)
    results = [judge(generated=rng.normal(size=(n, 8)) * np.linspace(0.1, 1, 8), q=q) for _ in range(300)]
    mean = np.mean([result.vendi for result in results])
    kept = [result for result in results if result.vendi.lower is not None]
    assert len(kept) > 250
    assert np.mean([result.vendi.lower <= mean <= result.vendi.upper for result in kept]) >= 0.90


def test_judge_scores_equally_many_reference_images_beside() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(80, 4))
    result = judge(generated=x, reference=y, seed=3)
    assert result.n_reference == 50
    assert result.vendi_reference == judge(generated=x, reference=y, seed=3).vendi_reference
    assert result.vendi_reference != judge(generated=x, reference=y, seed=4).vendi_reference
    assert judge(generated=y, reference=x).vendi_reference is None
    assert judge(generated=x, q=0.5).vendi.lower is None


def test_zero_rows_and_bad_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="row 1 of x is zero"):
        vendi_score([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="q must be a positive number"):
        vendi_score([[1.0, 0.0], [0.0, 1.0]], q=0)
    with pytest.raises(Unavailable, match="row 0 of generated is zero"):
        judge(generated=[[0.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize("q", [40.0, 1e3, 1e6, 1e300])
def test_high_orders_approach_the_infinite_one_and_do_not_underflow(q: float) -> None:
    """H_inf <= H_q <= H_inf q/(q - 1), since p_max^q <= sum of p^q <= p_max^(q - 1)."""
    x = np.random.default_rng(0).normal(size=(40, 6))
    lowest = np.log(vendi_score(x, q=np.inf))
    assert lowest * (1 - 1e-12) <= np.log(vendi_score(x, q=q)) <= lowest * q / (q - 1) * (1 + 1e-12)
    estimate, infinite = judge(generated=x, q=q).vendi, judge(generated=x, q="infinity").vendi
    assert estimate.lower is not None
    assert infinite.lower is not None
    if q >= 1e6:
        assert estimate.lower == pytest.approx(infinite.lower, rel=1e-4)


@pytest.mark.parametrize("step", [1e-15, -1e-15, 1e-12, 1e-8, -1e-8, 1e-5])
def test_orders_next_to_one_are_continuous(step: float) -> None:
    """|dH_q/dq| is at most the variance of log p under p over 2 near q = 1, here below 1."""
    x = np.random.default_rng(0).normal(size=(40, 6))
    assert np.log(vendi_score(x, q=1 + step)) == pytest.approx(np.log(vendi_score(x)), abs=abs(step) + 1e-12)
    if step > 0:
        near, one = judge(generated=x, q=1 + step).vendi, judge(generated=x).vendi
        assert near.upper == pytest.approx(one.upper, rel=1e-4)


@pytest.mark.parametrize("q", [0.9, 0.95, 1.05, 1.1])
def test_both_ways_to_compute_an_order_agree(q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).normal(size=(40, 6))
    monkeypatch.setattr("genaudit.metrics.vendi.NEAR_ONE", 0.2)
    near = judge(generated=x, q=q).vendi
    monkeypatch.setattr("genaudit.metrics.vendi.NEAR_ONE", 0.0)
    far = judge(generated=x, q=q).vendi
    assert (
        (near, near.lower, near.upper) == pytest.approx((far, far.lower, far.upper), rel=1e-11)
        if q > 1
        else (near == pytest.approx(far, rel=1e-11))
    )
