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
