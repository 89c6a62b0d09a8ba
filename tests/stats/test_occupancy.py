"""The occupancy distribution against exact rational arithmetic, the forward recursion, the papers and simulation."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from genaudit.stats.occupancy import (
    SupportEstimate,
    cdf,
    estimate_support,
    expected_distinct,
    pmf,
    rejection_power,
    rejection_threshold,
    samples_needed,
    target_support,
)


@cache
def exact(n: int, s: int) -> tuple[Fraction, ...]:
    """P(K = 0..n) by the recursion k -> k with k/s, k -> k + 1 with 1 - k/s, in integers."""
    ways = [1] + [0] * n
    for _ in range(n):
        ways = [ways[k] * k + (ways[k - 1] * (s - k + 1) if 0 < k <= s else 0) for k in range(n + 1)]
    return tuple(Fraction(w, s**n) for w in ways)


def forward(n: int, s: int) -> np.ndarray:
    """The same recursion in floating point: sums of positive terms, relative error about n * 2^-53."""
    p = np.zeros(min(n, s) + 1)
    p[0] = 1
    k = np.arange(len(p))
    for _ in range(n):
        p[1:], p[0] = p[1:] * k[1:] / s + p[:-1] * (1 - k[:-1] / s), 0
    return p


SMALL = [(n, s) for n in (1, 2, 3, 5, 8, 19, 20, 33, 90, 130) for s in (1, 2, 3, 7, 20, 33, 100, 640, 10**6, 10**15)]


@pytest.mark.parametrize(("n", "s"), SMALL)
def test_pmf_and_cdf_equal_exact_fractions(n: int, s: int) -> None:
    k = np.arange(n + 2)
    p, c = pmf(k, n, s), cdf(k, n, s)
    total = Fraction(0)
    for i in range(n + 1):
        total += exact(n, s)[i]
        for found, expected in ((p[i], exact(n, s)[i]), (c[i], total)):
            if expected > 1e-12:
                assert abs(Fraction(float(found)) / expected - 1) < 1e-9
            else:
                assert found <= 1.001e-12
    assert p[n + 1] == 0
    assert c[n + 1] == 1


@pytest.mark.parametrize(("n", "s"), [(1500, 700), (2000, 3000), (3000, 200_000), (2500, 10)])
def test_pmf_and_cdf_equal_the_forward_recursion(n: int, s: int) -> None:
    expected = forward(n, s)
    k = np.arange(len(expected))
    total = np.cumsum(expected)
    p, c = pmf(k, n, s), cdf(k, n, s)
    assert np.abs(p[expected > 1e-12] / expected[expected > 1e-12] - 1).max() < 1e-9
    assert np.abs(c[total > 1e-12] / total[total > 1e-12] - 1).max() < 1e-9


def test_imagenet_scale_equals_the_recursion_on_the_band_that_carries_probability() -> None:
    n, s = 50_000, 1_024_933
    duplicates = np.arange(3000)  # mean 1,200, standard deviation 34
    p = np.zeros(3000)
    p[0] = 1
    for t in range(n):
        hit = (t - duplicates) / s
        hit[hit < 0] = 0
        p[1:], p[0] = p[1:] * (1 - hit[1:]) + p[:-1] * hit[:-1], p[0] * (1 - hit[0])
    tail = p[::-1].cumsum()[::-1]  # P(at least d duplicates) = P(K <= n - d)
    d = np.nonzero((tail > 1e-12) & (tail < 1))[0]
    assert np.abs(cdf(n - d, n, s) / tail[d] - 1).max() < 1e-9


def test_tails_are_complete_and_the_answer_does_not_depend_on_what_else_is_asked() -> None:
    n, s = 700, 900
    k = np.arange(1, n + 1)
    whole = cdf(k, n, s)
    mean = round(float(expected_distinct(n, s)))
    for one in (mean - 60, mean - 20, mean, mean + 20, 700):
        # Sums that start at different places round differently, by a few hundred units in the last place.
        assert float(cdf(one, n, s)) == pytest.approx(whole[one - 1], rel=1e-12)
    assert pmf(k, n, s).sum() == pytest.approx(1, abs=1e-11)
    assert (k * pmf(k, n, s)).sum() == pytest.approx(expected_distinct(n, s), rel=1e-11)


def test_edges_are_valid() -> None:
    assert float(pmf(1, 1, 1)) == 1
    assert float(pmf(1, 40, 1)) == pytest.approx(1, abs=1e-12)
    assert float(cdf(10, 10**6, 10)) == 1
    assert float(pmf(10, 10**6, 10)) == pytest.approx(1, abs=1e-9)
    assert float(pmf(9, 10**6, 10)) < 1e-300
    assert float(pmf(50, 50, 10**18)) == pytest.approx(1 - 50 * 49 / 2 / 1e18, rel=1e-12)
    assert float(cdf(0, 5, 5)) == 0
    assert float(cdf(2.7, 5, 5)) == float(cdf(2, 5, 5))
    assert pmf([[2.5, 0], [6, -1]], 5, 5).tolist() == [[0, 0], [0, 0]]
    assert cdf(np.zeros((2, 3)), 4, 4).shape == (2, 3)
    assert float(pmf(1, 200, 1000)) == 0.0 or float(pmf(1, 200, 1000)) < 1e-300


def test_expected_distinct_is_theorem_1_and_the_idealised_values() -> None:
    n = 10**8
    # Idealised IRS_alpha = 1 - (1 - 1/N)^(alpha N).
    for alpha, percent in [(2, 86.47), (6, 99.75), (7 / 2, 96.98), (7 / 3, 90.30)]:
        assert 100 * expected_distinct(alpha * n, n) / n == pytest.approx(percent, abs=0.005)
    assert expected_distinct(5, 1) == 1
    assert expected_distinct(0, 1) == 0
    np.testing.assert_allclose(expected_distinct([1, 2], 4), [1, 1.75], rtol=1e-15)
    # n log(1 - 1/s) without cancellation: one duplicate in 2 s pairs.
    assert 2 - expected_distinct(2, 10**6) == pytest.approx(1e-6, rel=1e-9)


def test_thresholds_of_the_paper() -> None:
    s0 = target_support(1_281_166, 0.8)
    assert s0 == 1_024_933
    assert rejection_threshold(50_000, s0, 0.05) == 48_745
    assert float(cdf(48_744, 50_000, s0)) == pytest.approx(0.04963, abs=5e-6)
    assert float(cdf(48_743, 50_000, s0)) == pytest.approx(0.04669, abs=5e-6)  # the text's "N_learned < 48744"
    # Fig. 9: n = 15.
    assert rejection_threshold(15, 32, 0.05) == 10
    assert float(cdf(9, 15, 32)) == pytest.approx(0.0207, abs=5e-5)
    assert float(pmf(15, 15, 32)) == pytest.approx(0.0196, abs=5e-5)
    assert rejection_threshold(15, 39, 0.05) == 11
    assert rejection_threshold(15, 38, 0.05) == 10
    assert (float(cdf(10, 15, 39)), float(cdf(10, 15, 38))) == pytest.approx((0.0476, 0.0526), abs=5e-5)
    # Fig. 7: 800 training images at 80 %.
    assert rejection_threshold(60, target_support(800, 0.8), 0.05) == 55


@pytest.mark.parametrize(("n", "s"), [(1, 1), (1, 50), (7, 3), (30, 8), (30, 40), (25, 10**7)])
@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.05, 0.3])
def test_threshold_is_the_smallest_count_that_is_not_rejected(n: int, s: int, alpha: float) -> None:
    total, k = exact(n, s)[0], 0
    while total < Fraction(alpha) * (1 - Fraction(1, 10**10)):
        k += 1
        total += exact(n, s)[k]
    assert rejection_threshold(n, s, alpha) == max(k, 1)


@pytest.mark.parametrize(
    ("n_train", "n", "k", "expected"),
    [
        (1000, 500, 330, (556, 507, 615)),
        (800, 60, 50, (157, 101, 280)),
        (70_000, 50_000, 35_000, (65_664, 64_985, 66_357)),
        (1_281_166, 50_000, 48_744, (978_466, 934_693, 1_024_829)),
    ],
)
def test_intervals_of_the_definitions(n_train: int, n: int, k: int, expected: tuple[int, int, int]) -> None:
    assert repr(estimate_support(k, n, upper=n_train)) == repr(SupportEstimate(*expected))


@pytest.mark.parametrize(("k", "n"), [(1, 2), (1, 9), (4, 6), (5, 6), (12, 20), (19, 20), (20, 60), (97, 100)])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.25])
def test_estimate_and_bounds_are_their_definitions_in_exact_fractions(k: int, n: int, alpha: float) -> None:
    level = Fraction(str(alpha))

    def likelihood(s: int) -> Fraction:
        falling = 1
        for i in range(k):
            falling *= s - i
        return Fraction(falling, s**n)

    def at_most(s: int) -> Fraction:
        return sum(exact(n, s)[: k + 1], Fraction(0))

    def at_least(s: int) -> Fraction:
        return 1 - at_most(s) + exact(n, s)[k]

    found = estimate_support(k, n, alpha=alpha)
    value, lower, upper = (int(x) for x in (found.value, *found.ends))
    # The likelihood has one maximum and both tails are monotone in s, so neighbours decide.
    assert likelihood(value) == max(likelihood(s) for s in (max(k, value - 1), value, value + 1))
    assert at_most(upper) >= level > at_most(upper + 1)
    assert at_least(lower) >= level
    assert lower == k or at_least(lower - 1) < level


def test_without_a_duplicate_the_estimate_is_unlimited_or_the_cap() -> None:
    free = estimate_support(10, 10)
    assert (free.value, free.upper) == (np.inf, np.inf)
    assert exact(10, int(free.lower))[10] >= 0.05 > exact(10, int(free.lower) - 1)[10]
    capped = estimate_support(10, 10, upper=50)
    assert (capped.value, capped.upper) == (50, 50)
    assert repr(estimate_support(10, 10, upper=12)) == repr(SupportEstimate(12, 12, 12))


def test_a_single_draw_identifies_nothing() -> None:
    found = estimate_support(1, 1, upper=9)
    assert np.isnan(found.value)
    assert found.ends == (1, 9)


def test_intervals_cover_the_truth_as_often_as_they_promise() -> None:
    rng = np.random.default_rng(0)
    n, s, repeats = 60, 150, 20_000
    draws = np.sort(rng.integers(0, s, (repeats, n)), axis=1)
    counts = 1 + (np.diff(draws, axis=1) > 0).sum(1)
    bounds = {k: estimate_support(int(k), n) for k in np.unique(counts)}
    above = np.mean([s > bounds[k].upper for k in counts])
    below = np.mean([s < bounds[k].lower for k in counts])
    # Each end misses at most 5 % of the time; binomial standard error 0.0015, four of them.
    assert max(above, below) < 0.05 + 4 * 0.0015
    # And the miss rates are the exact ones.
    k = np.arange(1, n + 1)
    p = pmf(k, n, s)
    missed = sum(p[i - 1] for i in k if estimate_support(int(i), n).upper < s)
    assert above == pytest.approx(missed, abs=4 * 0.0015)


def test_power_is_the_probability_of_rejecting() -> None:
    rng = np.random.default_rng(1)
    n, s, target = 60, 320, 640
    threshold = rejection_threshold(n, target, 0.05)
    draws = np.sort(rng.integers(0, s, (20_000, n)), axis=1)
    rejected = np.mean(1 + (np.diff(draws, axis=1) > 0).sum(1) < threshold)
    # Binomial standard error at most 0.0035, four of them.
    assert rejection_power(n, s, target, 0.05) == pytest.approx(rejected, abs=0.014)
    assert rejection_power(n, target, target, 0.05) < 0.05
    assert rejection_power(50_000, 922_440, 1_024_933, 0.05) == pytest.approx(0.985, abs=0.001)


@pytest.mark.parametrize("power", [0.8, 0.9, 0.99])
def test_samples_needed_reach_the_power_and_one_fewer_does_not(power: float) -> None:
    n = samples_needed(100, 200, 0.05, power)
    assert rejection_power(n, 100, 200, 0.05) >= power > rejection_power(n - 1, 100, 200, 0.05)


def test_target_support_rounds_up_but_not_by_rounding_noise() -> None:
    assert [target_support(10, 0.7), target_support(10, 0.71), target_support(3, 1e-9)] == [7, 8, 1]
    assert target_support(1000, 1.0) == 1000


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot show"):
        estimate_support(5, 4)
    with pytest.raises(ValueError, match="upper"):
        estimate_support(5, 9, upper=4)
    with pytest.raises(ValueError, match="alpha"):
        estimate_support(5, 9, alpha=0.7)
    with pytest.raises(ValueError, match="positive integer"):
        cdf(1, 0, 5)
    with pytest.raises(ValueError, match="alpha"):
        rejection_threshold(5, 5, 0)
    with pytest.raises(ValueError, match="below the target"):
        samples_needed(200, 200, 0.05, 0.9)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_intervals_of_simulated_imagenet_models_hold_the_truth_and_narrow_as_in_fig_8(share: float) -> None:
    n_train = 1_281_166
    s = round(share * n_train)
    rng = np.random.default_rng(round(share * 100))
    widths = []
    for rate in (0.01, 0.039, 0.1, 0.3):  # 0.039 is the vertical line of 50,000 samples
        n = round(rate * n_train)
        k = len(np.unique(rng.integers(0, s, n)))
        # one-sided levels of 10^-4: a seeded draw that the interval misses would be one in 5,000
        found = estimate_support(k, n, alpha=1e-4, upper=n_train)
        assert found.lower <= s <= found.upper
        assert found.lower <= found <= found.upper
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)
    # duplicates number about n²/2s, so the relative width falls as 1/n: tenfold samples, about a tenth of the width
    assert widths[-1] < widths[1] / 4
