"""Copies, random subsets and shared images by content digests."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.data.copies import duplicates, originals, random_subset, shared


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
