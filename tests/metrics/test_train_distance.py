"""Near copies of training images: the exact p-value, its level, and what it finds that AuthPct does not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genaudit.metrics.authpct import authpct
from genaudit.metrics.train_distance import judge, l2_ratios, near_pvalue, nearness
from genaudit.stats.neighbours import nearest


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


def _l2_by_hand(generated: np.ndarray, train: np.ndarray) -> list[float]:
    """Nearest over second-nearest of the distinct training rows, with every distance stored."""
    distances = np.sqrt(((generated[:, None] - np.unique(train, axis=0)[None]) ** 2).sum(axis=2))
    smallest = np.sort(distances, axis=1)
    return [float(first / second) if first > 0 else 0.0 for first, second in smallest[:, :2]]


@pytest.mark.parametrize("copies", [1, 2, 9])
def test_the_l2_ratio_is_nearest_over_second_nearest_of_the_distinct_training_rows(copies: int) -> None:
    rng = np.random.default_rng(2)
    train, generated = rng.normal(size=(30, 3)), rng.normal(size=(50, 3))
    generated[0], generated[1] = train[4], (train[5] + train[6]) / 2
    repeated = np.repeat(train, copies, axis=0)
    found = l2_ratios(nearest(generated, repeated, k=2), generated, repeated)
    assert found == pytest.approx(_l2_by_hand(generated, train), rel=1e-9)
    assert found[0] == 0.0


def test_of_one_content_the_ratio_is_1_and_equidistant_images_are_two() -> None:
    train, generated = np.zeros((4, 2)), np.array([[0.0, 3.0]])
    assert l2_ratios(nearest(generated, train, k=2), generated, train).tolist() == [1.0]
    train = np.array([[-1.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    generated = np.array([[0.0, 0.0], [0.5, 0.0]])
    assert l2_ratios(nearest(generated, train, k=2), generated, train) == pytest.approx([1.0, 1 / 3])


def test_a_sample_three_times_nearer_to_one_training_image_than_to_the_next_is_memorised() -> None:
    train, held_out = np.array([[0.0], [10.0], [100.0]]), np.array([[5.0], [4.0]])
    generated = np.array([[2.4], [2.6], [9.0], [55.0]])  # ratios 0.32, 0.35, 0.11, 1
    result = judge(generated=generated, reference=held_out, train=train)
    assert result.l2_memorised == 50.0
    assert result.l2_memorised_reference == 0.0


def test_the_share_below_a_third_is_that_of_copies_and_stands_beside_held_out_images() -> None:
    rng = np.random.default_rng(1)
    train, reference, generated = (rng.normal(size=(400, 8)) for _ in range(3))
    generated[:20] = train[:20] + 1e-3
    result = judge(generated=generated, reference=reference, train=train)
    by_hand = np.array(_l2_by_hand(generated, train))
    assert result.l2_memorised == 100 * (by_hand < 1 / 3).mean() >= 5
    assert result.l2_memorised_reference == 100 * np.mean(np.array(_l2_by_hand(reference, train)) < 1 / 3) < 1
    assert result.l2_ratio == pytest.approx(by_hand, rel=1e-9)
    assert result.nearest.ratios is result.l2_ratio
    assert (result.l2_ratio[:20] < 0.01).all()
