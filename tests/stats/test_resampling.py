"""Bootstrap and Wilson intervals against scipy, and what a seed promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from genaudit.stats.estimate import bootstrap, bootstrap_mean, percentile_interval, wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (7, 7), (3, 10), (990, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_interval_equals_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    found = wilson_interval(successes, n, confidence)
    assert found.value == successes / n
    assert found.ends == pytest.approx((expected.low, expected.high), abs=1e-14)


def test_bootstrap_of_a_mean_is_about_the_normal_interval() -> None:
    x = np.random.default_rng(0).normal(5, 2, 400)
    found = bootstrap(np.mean, x, repeats=2000)
    half = norm.ppf(0.975) * x.std() / np.sqrt(400)
    # A 2.5 % quantile of 2,000 normal draws has standard error sqrt(.025*.975/2000)/phi(1.96) = 0.06 deviations.
    tolerance = 5 * 0.06 * x.std() / np.sqrt(400)
    assert found.value == x.mean()
    assert found.ends == pytest.approx((x.mean() - half, x.mean() + half), abs=tolerance)


def test_same_seed_same_interval_and_samples_are_resampled_on_their_own() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=30), rng.normal(size=50)

    def statistic(x: np.ndarray, y: np.ndarray) -> float:
        assert len(x) == 30
        assert len(y) == 50
        return float(x.mean() - y.mean())

    first = bootstrap(statistic, a, b, repeats=100, seed=4)
    assert first.ends == bootstrap(statistic, a, b, repeats=100, seed=4).ends
    assert first.ends != bootstrap(statistic, a, b, repeats=100, seed=5).ends


def test_bootstrap_mean_and_median_equal_the_general_bootstrap() -> None:
    x = np.random.default_rng(2).normal(size=40)
    found, expected = bootstrap_mean(x, repeats=50), bootstrap(np.mean, x, repeats=50)
    assert (found.value, *found.ends) == pytest.approx((expected.value, *expected.ends), abs=1e-14)
    assert repr(bootstrap_mean(x, repeats=50, median=True)) == repr(bootstrap(np.median, x, repeats=50))


def test_nan_is_left_out() -> None:
    assert repr(percentile_interval(3.0, [1.0, np.nan, 1.0])) == "Estimate(3.0, 1.0, 1.0)"
    assert repr(percentile_interval(3.0, [np.nan])) == "Estimate(3.0, None, None)"
    assert repr(bootstrap_mean([2.0] * 10 + [np.nan])) == "Estimate(2.0, 2.0, 2.0)"
    assert np.isnan(bootstrap_mean([np.nan]))


def test_fewer_than_ten_values_have_no_interval() -> None:
    nine = np.arange(9.0)
    assert repr(bootstrap_mean([*nine, np.nan])) == "Estimate(4.0, None, None)"
    found = bootstrap(lambda x, y: x.mean() - y.mean(), np.arange(50.0), nine)
    assert repr(found) == "Estimate(20.5, None, None)"
    ten = np.arange(10.0)
    assert repr(bootstrap_mean(ten)) == repr(bootstrap(np.mean, ten))
    assert 0 < bootstrap_mean(ten).lower < 4.5 < bootstrap_mean(ten).upper < 9


def test_impossible_proportions_and_confidences_are_refused() -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="confidence"):
        percentile_interval(1.0, [1.0], 95)
