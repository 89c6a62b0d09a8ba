"""Correlations over few models: Pearson, Spearman and Kendall, with bootstrap intervals over the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from genaudit.stats.estimate import Estimate, bootstrap_indices, percentile_interval


def correlations(
    x: Any,
    y: Any,
    *,
    kinds: Sequence[str] = ("pearson", "spearman", "kendall"),
    repeats: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """ "pearson", "spearman" and "kendall" (tau-b) in [-1, 1] of x (N,) with y (N,), models resampled together.

    NaN where a side is constant. Only `finite_pairs` count. Resamples in which a side is constant have no correlation
    and are left out of the interval. With fewer than about ten models the intervals are too narrow: read them as a
    lower bound of the uncertainty.

    Args:
        kinds: which of the three; Kendall's takes time and memory of N² for every resample, and so suits few pairs.

    Raises:
        ValueError: shapes that differ, or fewer than three pairs.
    """
    a, b = finite_pairs(x, y)
    if len(a) < 3:
        raise ValueError(f"a correlation needs three models or more, not {len(a)}")
    draws = [index for (index,) in bootstrap_indices((len(a),), repeats=repeats, seed=seed)]
    found = {}
    functions = {"pearson": _pearson, "spearman": _spearman, "kendall": _kendall}
    for name in kinds:
        of = functions[name]
        found[name] = percentile_interval(of(a, b), [of(a[index], b[index]) for index in draws], confidence)
    return found


def finite_pairs(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of x (N,) and y (N,) of which both are finite, float64.

    Raises:
        ValueError: shapes that differ.
    """
    a, b = (np.asarray(each, np.float64).ravel() for each in (x, y))
    if a.shape != b.shape:
        raise ValueError(f"x {a.shape} and y {b.shape} must hold one number a model each")
    known = np.isfinite(a) & np.isfinite(b)
    return a[known], b[known]


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return _pearson(scipy.stats.rankdata(a), scipy.stats.rankdata(b))


def _kendall(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    upper = np.triu_indices(len(a), 1)
    first, second = (np.sign(each[:, None] - each[None, :])[upper] for each in (a, b))
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))
