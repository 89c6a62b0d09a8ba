"""Copies, random orders and subsets, and shared images by content digests."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.data.digest import duplicates, originals, random_subset, shared, shuffled_by_content


@pytest.fixture
def digests() -> np.ndarray:
    """(55, 16): forty images once, five images thrice."""
    rows = np.random.default_rng(0).integers(0, 256, (45, 16), dtype=np.uint8)
    return np.concatenate([rows, rows[:5], rows[:5]])


def test_copies_are_counted_beyond_the_first(digests: np.ndarray) -> None:
    assert duplicates(digests) == 10
    assert duplicates(digests[:45]) == duplicates(digests[:0]) == 0
    first = originals(digests)
    np.testing.assert_array_equal(first, [*range(45), *range(5), *range(5)])
    assert len(originals(digests[:0])) == 0


def test_shared_images_are_counted_with_their_copies(digests: np.ndarray) -> None:
    assert shared(digests, digests[[0, 20]]) == 4  # image 0 is there three times
    assert shared(digests[[0, 20]], digests) == 2
    assert shared(digests, digests[:0]) == shared(digests[:0], digests) == 0


def test_a_subset_depends_on_contents_and_seed_alone(digests: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(len(digests))

    def contents(rows: np.ndarray, chosen: np.ndarray) -> list[bytes]:
        return sorted(map(bytes, rows[chosen]))

    taken = random_subset(digests, 20, 3)
    assert contents(digests, taken) == contents(digests[order], random_subset(digests[order], 20, 3))
    assert (np.diff(taken) > 0).all()
    assert set(taken) < set(random_subset(digests, 21, 3))
    assert set(taken) != set(random_subset(digests, 20, 4))
    np.testing.assert_array_equal(random_subset(digests, 99, 3), np.arange(55))


def test_every_image_and_every_copy_is_drawn_equally_often(digests: np.ndarray) -> None:
    counts = np.zeros(len(digests))
    for seed in range(2000):
        counts[random_subset(digests, 11, seed)] += 1
    # binomial(2000, 1/5): 400 +- 18; five deviations over 55 images
    assert np.abs(counts - 400).max() < 90


def test_a_copy_is_drawn_without_regard_to_the_other(digests: np.ndarray) -> None:
    """With k of N images both of two are drawn with probability k (k - 1) / (N (N - 1)), copies or not."""
    both = np.zeros((5, 2))
    for seed in range(2000):
        drawn = np.isin(np.arange(55), random_subset(digests, 22, seed))
        both[:, 0] += drawn[:5] & drawn[45:50]  # copies
        both[:, 1] += drawn[5:10] & drawn[10:15]  # others
    expected = 2000 * 22 * 21 / (55 * 54)
    # binomial(10000, 0.156): 1556 +- 36
    assert np.abs(both.sum(0) - 5 * expected).max() < 5 * 36


def test_an_order_depends_on_contents_and_seed_and_not_on_places(digests: np.ndarray) -> None:
    order = shuffled_by_content(digests, 3)
    assert sorted(order) == list(range(55))
    mixed = np.random.default_rng(0).permutation(55)
    np.testing.assert_array_equal(digests[mixed][shuffled_by_content(digests[mixed], 3)], digests[order])
    assert (order != shuffled_by_content(digests, 4)).any()
    assert len(shuffled_by_content(digests[:0], 3)) == 0
    np.testing.assert_array_equal(random_subset(digests, 20, 3), np.sort(order[:20]))
    # a sorted folder does not stay sorted: the first half of the order holds about half of the first half
    many = np.random.default_rng(2).integers(0, 256, (1000, 16), dtype=np.uint8)
    assert 200 < (shuffled_by_content(many, 0)[:500] < 500).sum() < 300


def test_copies_do_not_come_one_after_the_other() -> None:
    """A sequential test would see nothing but duplicates at first."""
    digests = np.repeat(np.random.default_rng(3).integers(0, 256, (50, 16), dtype=np.uint8), 2, axis=0)
    adjacent = 0
    for seed in range(20):
        order = shuffled_by_content(digests, seed)
        adjacent += int((order[:-1] // 2 == order[1:] // 2).sum())
    assert adjacent < 45  # 20 +- 4.5 are expected of random orders; 1,000 where copies stay together
