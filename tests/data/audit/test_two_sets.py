"""Do two sets differ? Exact p-values against closed forms, and how often random halves of one set do."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from genaudit.data.audit.finding import ALPHA, difference, shares_differ


@pytest.mark.parametrize(("n", "differs"), [(9, False), (10, True), (40, True)])
def test_sets_that_have_nothing_in_common_differ_from_ten_images_on(n: int, differs: bool) -> None:
    """All of one set and none of the other: of the C(2n, n) ways to halve 2n images two are so extreme."""
    assert (2 / comb(2 * n, n) < ALPHA) == differs
    assert shares_differ((n, n), (0, n), 0.1) == differs
    assert (difference(np.ones(n), np.zeros(n)).pvalue < ALPHA) == differs


def test_a_share_that_is_not_worth_a_word_does_not_differ_however_sure_it_is() -> None:
    assert shares_differ((110_000, 1_000_000), (5_000, 1_000_000), 0.1)
    assert not shares_differ((100_000, 1_000_000), (5_000, 1_000_000), 0.1)


def test_an_empty_set_differs_from_none() -> None:
    assert not shares_differ((0, 0), (5, 50), 0.1)
    assert difference(np.empty(0), np.ones(3)).pvalue == 1


def test_the_measures_of_a_difference_are_what_they_say() -> None:
    found = difference(np.array([1.0, 2, 3]), np.array([2.0, 3, 4]))
    # pairs: 1 < all; 2 = 2; 3 > 2, 3 = 3
    assert found.above == pytest.approx((0.5 + 1 + 0.5) / 9)
    assert found.gap == -1
    assert found.distance == pytest.approx(1)


def test_random_halves_of_any_set_differ_no_more_often_than_alpha_says() -> None:
    """At a level of 5 % in place of ALPHA, so that 1,000 draws can tell: both tests are exact or conservative."""
    rng = np.random.default_rng(0)
    pvalues = []
    for _ in range(1000):
        numbers = rng.choice([0.0, 0.0, 1.0, 2.5], 60)
        order = rng.permutation(60)
        pvalues.append(difference(numbers[order[:25]], numbers[order[25:]]).pvalue)
    assert np.mean(np.array(pvalues) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_many_numbers_are_thinned_without_moving_the_answer() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=60_000), rng.normal(1.0, size=60_000)
    found = difference(first, second)
    assert found.gap == pytest.approx(-1, abs=0.05)
    assert found.distance == pytest.approx(1, abs=0.05)
    assert found.pvalue < ALPHA
