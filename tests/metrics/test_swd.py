from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.swd import judge, swd


def test_a_shift_of_the_set_is_told_over_the_root_of_the_dimensions() -> None:
    # E (u'shift)^2 = |shift|^2 / D on the sphere. (u'e)^2 is Beta(1/2, (D-1)/2): relative sd sqrt(2(D-1)/(D+2)),
    # here 1.36 over sqrt(20,000) = 0.0096, halved by the root; four of them.
    x = np.random.default_rng(0).normal(size=(50, 25))
    shift = np.random.default_rng(1).normal(size=25) * 3
    expected = np.linalg.norm(shift) / 5
    assert swd(x, x + shift, directions=20_000) == pytest.approx(expected, rel=0.02)


def test_in_many_dimensions_it_is_the_closed_form_of_nadjahi_et_al() -> None:
    # Projections of centred rows are all but normal there: SW2^2 = |m1 - m2|^2/D + (sqrt(v1) - sqrt(v2))^2 with
    # v the mean squared norm over D (Nadjahi et al. 2021, as dgm-eval computes it); finite sets add about 1/N.
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2000, 300)), rng.normal(size=(2000, 300)) * 1.5 + 0.2
    means = [rows.mean(axis=0) for rows in (x, y)]
    spreads = [np.square(rows - mean).sum(axis=1).mean() / 300 for rows, mean in zip((x, y), means, strict=True)]
    closed = np.square(means[0] - means[1]).sum() / 300 + (np.sqrt(spreads[0]) - np.sqrt(spreads[1])) ** 2
    assert swd(x, y, directions=300) ** 2 == pytest.approx(closed, rel=0.05)


def test_equal_sets_are_at_distance_zero_it_is_symmetric_and_scales() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(40, 8)) + 0.5
    assert swd(x, rng.permutation(x)) == 0.0
    assert swd(x, y) == pytest.approx(swd(y, x), rel=1e-12)
    assert swd(3 * x + 7, 3 * y + 7) == pytest.approx(3 * swd(x, y), rel=1e-10)


def test_judge_brackets_its_value_and_repeats_with_its_seed(on_disk) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(80, 6)), rng.normal(size=(90, 6)) + 0.5
    result = judge(generated=x, reference=y, directions=50, seed=1)
    assert result.swd.lower < result.swd < result.swd.upper
    assert result.swd == swd(x, y, directions=50, seed=1)
    assert judge(generated=on_disk(x), reference=on_disk(y), directions=50, seed=1) == result
    assert judge(generated=x, reference=y, directions=50, seed=2).swd != result.swd
