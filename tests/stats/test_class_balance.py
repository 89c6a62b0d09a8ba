"""Class shares of two sets: scipy's tests of contingency tables, the law under one law, a class that is missing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genaudit.stats.class_balance import accuracy, class_balance
from genaudit.stats.two_sets import holm


def test_holm_is_statsmodels_textbook_example() -> None:
    # Holm 1979 by hand: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, made monotone
    adjusted = holm([0.01, 0.04, np.nan, 0.03, 0.005])
    assert adjusted[[0, 1, 3, 4]].tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(adjusted[2])
    assert holm([0.7, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_large_tables_are_scipys_chi_squared_and_fishers_exact_test() -> None:
    ours, real = np.array([300, 250, 450]), np.array([520, 480, 1000])
    found = class_balance(ours, real)
    theirs = stats.chi2_contingency([ours, real], correction=False)
    assert found.statistic == pytest.approx(theirs.statistic, rel=1e-12)
    assert found.pvalue == pytest.approx(theirs.pvalue, rel=1e-12)
    assert not found.exact
    single = [stats.fisher_exact([[g, 1000 - g], [r, 2000 - r]]).pvalue for g, r in zip(ours, real, strict=True)]
    assert found.pvalues.tolist() == pytest.approx(holm(single).tolist(), rel=1e-9)
    assert found.total_variation == pytest.approx(0.05, abs=1e-12)  # 0.04 too many of the first, 0.01 of the second


def test_small_tables_have_the_exact_law_of_their_margins() -> None:
    ours, real = np.array([4, 1, 3]), np.array([1, 5, 2])
    found = class_balance(ours, real)
    # every table with these margins, by its probability
    total = exact = 0.0
    variations: list[tuple[float, float]] = []  # probability, and by how much the shares of the two sets differ
    columns = ours + real
    expected = np.outer([8, 8], columns) / 16
    for a in range(columns[0] + 1):
        for b in range(columns[1] + 1):
            c = 8 - a - b
            if not 0 <= c <= columns[2]:
                continue
            table = np.array([[a, b, c], columns - [a, b, c]])
            weight = stats.multivariate_hypergeom.pmf([a, b, c], columns, 8)
            total += weight
            variations.append((weight, np.abs(table[0] / 8 - table[1] / 8).sum() / 2))
            exact += weight * (((table - expected) ** 2 / expected).sum() >= found.statistic - 1e-9)
    assert total == pytest.approx(1.0)
    assert found.exact
    # 9,999 tables: four standard errors of a share
    assert found.pvalue == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999) + 1e-4)
    mean = sum(weight * size for weight, size in variations)
    spread = np.sqrt(sum(weight * (size - mean) ** 2 for weight, size in variations))
    assert found.expected_variation == pytest.approx(mean, abs=4 * spread / np.sqrt(9999))


def test_a_table_that_none_of_those_drawn_reaches_has_the_least_p_value() -> None:
    # one of C(46, 6) = 9.4 million tables
    assert class_balance([40, 0], [0, 6]).pvalue == 1 / 10_000


def test_a_missing_class_is_found_and_equal_shares_are_not() -> None:
    real = np.full(10, 60)
    ours = real.copy()
    ours[3] = 0
    found = class_balance(ours, real)
    assert found.pvalue < 1e-6
    assert np.flatnonzero(found.pvalues < 0.01).tolist() == [3]
    same = class_balance(real, real)
    assert same.pvalue == pytest.approx(1.0)
    assert 0 == same.total_variation < same.expected_variation
    with pytest.raises(ValueError, match="two classes"):
        class_balance([5], [5])


def test_p_values_of_draws_of_one_law_are_uniform() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    pvalues = [class_balance(rng.multinomial(200, shares), rng.multinomial(300, shares)).pvalue for _ in range(150)]
    # a binomial of 150 at 5 %: 99.9 % of draws have at most 18
    assert sum(p <= 0.05 for p in pvalues) <= 18
    assert stats.kstest(pvalues, "uniform").pvalue > 0.001


def test_accuracy_is_wilsons_interval_and_fishers_test() -> None:
    found = accuracy(30, 50, (45, 50), 0.95)
    theirs = stats.binomtest(30, 50).proportion_ci(0.95, method="wilson")
    assert (found.value, found.lower, found.upper) == pytest.approx((0.6, theirs.low, theirs.high), rel=1e-9)
    assert found.pvalue == pytest.approx(stats.fisher_exact([[30, 20], [45, 5]], alternative="less").pvalue)
    assert accuracy(3, 5, None, 0.95).pvalue is None
