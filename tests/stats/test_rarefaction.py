"""Rarefaction and what was not seen: against enumeration, the papers' formulas and simulation."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudit.stats.rarefaction import (
    Law,
    chao1,
    counts_of,
    first,
    inclusion,
    rarefied,
    relative_distinct,
    sample_coverage,
    unseen,
)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=7))
def test_rarefied_is_the_mean_over_all_subsets(indices: list[int]) -> None:
    n = len(indices)
    expected = [np.mean([len(set(s)) for s in combinations(indices, m)]) for m in range(1, n + 1)]
    np.testing.assert_allclose(rarefied(counts_of(indices), np.arange(1, n + 1)), expected, rtol=1e-10)


def test_rarefied_is_linear_between_whole_numbers_and_refuses_more_than_there_is() -> None:
    counts = np.array([1, 2, 4])
    low, middle, high = rarefied(counts, [3, 3.25, 4])
    assert middle == pytest.approx(0.75 * low + 0.25 * high, rel=1e-12)
    # all but half a draw: the item drawn once is missed with probability 1/2 * 1/n
    assert float(inclusion(1, 38, 37.5)) == pytest.approx(1 - 0.5 / 38, rel=1e-12)
    with pytest.raises(ValueError, match="between 0 and the 7 draws"):
        rarefied(counts, [8])


def test_coverage_and_unseen_are_the_papers_formulas() -> None:
    counts = np.array([1] * 10 + [2] * 4 + [3, 5])  # n = 26, f1 = 10, f2 = 4
    assert sample_coverage(counts) == pytest.approx(1 - 10 / 26 * (25 * 10) / (25 * 10 + 2 * 4), rel=1e-12)
    assert unseen(counts) == pytest.approx(25 / 26 * 10 * 9 / (2 * 5), rel=1e-12)
    assert chao1(counts).value == pytest.approx(16 + unseen(counts), rel=1e-12)
    assert sample_coverage(np.array([2, 3])) == 1
    assert sample_coverage(np.array([1, 1])) == 0
    assert chao1(np.array([2, 3])).upper == 2


def test_chao1s_interval_is_the_log_normal_one_of_chao_1987() -> None:
    counts = np.array([1] * 10 + [2] * 4 + [3, 5])  # n = 26, k = 16, f1 = 10, f2 = 4
    unseen_items, a = Fraction(25 * 10 * 9, 26 * 10), Fraction(25, 26)
    variance = (
        a * Fraction(10 * 9, 10)
        + a * a * Fraction(10 * 19 * 19, 100)
        + a * a * Fraction(100 * 4 * 81, 4 * 625)
    )  # fmt: skip
    for confidence, z in ((0.95, 1.959963984540054), (0.5, 0.6744897501960817)):
        spread = math.exp(z * math.sqrt(math.log(1 + variance / unseen_items**2)))
        found = chao1(counts, confidence=confidence)
        assert found.ends == pytest.approx((16 + unseen_items / spread, 16 + unseen_items * spread), rel=1e-12)
    assert chao1(counts).ends == chao1(counts, confidence=0.95).ends


def test_chao1s_interval_covers_an_even_support_and_its_mean_bounds_an_uneven_one_from_below() -> None:
    rng = np.random.default_rng(0)
    runs, covered = 300, 0
    for _ in range(runs):
        found = chao1(counts_of(rng.integers(0, 200, 300)))
        assert found.lower <= found.value <= found.upper
        covered += found.lower <= 200 <= found.upper
    # nominal 0.95; three binomial standard errors are 0.038, and the log-normal form is good to some hundredths
    assert covered / runs > 0.95 - 0.038 - 0.02
    p = rng.exponential(size=200) ** 2
    uneven = [chao1(counts_of(rng.choice(200, 300, p=p / p.sum()))).value for _ in range(100)]
    assert np.mean(uneven) < 200


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_moments_of_a_law_are_those_of_simulated_draws(share: float, power: float) -> None:
    rng = np.random.default_rng(1)
    p = rng.exponential(size=300) ** power
    p /= p.sum()
    law = Law(p, np.ones(300))
    seen = []
    for _ in range(600):
        kept = rng.random(300) < share
        seen.append(len(np.unique(rng.choice(300, 200, p=p * kept / (p * kept).sum()))))
    found = law.distinct(200, share=share)
    # the mean's standard error, and a relative 5 % for totals that are fixed and not Poisson
    assert found.mean == pytest.approx(np.mean(seen), abs=4 * np.std(seen) / np.sqrt(600) + 0.03 * np.mean(seen))
    assert found.variance == pytest.approx(np.var(seen), rel=0.3)


def test_estimated_law_sums_to_one_and_foretells_further_draws() -> None:
    rng = np.random.default_rng(2)
    p = rng.exponential(size=500) ** 1.5
    p /= p.sum()
    own, twice = [], []
    for _ in range(20):
        draws = rng.choice(500, 400, p=p)
        law = Law.estimated(counts_of(draws), 500)
        assert (law.probability * law.items).sum() == pytest.approx(1, rel=1e-9)
        own.append(law.distinct(400).mean / len(np.unique(draws)))
        twice.append(law.distinct(800).mean / len(np.unique(rng.choice(500, 800, p=p))))
    assert np.mean(own) == pytest.approx(1, abs=0.02)
    assert np.mean(twice) == pytest.approx(1, abs=0.05)


def test_relative_distinct_covers_one_for_equal_laws_and_a_half_for_half_the_support() -> None:
    rng = np.random.default_rng(3)
    p = rng.exponential(size=400) ** 1.2
    p /= p.sum()
    truth, covered, runs = 1.0, 0, 200
    for _ in range(runs):
        found = relative_distinct(rng.choice(400, 300, p=p), rng.choice(400, 500, p=p), 400)
        assert found.lower <= found <= found.upper
        covered += found.holds(truth)
    assert covered / runs >= 0.95 - 0.05  # three standard errors of 200 runs: 0.046
    half = [relative_distinct(rng.integers(0, 200, 4000), rng.integers(0, 400, 4000), 400) for _ in range(3)]
    np.testing.assert_allclose(half, 0.5, atol=0.01)  # at endless draws the ratio of the supports
    nothing = relative_distinct([1], [1, 2], 5)
    assert np.isnan(nothing)
    assert nothing.ends == (None, None)


def test_first_finds_the_step_of_a_monotone_condition() -> None:
    assert [first(lambda n, at=at: n >= at, 2, 10) for at in (0, 2, 7, 10)] == [2, 2, 7, 10]
    assert first(lambda n: False, 2, 10) is None
