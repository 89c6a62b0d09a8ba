from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from genaudit.metrics.anomaly_score import anomaly_score, anomaly_score_i, judge, judge_images, levels_of
from genaudit.metrics.result import Unavailable
from genaudit.stats.ks2d import ks2d_2samp


def _rows(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """Anomaly rows with five columns; the lag-2 angle is above the lag-1 angle, as on a smooth path."""
    complexity, vulnerability = rng.uniform(0.1, 0.3, n), rng.gamma(9, 1, n) + shift
    return np.column_stack([complexity, vulnerability, complexity * 1.5, complexity * 0.1, vulnerability * 0.05])


def test_as_is_the_two_dimensional_ks_statistic_and_is_symmetric_in_its_value() -> None:
    rng = np.random.default_rng(0)
    real, made = _rows(rng, 40)[:, :2], _rows(rng, 30, 3.0)[:, :2]
    found = anomaly_score(real, made, permutations=99)
    assert found.statistic == ks2d_2samp(real, made, pvalue=None).statistic
    assert found.statistic == anomaly_score(made, real, permutations=9).statistic
    assert found.pvalue_asymptotic == ks2d_2samp(real, made).pvalue
    assert found.pvalue == 0.01  # none of 99 permutations reaches it
    assert anomaly_score(real, real + 100, permutations=9).statistic == 1.0


def test_as_does_not_change_under_increasing_maps_of_either_axis() -> None:
    rng = np.random.default_rng(1)
    real, made = _rows(rng, 50)[:, :2], _rows(rng, 50, 2.0)[:, :2]
    mapped = anomaly_score(np.exp(3 * real), np.exp(3 * made), permutations=49)
    assert mapped.statistic == anomaly_score(real, made, permutations=49).statistic
    assert mapped.pvalue == anomaly_score(real, made, permutations=49).pvalue


def test_as_i_is_the_ratio_and_undefined_where_complexity_is_zero_missing_or_noise() -> None:
    rows = [
        [0.5, 3.0, 0.6],
        [0.0, 3.0, 0.1],
        [np.nan, 3.0, 0.1],
        [2.09, 3.0, 1.57],  # independent rounding: 2π/3 between neighbours, π/2 two steps apart
        [0.5, np.inf, 0.6],
    ]
    np.testing.assert_array_equal(anomaly_score_i(rows), [6.0, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(anomaly_score_i(np.array(rows)[[0, 3], :2]), [6.0, 3.0 / 2.09])


def test_judge_stands_as_beside_its_null_and_repeats_by_seed(on_disk) -> None:
    rng = np.random.default_rng(2)
    real, made = _rows(rng, 60).astype(np.float32), _rows(rng, 50, 1.0).astype(np.float32)
    result = judge(generated=made, reference=real, permutations=99, bootstraps=50, seed=4)
    again = judge(generated=on_disk(made), reference=on_disk(real), permutations=99, bootstraps=50, seed=4)
    assert (again.statistic.lower, again.pvalue, again.null_95) == (
        result.statistic.lower,
        result.pvalue,
        result.null_95,
    )
    assert 0 < result.null_mean < result.null_95 < 1
    assert result.statistic.lower < result.statistic < result.statistic.upper
    assert result.cautions == ()
    assert {role: points.shape for role, points in result.cloud.points.items()} == {
        "generated": (50, 2),
        "reference": (60, 2),
    }
    welch = stats.ttest_ind(made[:, 1].astype(float), real[:, 1].astype(float), equal_var=False)
    assert result.vulnerability.p_two_sided == pytest.approx(welch.pvalue)
    # Hedges 1981, with the exact factor, of which the one in use is an approximation to 1e-4 at 108 degrees of freedom
    pooled = (49 * made[:, 1].var(ddof=1) + 59 * real[:, 1].var(ddof=1)) / 108
    exact = np.exp(special.gammaln(54) - special.gammaln(53.5)) / np.sqrt(54)
    expected = (made[:, 1].mean() - real[:, 1].mean()) / np.sqrt(pooled) * exact
    assert result.vulnerability.hedges_g == pytest.approx(expected, rel=1e-4)
    gap = result.gap
    sides = dict(part.split(" ", 1) for part in gap["quadrant"].split(", "))
    for points, share in ((real, gap["share_reference"]), (made, gap["share_generated"])):
        beyond = {name: points[:, i] > gap[name] for i, name in enumerate(("complexity", "vulnerability"))}
        inside = [beyond[name] if side.startswith(">") else ~beyond[name] for name, side in sides.items()]
        assert np.mean(inside[0] & inside[1]) == pytest.approx(share)


def test_the_interval_covers_the_mean_as_of_sets_of_these_sizes() -> None:
    # 60 intervals at 95 %: at least 0.95 - 4·0.028 = 0.83.
    rng = np.random.default_rng(3)
    results = [
        judge(generated=_rows(rng, 50, 2.0), reference=_rows(rng, 50), permutations=1, bootstraps=40, seed=i)
        for i in range(60)
    ]
    mean = np.mean([result.statistic for result in results])
    assert np.mean([result.statistic.lower <= mean <= result.statistic.upper for result in results]) >= 0.83


def test_images_without_complexity_are_left_out_counted_and_cautioned() -> None:
    rng = np.random.default_rng(4)
    real, made = _rows(rng, 40), _rows(rng, 40)
    holed = np.concatenate([made, made[:3]])
    holed[40:, 0] = np.nan
    plain = judge(generated=made, reference=real, permutations=19, bootstraps=20)
    result = judge(generated=holed, reference=real, permutations=19, bootstraps=20)
    assert (result.statistic, result.pvalue, result.statistic.upper) == (
        plain.statistic,
        plain.pvalue,
        plain.statistic.upper,
    )
    assert (result.left_out_generated, result.n_generated) == (3, 40)
    assert [caution.code for caution in result.cautions] == ["images-left-out"]
    with pytest.raises(Unavailable, match="2 or more generated"):
        judge(generated=holed[39:], reference=real)


def test_noise_is_cautioned_above_five_percent_of_images_with_its_share() -> None:
    rng = np.random.default_rng(5)
    real, made = _rows(rng, 100), _rows(rng, 100)
    made[:5, 2] = made[:5, 0] - 0.01
    assert judge(generated=made, reference=real, permutations=9, bootstraps=9).cautions == ()
    made[:6, 2] = made[:6, 0] - 0.01
    result = judge(generated=made, reference=real, permutations=9, bootstraps=9)
    assert result.noise_share_generated == pytest.approx(0.06)
    assert [caution.code for caution in result.cautions] == ["complexity-is-noise"]
    assert "6%" in result.cautions[0].message


def test_as_i_of_a_set_has_columns_errors_and_intervals() -> None:
    rng = np.random.default_rng(6)
    made = _rows(rng, 200)
    made[0, 2] = 0.0  # noise
    result = judge_images(generated=made, reference=made[1:])
    ratios = made[1:, 1] / made[1:, 0]
    assert result.as_i_mean == pytest.approx(ratios.mean())
    assert result.as_i_median == pytest.approx(np.median(ratios))
    assert result.as_i_mean_reference == pytest.approx(ratios.mean())
    assert result.as_i_mean.lower < result.as_i_mean < result.as_i_mean.upper
    assert result.as_i_median.lower <= result.as_i_median <= result.as_i_median.upper
    assert result.n_without_as_i == 1
    assert np.isnan(result.as_i[0])
    # Relative errors of 0.1 and 0.05 add in squares.
    np.testing.assert_allclose(result.as_i_se[1:], ratios * np.hypot(0.1, 0.05))
    columns = (result.complexity, result.vulnerability, result.complexity_se, result.vulnerability_se)
    for column, place in zip(columns, (0, 1, 3, 4), strict=True):
        np.testing.assert_array_equal(column, made[:, place])
    one_direction = judge_images(generated=np.where(np.arange(5) < 3, made, np.nan))
    assert one_direction.complexity_se is None
    assert one_direction.as_i_se is None


def test_a_set_that_is_all_noise_has_no_as_i_and_says_so() -> None:
    made = np.column_stack([np.full(20, 2.09), np.ones(20), np.full(20, 1.57)])
    result = judge_images(generated=made)
    assert result.as_i_mean is None
    assert result.n_without_as_i == 20
    assert [caution.code for caution in result.cautions] == ["complexity-is-noise"]


def test_wrong_shapes_and_nan_are_refused_by_the_pure_functions() -> None:
    with pytest.raises(ValueError, match="not finite"):
        anomaly_score([[0.0, np.nan], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="2 or more"):
        anomaly_score_i([1.0, 2.0])


@pytest.mark.parametrize(("column", "expected"), [(0, "less"), (1, "greater")])
def test_the_tests_of_means_are_scipys_and_the_permutation_test_agrees_with_them(column: int, expected: str) -> None:
    rng = np.random.default_rng(8)
    real, made = _rows(rng, 80), _rows(rng, 60, 1.0)
    result = judge(generated=made, reference=real, permutations=1999, bootstraps=2)
    found = (result.complexity, result.vulnerability)[column]
    one = stats.ttest_ind(made[:, column], real[:, column], equal_var=False, alternative=expected)
    assert found.p_one_sided == pytest.approx(one.pvalue)
    assert found.degrees_of_freedom == pytest.approx(one.df)
    # both tests are exact to first order at these sizes; 1,999 permutations add a standard error of at most 0.011
    assert found.p_permutation_two_sided == pytest.approx(found.p_two_sided, abs=0.05)
    assert found.p_permutation_one_sided == pytest.approx(found.p_one_sided, abs=0.05)
    above = np.mean(made[:, None, column] > real[None, :, column])
    assert found.superiority == pytest.approx(above)


def test_permutation_tests_are_calibrated_under_the_null_and_invariant_to_scale() -> None:
    rng = np.random.default_rng(9)
    rejected = 0
    for seed in range(60):
        result = judge(generated=_rows(rng, 12), reference=_rows(rng, 12), permutations=39, bootstraps=2, seed=seed)
        rejected += result.vulnerability.p_permutation_two_sided <= 0.05
    # Binomial(60, 0.05): more than 9 has a probability below 0.1 %
    assert rejected <= 9
    real, made = _rows(rng, 20), _rows(rng, 20)
    scale = np.array([1, 1000, 1, 1, 1])
    first = judge(generated=made, reference=real, permutations=99, bootstraps=2).vulnerability
    second = judge(generated=made * scale, reference=real * scale, permutations=99, bootstraps=2).vulnerability
    assert first.p_permutation_one_sided == second.p_permutation_one_sided
    assert first.hedges_g == pytest.approx(second.hedges_g)


def test_the_scatter_plot_marks_where_the_clouds_differ_most() -> None:
    rng = np.random.default_rng(10)
    result = judge(generated=_rows(rng, 40, 5.0), reference=_rows(rng, 40), permutations=9, bootstraps=2)
    assert result.cloud.marker == (result.gap["complexity"], result.gap["vulnerability"])


def test_levels_grow_with_as_i_and_mean_the_same_for_every_set_beside_one_reference() -> None:
    rng = np.random.default_rng(11)
    reference = rng.gamma(9, 1, 5000)
    scores = np.append(rng.gamma(9, 1, 300), np.nan)
    levels = levels_of(scores, beside=reference)
    assert set(levels[:-1]) <= {1, 2, 3, 4, 5}
    assert np.isnan(levels[-1])
    order = np.argsort(scores[:-1])
    assert (np.diff(levels[:-1][order]) >= 0).all()
    # a part of the set hardly moves the bounds, which 5,000 reference images set
    assert np.mean(levels_of(scores[:150], beside=reference) == levels[:150]) > 0.98
    assert np.isnan(levels_of(np.full(3, np.nan))).all()
    assert (levels_of(np.full(3, 2.0)) == 5).all()  # one value: every bound is that value
