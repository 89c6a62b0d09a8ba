from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genaudit.stats.correlation import correlations, finite_pairs


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_scipys(ties: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 15))
    if ties:
        x, y = np.round(x), np.round(y)
    found = correlations(x, y, repeats=20)
    assert found["pearson"].value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found["spearman"].value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["kendall"].value == pytest.approx(stats.kendalltau(x, y).statistic)


def test_rank_correlations_do_not_change_under_increasing_maps_and_a_line_is_one() -> None:
    x = np.random.default_rng(1).normal(size=12)
    for name, each in correlations(x, np.exp(x), repeats=50).items():
        assert (each.value == pytest.approx(1)) == (name != "pearson")
    line = correlations(x, -3 * x + 1, repeats=50)
    assert all(each.lower == pytest.approx(-1) == each.upper for each in line.values())


def test_the_interval_covers_the_correlation() -> None:
    # 80 intervals of 95 % over 30 models; the bootstrap is a little narrow there: at least 0.92 - 4·0.03
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(80):
        x = rng.normal(size=30)
        y = 0.6 * x + 0.8 * rng.normal(size=30)
        each = correlations(x, y, repeats=200, seed=seed)["pearson"]
        hits += each.lower <= 0.6 <= each.upper
    assert hits / 80 >= 0.8


def test_missing_values_are_left_out_and_two_models_are_too_few() -> None:
    found = correlations([1, 2, 3, np.nan], [1, 2, 4, 9], repeats=10)
    assert repr(found) == repr(correlations([1, 2, 3], [1, 2, 4], repeats=10))
    assert [each.tolist() for each in finite_pairs([1, 2, 3, np.nan], [1, np.inf, 4, 9])] == [[1, 3], [1, 4]]
    assert np.isnan(correlations([1, 1, 1], [1, 2, 3], repeats=10)["kendall"].value)
    with pytest.raises(ValueError, match="three models"):
        correlations([1, 2], [2, 1])
