"""Exact counts of every protocol, nothing trained on and tested on at once, and a sentence where a class is empty."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.errors import UserError
from genaudit.piad import protocols


def labels_of(classes: int, each: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))


def test_one_vs_all_trains_on_one_class_and_tests_on_the_whole_test_split() -> None:
    train, test = labels_of(10, 60), labels_of(10, 10)
    split = protocols.one_vs_all(train, test, 3)
    assert (train[split.train] == 3).all()
    assert len(split.train) == 60
    assert (test[split.normal] == 3).all()
    assert len(split.normal) == 10
    assert not (test[split.anomalies] == 3).any()
    assert len(split.anomalies) == 90
    assert sorted(split.test) == list(range(100))


def test_gpnd_has_the_counts_of_fashion_mnist() -> None:
    labels = labels_of(10, 7000)
    split = protocols.gpnd(labels, 8, seed=0)
    assert (len(split.train), len(split.normal), len(split.anomalies)) == (5600, 1400, 1400)
    assert sorted([*split.train, *split.normal]) == list(np.flatnonzero(labels == 8))
    assert not (labels[split.anomalies] == 8).any()
    assert len(set(split.anomalies)) == 1400
    # each of the other nine classes is drawn with 1/9: 155.6 expected, standard deviation 11.7, so within five of them
    counts = np.bincount(labels[split.anomalies], minlength=10)
    assert counts[8] == 0
    assert np.abs(np.delete(counts, 8) - 1400 / 9).max() < 5 * 11.7


def test_gpnd_has_the_counts_of_coil() -> None:
    split = protocols.gpnd(labels_of(100, 72), 17, seed=0)
    assert (len(split.train), len(split.normal), len(split.anomalies)) == (58, 14, 14)  # 57.6 rounded


def test_gpnd_anomalies_can_be_another_share_of_the_test_images() -> None:
    split = protocols.gpnd(labels_of(10, 100), 0, seed=0, anomaly_share=0.2)
    assert (len(split.normal), len(split.anomalies)) == (20, 5)


def test_gpnd_depends_on_the_seed_alone() -> None:
    labels = labels_of(4, 50)
    first, again, other = (protocols.gpnd(labels, 1, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.anomalies, again.anomalies)
    assert set(first.train) != set(other.train)
    assert set(first.anomalies) != set(other.anomalies)


def test_random_classes_are_different_ones() -> None:
    chosen = protocols.random_classes(labels_of(100, 2), seed=0)
    assert len(set(chosen)) == 30
    assert chosen.min() >= 0
    assert chosen.max() <= 99
    with pytest.raises(UserError, match="30 normal classes"):
        protocols.random_classes([0, 1, 2], seed=0)


@pytest.mark.parametrize("absent", [-1, 0])
def test_by_attribute_trains_and_tests_on_their_own_parts(absent: int) -> None:
    #                       train          valid  test
    attribute = np.array([absent, 1, absent, absent, 1, absent, 1, 1])
    parts = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    split = protocols.by_attribute(attribute, parts)
    assert split.train.tolist() == [0, 2]
    assert split.normal.tolist() == [5]
    assert split.anomalies.tolist() == [6, 7]


def test_by_attribute_takes_booleans_and_nothing_odd() -> None:
    split = protocols.by_attribute([False, False, True], [0, 2, 2])
    assert split.anomalies.tolist() == [2]
    with pytest.raises(ValueError, match="-1 or 0"):
        protocols.by_attribute([0, 2, 1], [0, 2, 2])
    with pytest.raises(UserError, match="no image to test on has"):
        protocols.by_attribute([0, 0, 0], [0, 2, 2])


def test_another_class_leaves_out_the_others() -> None:
    train = ["bedroom", "conference_room", "bedroom", "kitchen"]
    test = ["kitchen", "bedroom", "conference_room", "conference_room"]
    split = protocols.another_class(train, test, "bedroom", "conference_room")
    assert split.train.tolist() == [0, 2]
    assert split.normal.tolist() == [1]
    assert split.anomalies.tolist() == [2, 3]
    with pytest.raises(UserError, match="another class"):
        protocols.another_class(train, test, "bedroom", "bedroom")


def test_a_class_without_images_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"the train split has no images of class 7; its classes: 0, 1, 2"):
        protocols.one_vs_all([0, 1, 2], [0, 7], 7)
    with pytest.raises(UserError, match="no images of class 'garage'"):
        protocols.another_class(["bedroom"], ["bedroom"], "bedroom", "garage")
    with pytest.raises(UserError, match="the data has no images of class 9"):
        protocols.gpnd([0, 0, 1], 9, seed=0)
    with pytest.raises(UserError, match="no images but those of"):
        protocols.one_vs_all([5, 5], [5, 5], 5)


def test_gpnd_complains_about_classes_that_are_too_small_and_shares_out_of_range() -> None:
    with pytest.raises(UserError, match="too few"):
        protocols.gpnd([0, 1, 1], 0, seed=0)
    with pytest.raises(UserError, match="anomalies are needed"):
        protocols.gpnd([0] * 100 + [1] * 5, 0, seed=0)
    with pytest.raises(ValueError, match="anomaly_share"):
        protocols.gpnd([0, 1], 0, seed=0, anomaly_share=1.0)
