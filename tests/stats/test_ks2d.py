"""The 2-D Kolmogorov-Smirnov test against its quadratic definition, its known answers and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstwobign, pearsonr

from genaudit.stats.ks2d import DENSE_POINTS, Convention, ks2d_2samp, permutation_null


def quadratic(a: np.ndarray, b: np.ndarray, convention: Convention) -> float:
    """DEFINITION: all quadrants of all origins, one by one, in floating point."""

    def shares(origin: np.ndarray, sample: np.ndarray) -> list[float]:
        left, down = sample[:, 0] <= origin[0], sample[:, 1] <= origin[1]
        return [np.mean(left & down), np.mean(left & ~down), np.mean(~left & down), np.mean(~left & ~down)]

    def side(own: np.ndarray, other: np.ndarray) -> float:
        diff = np.array([np.subtract(shares(o, own), shares(o, other)) for o in own])
        if convention == "plain":
            return float(np.abs(diff).max())
        diff[:, 0] -= 1 / len(own)
        return float(max(-diff.min(), diff.max() + 1 / len(own)))

    return (side(a, b) + side(b, a)) / 2


def test_statistic_equals_the_quadratic_definition_on_2000_samples_with_heavy_ties() -> None:
    rng = np.random.default_rng(0)
    for case in range(2000):
        n, m = rng.integers(1, 14, 2)
        values = int(rng.integers(1, 7))
        a = rng.integers(0, values, (n, 2)).astype(float)
        b = rng.integers(0, values, (m, 2)) + rng.choice([0.0, 0.5])
        convention: Convention = "ndtest" if case % 2 else "plain"
        found = ks2d_2samp(a, b, pvalue=None, convention=convention).statistic
        # Shares are rounded in the reference only: a few units in the last place of 1.
        assert found == pytest.approx(quadratic(a, b, convention), abs=1e-14), (a, b)


@pytest.mark.parametrize("convention", ["ndtest", "plain"])
def test_statistic_equals_the_quadratic_definition_without_ties(convention: Convention) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(150, 2)), rng.normal(0.3, 1.2, (97, 2))
    found = ks2d_2samp(a, b, pvalue=None, convention=convention).statistic
    assert found == pytest.approx(quadratic(a, b, convention), abs=1e-14)


def test_equal_samples_of_eight_give_an_eighth_by_ndtest_and_zero_by_the_plain_convention() -> None:
    a = np.random.default_rng(2).normal(size=(8, 2))
    assert ks2d_2samp(a, a).statistic == 0.125
    assert ks2d_2samp(a, a, convention="plain").statistic == 0.0


def test_statistic_and_p_are_those_of_the_readme_of_ndtest() -> None:
    state = np.random.RandomState(42)
    a, b = state.randn(2, 100).T, state.randn(2, 100).T
    shifted = state.randn(2, 100).T * 1.5 + 0.5
    same, different = ks2d_2samp(a, b), ks2d_2samp(a, shifted)
    assert (same.statistic, f"{same.pvalue:.3g}") == (0.17, "0.219")
    assert (different.statistic, f"{different.pvalue:.3g}") == (0.385, "2.36e-05")


def test_clouds_that_do_not_overlap_are_one_apart() -> None:
    a = np.repeat(np.random.default_rng(3).random((20, 1)), 2, axis=1)  # on a diagonal, so that one point bounds all
    found = ks2d_2samp(a, a + 2, convention="plain")
    # The best origin of b is its lowest point, which takes itself into the quadrant of a.
    assert found.statistic == pytest.approx(1 - 1 / 40, abs=1e-15)
    assert found.gap is not None
    assert {found.gap.share_a, found.gap.share_b} == {0.0, 1.0}


def test_statistic_ignores_order_swap_and_increasing_maps() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(60, 2)), rng.normal(0.2, 1, (45, 2))
    d = ks2d_2samp(a, b).statistic
    assert ks2d_2samp(b, a).statistic == d
    assert ks2d_2samp(rng.permutation(a), b).statistic == d
    assert ks2d_2samp(np.exp(a), np.exp(b)).statistic == d


def test_gap_is_the_largest_difference_of_shares_at_an_origin() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(80, 2)), rng.normal(0.4, 1, (70, 2))
    gap = ks2d_2samp(a, b, convention="plain").gap
    assert gap is not None
    tests = {"<=": np.less_equal, ">": np.greater}
    x_sign, y_sign = gap.quadrant.split()[1], gap.quadrant.split()[4]

    def share(s: np.ndarray) -> float:
        return float(np.mean(tests[x_sign](s[:, 0], gap.x) & tests[y_sign](s[:, 1], gap.y)))

    assert (share(a), share(b)) == (gap.share_a, gap.share_b)
    largest = max(quadratic_side(a, b), quadratic_side(b, a))
    assert abs(gap.share_a - gap.share_b) == pytest.approx(largest, abs=1e-14)


def quadratic_side(own: np.ndarray, other: np.ndarray) -> float:
    best = 0.0
    for x, y in own:
        for left in (np.less_equal, np.greater):
            for down in (np.less_equal, np.greater):
                in_own = np.mean(left(own[:, 0], x) & down(own[:, 1], y))
                in_other = np.mean(left(other[:, 0], x) & down(other[:, 1], y))
                best = max(best, abs(in_own - in_other))
    return best


def test_asymptotic_p_is_the_published_formula() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(100, 2)), rng.normal(size=(130, 2))
    found = ks2d_2samp(a, b)
    m = 100 * 130 / 230
    r = np.sqrt(1 - (pearsonr(*a.T)[0] ** 2 + pearsonr(*b.T)[0] ** 2) / 2)
    expected = kstwobign.sf(found.statistic * np.sqrt(m) / (1 + r * (0.25 - 0.75 / np.sqrt(m))))
    assert found.pvalue == pytest.approx(expected, rel=1e-12)


def test_asymptotic_p_of_a_constant_coordinate_is_undefined() -> None:
    a = np.random.default_rng(7).normal(size=(10, 2))
    b = a.copy()
    b[:, 1] = 3
    found = ks2d_2samp(a, b).pvalue
    assert found is not None
    assert np.isnan(found)
    # a permutation test is defined: no relabelling of two sets far apart is as extreme, every one of equal sets is
    far = b + np.array([100, 0])
    assert ks2d_2samp(b, far, pvalue="permutation", permutations=99, seed=1).pvalue == 0.01
    assert ks2d_2samp(b, b, pvalue="permutation", permutations=99).pvalue == 1.0


@pytest.mark.parametrize("convention", ["ndtest", "plain"])
def test_permuted_statistics_equal_the_statistic_of_the_permuted_samples(convention: Convention) -> None:
    rng = np.random.default_rng(8)
    for a, b in [
        (rng.normal(size=(23, 2)), rng.normal(size=(17, 2))),
        (rng.integers(0, 4, (30, 2)).astype(float), rng.integers(0, 4, (12, 2)).astype(float)),
    ]:
        null = permutation_null(a, b, permutations=30, seed=5, convention=convention)
        pooled, labels = np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)
        drawn = np.random.default_rng(5).permuted(np.tile(labels, (30, 1)), axis=1)
        expected = [quadratic(pooled[d], pooled[~d], convention) for d in drawn]
        np.testing.assert_allclose(null, expected, atol=1e-14)


def test_large_samples_permute_by_the_wavelet_matrix_with_the_same_law() -> None:
    rng = np.random.default_rng(9)
    n = DENSE_POINTS // 2
    a, b = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    dense = permutation_null(a, b, permutations=60, seed=0)
    large = permutation_null(a, np.concatenate([b, b[:1]]), permutations=60, seed=0)
    # Means of 60 draws with a standard deviation of about 0.006 differ by less than 5 standard errors.
    assert abs(dense.mean() - large.mean()) < 5 * 0.006 * np.sqrt(2 / 60)


def test_permutation_p_is_uniform_for_equal_clouds() -> None:
    rng = np.random.default_rng(10)
    p = [
        ks2d_2samp(a, b, pvalue="permutation", permutations=39, seed=i).pvalue
        for i, (a, b) in enumerate((rng.normal(size=(20, 2)), rng.normal(size=(25, 2))) for _ in range(400))
    ]
    # P(p <= 0.1) is 0.1 (4 of 40 ranks); binomial standard error 0.015, four of them.
    assert abs(np.mean(np.array(p) <= 0.1) - 0.1) < 0.06


def test_null_summary_belongs_to_the_permutations() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    found = ks2d_2samp(a, b, pvalue="permutation", permutations=199, seed=3)
    null = permutation_null(a, b, permutations=199, seed=3)
    assert found.null_mean == pytest.approx(null.mean(), rel=1e-12)
    assert found.null_95 == pytest.approx(np.quantile(null, 0.95), rel=1e-12)
    assert found.pvalue == (1 + (null >= found.statistic).sum()) / 200


def test_bad_input_is_refused() -> None:
    a = np.zeros((3, 2))
    with pytest.raises(ValueError, match="finite"):
        ks2d_2samp(np.array([[0.0, np.nan]]), a)
    with pytest.raises(ValueError, match="shape"):
        ks2d_2samp(np.zeros((3, 3)), a)
    with pytest.raises(ValueError, match="convention"):
        ks2d_2samp(a, a, convention="press")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pvalue"):
        ks2d_2samp(a, a, pvalue="exact")  # type: ignore[arg-type]
