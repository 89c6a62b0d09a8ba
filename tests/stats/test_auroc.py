"""AUROC against scikit-learn, counting by hand, and its symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genaudit.stats.auroc import auroc


def test_auroc_equals_sklearn_with_and_without_ties() -> None:
    rng = np.random.default_rng(0)
    for values in (3, 50, 10**9):
        positive, negative = rng.integers(0, values, 70), rng.integers(0, values, 45)
        truth = np.r_[np.ones(70), np.zeros(45)]
        expected = roc_auc_score(truth, np.r_[positive, negative])
        assert auroc(positive, negative) == pytest.approx(expected, abs=1e-13)


def test_ties_count_half() -> None:
    assert auroc([1.0, 1.0], [1.0]) == 0.5
    assert auroc([2.0, 3.0], [1.0, 2.0]) == 0.875


def test_auroc_swaps_to_its_complement_and_ignores_increasing_maps() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 31), rng.normal(0, 1, 44)
    assert auroc(a, b) + auroc(b, a) == pytest.approx(1, abs=1e-15)
    assert auroc(np.exp(a), np.exp(b)) == auroc(a, b)


def test_infinities_are_ordered_and_nan_and_empty_sides_are_refused() -> None:
    assert auroc([np.inf], [0.0, -np.inf]) == 1.0
    with pytest.raises(ValueError, match="NaN"):
        auroc([np.nan], [0.0])
    with pytest.raises(ValueError, match="at least one"):
        auroc([], [0.0])
