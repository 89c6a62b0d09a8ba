"""AUROC against scikit-learn, counting by hand, and its symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from genaudit.stats.auroc import auroc, auroc_interval, roc
from genaudit.stats.estimate import Estimate, bootstrap, wilson_interval


def test_auroc_equals_sklearn_with_and_without_ties() -> None:
    rng = np.random.default_rng(0)
    for values in (3, 50, 10**9):
        positive, negative = rng.integers(0, values, 70), rng.integers(0, values, 45)
        truth = np.r_[np.ones(70), np.zeros(45)]
        expected = roc_auc_score(truth, np.r_[positive, negative])
        assert auroc(positive, negative) == pytest.approx(expected, abs=1e-13)


def test_ties_count_half() -> None:
    assert auroc([1.0, 1.0], [1.0]) == 0.5
    assert auroc([2.0, 3.0], [1.0, 2.0]) == 0.875


def test_auroc_swaps_to_its_complement_and_ignores_increasing_maps() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 31), rng.normal(0, 1, 44)
    assert auroc(a, b) + auroc(b, a) == pytest.approx(1, abs=1e-15)
    assert auroc(np.exp(a), np.exp(b)) == auroc(a, b)


def test_infinities_are_ordered_and_nan_and_empty_sides_are_refused() -> None:
    assert auroc([np.inf], [0.0, -np.inf]) == 1.0
    with pytest.raises(ValueError, match="NaN"):
        auroc([np.nan], [0.0])
    with pytest.raises(ValueError, match="at least one"):
        auroc([], [0.0])


def test_the_interval_is_the_percentile_bootstraps_of_the_area() -> None:
    rng = np.random.default_rng(2)
    positive, negative = rng.integers(0, 12, 40), rng.integers(-3, 9, 25)  # with ties
    expected = bootstrap(auroc, positive, negative, repeats=200, seed=3)
    found = auroc_interval(positive, negative, repeats=200, seed=3)
    assert found.value == auroc(positive, negative)
    assert found.ends == pytest.approx(expected.ends, abs=1e-12)
    assert found.lower < auroc(positive, negative) < found.upper


def test_the_interval_covers_the_true_area() -> None:
    # Normal scores a unit apart: P(X > Y) = Phi(1/sqrt 2) = 0.7602. 200 experiments at 90 %: the count of misses is
    # binomial(200, about 0.1), so more than 40 would be five standard deviations away.
    rng = np.random.default_rng(4)
    misses = 0
    for seed in range(200):
        positive, negative = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
        misses += not auroc_interval(positive, negative, repeats=200, confidence=0.9, seed=seed).holds(0.76025)
    assert misses <= 40


def test_separated_sides_have_wilsons_interval_of_the_smaller_side() -> None:
    found = auroc_interval(np.arange(20.0) + 100, np.arange(30.0), repeats=50)
    assert repr(found) == repr(wilson_interval(20, 20))
    found = auroc_interval(np.arange(30.0), np.arange(20.0) + 100, repeats=50)
    assert repr(found) == repr(wilson_interval(0, 20))


def test_a_side_of_fewer_than_ten_has_no_interval() -> None:
    assert repr(auroc_interval([1.5], np.arange(30.0), repeats=50)) == repr(Estimate(2 / 30))


@pytest.mark.parametrize("values", [4, 10**9])
def test_the_curve_is_sklearns_and_has_the_area(values: int) -> None:
    rng = np.random.default_rng(5)
    positive, negative = rng.integers(1, values + 2, 50), rng.integers(0, values, 30)
    truth = np.r_[np.ones(50), np.zeros(30)]
    false, true, _ = roc_curve(truth, np.r_[positive, negative], drop_intermediate=False)
    corners = np.unique(false)
    upper = np.array([true[false == rate].max() for rate in corners])
    np.testing.assert_allclose(roc(positive, negative, corners), upper, atol=1e-12)
    # Between the corners straight lines (ties) and steps: the mean over a fine grid is the area up to a grid step per
    # corner at most.
    grid = np.linspace(0, 1, 30 * 1000 + 1)
    area = roc(positive, negative, grid).mean()
    assert area == pytest.approx(auroc(positive, negative), abs=31 / grid.size)
