"""A generator put to work: classification and outlier detection by distance or likelihood, against a nearest neighbour.

"Intriguing Properties of Modern GANs", sections 3.1 and 4.2, Figures 4 and 7. A model that fits the data must do these
tasks well; the paper finds that GANs lose against the nearest training image (1-NN).

N images, T training images, K classes, D numbers per image or a row of features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.stats.auroc import auroc
from genaudit.stats.neighbours import nearest


def classify(scores: Any, *, larger_is_likelier: bool) -> np.ndarray:
    """The class (N,) that each image suits best, from scores (N, K): Eq. 1 for log-likelihoods, the nearest manifold
    for reconstruction errors (`larger_is_likelier=False`). Of equal scores the first class wins.

    Raises:
        ValueError: not (N, K) with K >= 2, or a score that is NaN.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or np.isnan(table).any():
        raise ValueError(f"scores must be numbers (N, K) with two classes or more, not {table.shape}")
    best: np.ndarray = (table if larger_is_likelier else -table).argmax(axis=1)
    return best


def accuracy(found: Any, labels: Any) -> float:
    """Share of images whose class was found, in [0, 1]; higher is better."""
    found, labels = np.asarray(found), np.asarray(labels)
    if found.shape != labels.shape or found.size == 0:
        raise ValueError(f"found {found.shape} and labels {labels.shape} must hold one class per image")
    return float((found == labels).mean())


def nearest_neighbour_classes(query: Any, train: Any, labels: Any) -> np.ndarray:
    """1-NN's class (N,) of each query row (N, D): that of the nearest training row (T, D), labels (T,)."""
    classes: np.ndarray = np.asarray(labels)[nearest(query, train).indices[:, 0]]
    return classes


def nearest_neighbour_distances(query: Any, train: Any) -> np.ndarray:
    """Distance (N,) of each query row (N, D) to its nearest training row (T, D): 1-NN's outlier score."""
    return nearest(query, train).distances[:, 0]


def outlier_auroc(inside: Any, outside: Any) -> float:
    """Area under the ROC curve of an outlier score: the probability that an outlier's exceeds an in-distribution one's.

    Args:
        inside, outside: scores (N,), (M,), higher for what looks less like the data: reconstruction errors, distances
            to the nearest training image, minus log-likelihoods.

    Returns:
        in [0, 1]; 1 tells them apart, below 0.5 is worse than guessing.
    """
    return auroc(outside, inside)


def single_colours(count: int, size: int, *, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Images of one colour each, uint8 (N, S, S, 3): the paper's simplest outliers; grey ones for `channels=1`.

    Levels are uniform on 0 to 255, for grey ones evenly spread over it.
    """
    if channels == 1:
        level = np.linspace(0, 255, count).round().astype(np.uint8)[:, None].repeat(3, axis=1)
    else:
        level = np.random.default_rng(seed).integers(0, 256, (count, 3), dtype=np.uint8)
    return np.broadcast_to(level[:, None, None, :], (count, size, size, 3)).copy()
