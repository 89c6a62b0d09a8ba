"""Tests of uniform drawing: level under the null, power under bias, and the exact law in a case that can be counted."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from scipy.stats import kstest

from genaudit.stats.evenness import SIMULATIONS, bias_pvalue, uniform_pvalue


def counts_of(draws: np.ndarray) -> np.ndarray:
    return np.unique(draws, return_counts=True)[1]


def test_the_conditional_law_is_that_of_all_equally_likely_draws() -> None:
    """All 4^7 ways to draw 7 times from 4 items; those that show 3 items decide, and the support does not matter."""
    pairs = Counter(
        int(sum(c * (c - 1) // 2 for c in Counter(draws).values()))
        for draws in product(range(4), repeat=7)
        if len(set(draws)) == 3
    )
    total = sum(pairs.values())
    for spectrum in ([3, 2, 2], [3, 3, 1], [4, 2, 1], [5, 1, 1]):
        observed = sum(c * (c - 1) // 2 for c in spectrum)
        expected = sum(n for value, n in pairs.items() if value >= observed) / total
        # About a third of 9,999 simulations sum to 7: standard error below 0.009, four of them.
        assert uniform_pvalue(np.array(spectrum)) == pytest.approx(expected, abs=0.036)


@pytest.mark.parametrize(("n", "s"), [(60, 400), (300, 150), (4000, 3000)])
def test_uniform_draws_are_called_uneven_at_the_level(n: int, s: int) -> None:
    rng = np.random.default_rng(0)
    p = np.array([uniform_pvalue(counts_of(rng.integers(0, s, n)), seed=i) for i in range(150)])
    # Binomial standard error 0.0245 at a level of 0.1; a discrete statistic may reject less often.
    assert np.mean(p <= 0.1) < 0.1 + 4 * 0.0245
    if n == 4000:  # few simulated spectra sum to n, so that all of them are adjusted; pairs are many: p is uniform
        assert kstest(p, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("n", [500, 20_000])
def test_uneven_draws_are_seen(n: int) -> None:
    weights = np.arange(1, 401) ** -0.7
    draws = np.random.default_rng(1).choice(400, n, p=weights / weights.sum())
    assert uniform_pvalue(counts_of(draws)) < 0.001


def test_a_spectrum_without_alternatives_has_p_one() -> None:
    assert uniform_pvalue(np.ones(7, int)) == 1
    assert uniform_pvalue(np.array([50_000])) == 1


def test_a_collapsed_model_is_seen_at_any_size() -> None:
    assert uniform_pvalue(np.array([49_000, 1, 1, 3])) < 0.001


def test_bias_is_not_seen_between_sets_that_share_one_uneven_law_and_is_where_it_is_amplified() -> None:
    rng = np.random.default_rng(2)
    hubs = np.arange(1, 2001) ** -0.5
    hubs /= hubs.sum()
    amplified = hubs**2 / (hubs**2).sum()
    p = [bias_pvalue(rng.choice(2000, 800, p=hubs), rng.choice(2000, 900, p=hubs), seed=i) for i in range(150)]
    # As above: one-sided level 0.1 within four standard errors.
    assert np.mean(np.array(p) <= 0.1) < 0.1 + 4 * 0.0245
    assert bias_pvalue(rng.choice(2000, 800, p=amplified), rng.choice(2000, 900, p=hubs)) < 0.001
    assert bias_pvalue(rng.choice(2000, 800, p=hubs), rng.choice(2000, 900, p=amplified)) > 0.9


def test_a_difference_that_chance_reaches_as_often_as_not_has_that_p() -> None:
    # one pair on one side: under equal laws it is as likely on the other, and as much as seen counts
    alone = bias_pvalue(np.array([0, 0, 1, 2]), np.arange(3, 7))
    assert alone == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(SIMULATIONS))
    assert bias_pvalue(np.arange(3, 7), np.array([0, 0, 1, 2])) == 1
    # two of them: a quarter
    both = bias_pvalue(np.array([0, 0, 1, 1]), np.arange(3, 7))
    assert both == pytest.approx(0.25, abs=4 * 0.44 / np.sqrt(SIMULATIONS))


def test_bias_without_any_pair_is_one_and_bad_counts_are_refused() -> None:
    assert bias_pvalue(np.arange(5), np.arange(3, 9)) == 1
    with pytest.raises(ValueError, match="counts"):
        uniform_pvalue(np.array([2, 0]))
