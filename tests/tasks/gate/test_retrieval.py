"""What the gate's samples retrieve: contents counted once."""

from __future__ import annotations

import numpy as np

from genaudit.tasks.gate.retrieval import RealRetrievals, distinct_images


def _digests(values: np.ndarray) -> np.ndarray:
    return np.stack([np.full(16, value % 256, np.uint8) + np.arange(16, dtype=np.uint8) for value in values])


def test_each_content_counts_once_by_bytes_and_by_features() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(6, 8)).astype(np.float32)
    rows[4] = rows[1] * np.float32(1 + 1e-7)  # equal features, other bytes
    rows[5] += 1  # another measurement of the same bytes as image 0
    digests = _digests(np.array([0, 1, 2, 3, 4, 0]))
    assert distinct_images(digests, rows).tolist() == [0, 1, 2, 3]


def test_images_set_aside_retrieve_from_the_others_only() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(40, 5)).astype(np.float32)
    whole = RealRetrievals(rows, np.arange(1, 40))  # image 0 is a copy that does not count
    part = whole.with_set_aside(10, np.arange(39)[::-1])
    assert part.set_aside.tolist() == list(range(39, 29, -1))
    assert part.kept.tolist() == list(range(1, 30))
    assert part.real is not None
    expected = [np.linalg.norm(rows[1:30] - rows[index], axis=1).argmin() for index in part.set_aside]
    assert part.real.tolist() == expected
    places, copies = part.nearest(np.concatenate([rows[7:8], rows[7:8] + 0.1]))
    assert places.tolist() == [6, 6]
    assert copies.tolist() == [True, False]


def test_evenness_of_the_training_set_sees_hubs() -> None:
    """In one dimension each image is the nearest of its neighbours; in many some are everyone's."""
    rng = np.random.default_rng(3)
    hubs = RealRetrievals(rng.normal(size=(600, 60)).astype(np.float32), np.arange(600))
    assert hubs.evenness(0) < 0.01
    line = RealRetrievals(np.arange(600, dtype=np.float32)[:, None], np.arange(600))
    assert line.evenness(0) > 0.01
