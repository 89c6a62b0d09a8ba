from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.path_length import judge, trimmed_mean
from genaudit.metrics.result import Unavailable


@pytest.mark.parametrize("discard", [1, 5, 20])
def test_it_trims_as_stylegan_does(discard: int) -> None:
    lengths = np.random.default_rng(0).gamma(1.5, size=997)
    # By ranks: the percentiles lie between order statistics, and the outer ones of either pair stay.
    ordered = np.sort(lengths)
    low = int(np.floor(discard / 100 * 996))
    high = int(np.ceil((100 - discard) / 100 * 996))
    expected = ordered[low : high + 1].mean()
    assert trimmed_mean(lengths, discard=discard) == pytest.approx(expected, rel=1e-12)
    assert judge(generated=lengths[:, None], discard=discard).discarded == 997 - (high + 1 - low)


def test_equal_steps_have_their_length_and_none_discarded_is_the_mean(on_disk) -> None:
    assert trimmed_mean(np.full(30, 4.0)) == 4.0
    lengths = np.random.default_rng(1).gamma(2.0, size=(5000, 1))
    result = judge(generated=on_disk(lengths), discard=0)
    assert result.ppl == pytest.approx(lengths.mean(), rel=1e-12)
    assert result.mean_of_all == pytest.approx(lengths.mean(), rel=1e-12)
    assert result.ppl.lower < result.ppl < result.ppl.upper


def test_the_interval_is_as_wide_as_the_means_error() -> None:
    lengths = np.random.default_rng(2).exponential(size=(2000, 1))
    result = judge(generated=lengths, discard=0)
    half = 1.959964 * lengths.std(ddof=1) / np.sqrt(2000)
    # Ends of 500 bootstrap repeats rest on some 12 each: a tenth of the half width.
    assert (result.ppl.upper - result.ppl.lower) / 2 == pytest.approx(half, rel=0.15)


def test_another_distance_than_lpips_gets_a_caution_and_one_step_is_too_few() -> None:
    lengths = np.arange(1.0, 9.0)[:, None]
    assert judge(generated=lengths, distance="lpips").cautions == ()
    assert [each.code for each in judge(generated=lengths, distance="l2").cautions] == ["distance-not-lpips"]
    with pytest.raises(Unavailable, match="at least 2 images"):
        judge(generated=lengths[:1])
    with pytest.raises(ValueError, match="discard must be"):
        judge(generated=lengths, discard=50)


def test_the_interval_of_skewed_lengths_reaches_farther_up() -> None:
    """A mean's t statistic is as skewed as its data, the other way round (Hall 1988, first term of its expansion).

    Of 200 log-normal lengths the ends then lie at about 1.96 errors and (2 z^2 + 1) skewness / (6 sqrt n) beside them.
    """
    lengths = np.exp(np.random.default_rng(3).normal(0, 0.5, size=(200, 1)))
    result = judge(generated=lengths, discard=0.0)
    values = lengths[:, 0]
    error = values.std(ddof=1) / np.sqrt(200)
    skewness = ((values - values.mean()) ** 3).mean() / values.std() ** 3
    shift = skewness * (2 * 1.96**2 + 1) / (6 * np.sqrt(200))
    # the second term, of the order 1/n, and 500 repeats, whose ends have an error of about 0.15
    assert (result.ppl.upper - values.mean()) / error == pytest.approx(1.96 + shift, abs=0.45)
    assert (values.mean() - result.ppl.lower) / error == pytest.approx(1.96 - shift, abs=0.45)
    assert result.ppl.upper - result.ppl > result.ppl - result.ppl.lower


def test_equal_lengths_have_an_interval_of_no_width() -> None:
    result = judge(generated=np.full((20, 1), 3.0))
    assert (result.ppl.lower, result.ppl, result.ppl.upper) == (3, 3, 3)
