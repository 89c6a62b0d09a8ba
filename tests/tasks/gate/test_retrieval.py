"""What the gate's samples retrieve: contents counted once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from genaudit.data.digest import shuffled_by_content
from genaudit.metrics.gate import Question
from genaudit.tasks.gate.calibration import Gates
from genaudit.tasks.gate.keys import GateKeys
from genaudit.tasks.gate.retrieval import RealRetrievals, distinct_images
from genaudit.tasks.gate.yardstick import Yardstick


def _digests(values: np.ndarray) -> np.ndarray:
    return np.stack([np.full(16, value % 256, np.uint8) + np.arange(16, dtype=np.uint8) for value in values])


def test_each_content_counts_once_by_bytes_and_by_features() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(6, 8)).astype(np.float32)
    rows[4] = rows[1] * np.float32(1 + 1e-7)  # equal features, other bytes
    rows[5] += 1  # another measurement of the same bytes as image 0
    for contents in ([0, 1, 2, 3, 4, 0], [9, 8, 7, 6, 5, 9]):  # the first counts, however the digests are sorted
        assert distinct_images(_digests(np.array(contents)), rows).tolist() == [0, 1, 2, 3]


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


def test_a_copy_of_an_image_at_the_centre_is_one() -> None:
    """Where no rounding is allowed for."""
    rows = np.array([[0, 0], [1, 1], [-1, -1]], np.float32)
    places, copies = RealRetrievals(rows, np.arange(3)).nearest(np.array([[0, 0], [0, 1e-3]], np.float32))
    assert (places.tolist(), copies.tolist()) == ([0, 0], [True, False])


def test_held_out_images_are_in_an_order_of_their_contents_and_samples_in_another() -> None:
    """A reference that is sorted by class would calibrate a sequential gate by its first class."""
    rng = np.random.default_rng(4)
    train, held_out = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(30, 5)).astype(np.float32)
    held_out[7] = train[3]  # a training image: it plays no held-out one
    digests = rng.integers(0, 256, (30, 16), np.uint8)

    def gates(places: np.ndarray) -> Gates:
        keys = GateKeys(Question(0.8, 0.05), None, 15, "euclidean", False)
        made = Gates(keys, 3, RealRetrievals(train, np.arange(40)), rng.integers(0, 256, (40, 16), np.uint8))
        made.calibrate_by(held_out[places], digests[places])
        return made

    made = gates(np.arange(30))
    assert (made.excluded, made.calibration) == (1, "reference")
    real = made.retrieval.real
    assert real is not None
    np.testing.assert_array_equal(real, gates(rng.permutation(30)).retrieval.real)
    as_given = np.delete(RealRetrievals(train, np.arange(40)).nearest(held_out)[0], 7)
    assert sorted(real) == sorted(as_given)
    assert real.tolist() != as_given.tolist()
    seeded: Any = SimpleNamespace(settings=SimpleNamespace(seed=3))
    samples = Yardstick.order(seeded, digests)
    assert sorted(samples) == list(range(30))
    assert samples.tolist() != shuffled_by_content(digests, 3).tolist()
    # no more samples are judged than were asked for, whatever a checkpoint holds
    for count, horizon in ((10, 10), (20, 15), (None, 15)):
        gate, _ = made.gate("sequential", count)
        assert gate.horizon == horizon
