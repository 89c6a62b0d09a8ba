"""Generative classification and outlier detection by hand, and against scikit-learn's nearest neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from genaudit.likelihood.inference import (
    accuracy,
    classify,
    nearest_neighbour_classes,
    nearest_neighbour_distances,
    outlier_auroc,
    single_colours,
)


def test_the_likeliest_class_wins_and_the_nearest_manifold() -> None:
    scores = [[-1.0, -3.0], [-2.0, -2.0], [-9.0, 0.0]]
    assert classify(scores, larger_is_likelier=True).tolist() == [0, 0, 1]
    assert classify(scores, larger_is_likelier=False).tolist() == [1, 0, 0]
    assert accuracy([0, 0, 1], [0, 1, 1]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="two classes"):
        classify([[1.0]], larger_is_likelier=True)
    with pytest.raises(ValueError, match="one class per image"):
        accuracy([0], [0, 1])


def test_the_baseline_is_the_nearest_neighbour() -> None:
    rng = np.random.default_rng(0)
    train, labels, query = rng.normal(size=(80, 5)), rng.integers(0, 3, 80), rng.normal(size=(40, 5))
    expected = KNeighborsClassifier(1).fit(train, labels)
    assert (nearest_neighbour_classes(query, train, labels) == expected.predict(query)).all()
    np.testing.assert_allclose(nearest_neighbour_distances(query, train), expected.kneighbors(query)[0][:, 0])


def test_outliers_are_the_positive_class() -> None:
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(size=50), rng.normal(size=30) + 1
    scores, truth = np.concatenate([inside, outside]), np.repeat([0, 1], [50, 30])
    assert outlier_auroc(inside, outside) == pytest.approx(roc_auc_score(truth, scores))
    assert outlier_auroc([0.0], [1.0]) == 1.0


def test_images_of_a_single_colour_are_that() -> None:
    colours = single_colours(5, 4, seed=0)
    assert colours.shape == (5, 4, 4, 3)
    assert (colours == colours[:, :1, :1]).all()
    assert len(np.unique(colours[:, 0, 0], axis=0)) == 5
    assert single_colours(3, 2, channels=1)[:, 0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
