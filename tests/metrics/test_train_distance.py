"""Near copies of training images: the exact p-value, its level, and what it finds that AuthPct does not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genaudit.metrics.authpct import authpct
from genaudit.metrics.train_distance import judge, near_pvalue, nearness


def test_the_pvalue_is_the_share_of_orders_with_as_many_below() -> None:
    # all ways to place 3 of 7 values: the second smallest of the other 4 is the threshold
    n, m, k = 3, 4, 2
    counts = []
    for places in itertools.combinations(range(n + m), n):
        others = [place for place in range(n + m) if place not in places]
        counts.append(sum(place < others[k - 1] for place in places))
    for below in range(n + 1):
        assert near_pvalue(below, n, m, k) == pytest.approx(np.mean([each >= below for each in counts]), rel=1e-12)


def test_nearness_is_the_ratio_of_authpct() -> None:
    rng = np.random.default_rng(0)
    train, generated = rng.normal(size=(60, 3)), rng.normal(size=(80, 3))
    assert 100 * float((nearness(generated, train) > 1).mean()) == pytest.approx(authpct(train, generated))


def test_one_copy_in_twenty_is_found() -> None:
    rng = np.random.default_rng(1)
    train, reference, generated = (rng.normal(size=(400, 8)) for _ in range(3))
    honest = judge(generated=generated, reference=reference, train=train)
    assert honest.pvalue > 0.01
    assert honest.near_copies <= 3
    assert honest.train_distance_ratio == pytest.approx(1, abs=0.1)
    generated[:20] = train[:20] + 1e-3
    copied = judge(generated=generated, reference=reference, train=train)
    assert copied.near_copies == pytest.approx(5, abs=1.5)
    assert copied.pvalue < 1e-3
    assert (copied.nearness[:20] < copied.threshold).all()
