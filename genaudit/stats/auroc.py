"""Area under the receiver operating characteristic, by ranks (the Mann-Whitney statistic), its interval, the curve.

P positives, Q negatives, U different values among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.stats.estimate import LEAST, Estimate, bootstrap_indices, percentile_interval, wilson_interval


def auroc(scores_positive: Any, scores_negative: Any) -> float:
    """The probability that a positive scores above a negative, ties counting half.

    `U / (P Q)` with `U = sum of the positives' mid-ranks - P (P + 1) / 2`. 0.5 is chance, 1 is perfect.

    Args:
        scores_positive: (P,), higher means more positive; infinities are ordered like any other value.
        scores_negative: (Q,)

    Raises:
        ValueError: an empty side, or NaN.

    >>> auroc([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    positive, negative = _checked(scores_positive, scores_negative)
    # Scores of a density model may be infinite. scikit-learn's roc_auc_score refuses them, and SciPy's rankdata takes
    # infinities of both signs for NaN in 1.11; NumPy sorts them. The tests compare with scikit-learn on finite scores.
    _, place, counts = np.unique(np.concatenate([positive, negative]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    # Ranks are halves of integers, so the sum is exact up to 2^52.
    wins = ranks[: positive.size].sum() - positive.size * (positive.size + 1) / 2
    return float(wins / (positive.size * negative.size))


def auroc_interval(
    scores_positive: Any, scores_negative: Any, *, repeats: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """`auroc` with its percentile bootstrap, positives and negatives resampled on their own, as `resampling.bootstrap`.

    Ends as in `area_interval`.
    """
    areas = bootstrap_areas(scores_positive, scores_negative, repeats=repeats, seed=seed)
    area = auroc(scores_positive, scores_negative)
    return area_interval(area, areas, min(np.size(scores_positive), np.size(scores_negative)), confidence)


def area_interval(area: float, areas: np.ndarray, smaller: int, confidence: float = 0.95) -> Estimate:
    """An area with its interval from resamplings (B,); `smaller` is the number of scores of the smaller side.

    None where a side has fewer than `LEAST` scores. Where the sides do not overlap, every resampling is 0 or 1:
    then it is Wilson's for as many trials as the smaller side has, since the variance of the estimate is at most
    a (1 - a) / min(P, Q) (Birnbaum and Klose 1957).
    """
    if smaller < LEAST:
        return Estimate(area)
    if np.ptp(areas) == 0 and areas[0] in (0.0, 1.0):
        return wilson_interval(float(areas[0]) * smaller, smaller, confidence)
    return percentile_interval(area, areas, confidence)


def bootstrap_areas(scores_positive: Any, scores_negative: Any, *, repeats: int = 1000, seed: int = 0) -> np.ndarray:
    """`auroc` of `repeats` resamplings of both sides, (B,).

    The same images are drawn for every score of the same images with the same seed, so that differences of two scores'
    areas can be judged. The values are sorted once; a repeat only counts how often each was drawn: O(P + Q).
    """
    positive, negative = _checked(scores_positive, scores_negative)
    values, place = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    of_positive, of_negative = place[: positive.size], place[positive.size :]
    areas = []
    for drawn_positive, drawn_negative in bootstrap_indices([positive.size, negative.size], repeats=repeats, seed=seed):
        wins = np.bincount(of_positive[drawn_positive], minlength=values.size)
        losses = np.bincount(of_negative[drawn_negative], minlength=values.size)
        below = np.cumsum(losses) - losses / 2
        areas.append(wins @ below / (positive.size * negative.size))
    return np.array(areas)


def roc(scores_positive: Any, scores_negative: Any, at: Any) -> np.ndarray:
    """True positive rate where the false positive rate is `at` (G,), in [0, 1]; the area under it is `auroc`.

    Between two thresholds the curve is a straight line (ties are broken at random there); where it is vertical, its
    upper end counts.

    Raises:
        ValueError: as for `auroc`.

    >>> roc([2.0, 3.0], [1.0, 2.0], [0.0, 0.25, 0.5, 1.0]).tolist()
    [0.5, 0.75, 1.0, 1.0]
    """
    positive, negative = _checked(scores_positive, scores_negative)
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    true, false = (
        np.r_[0, side.size - np.searchsorted(np.sort(side), thresholds)] / side.size for side in (positive, negative)
    )
    last = np.r_[np.flatnonzero(np.diff(false)), false.size - 1]  # the upper end of each vertical piece
    first = np.r_[0, last[:-1] + 1]  # its lower end, where the line from the left arrives
    grid = np.asarray(at, np.float64)
    right = np.searchsorted(false[last], grid)  # the first vertical piece at or beyond the wanted rate
    right = np.minimum(right, last.size - 1)
    left = np.maximum(right - 1, 0)
    x0, y0, x1, y1 = false[last[left]], true[last[left]], false[first[right]], true[first[right]]
    share = np.divide(grid - x0, x1 - x0, out=np.ones_like(grid), where=x1 > x0)
    exact = false[last[right]] == grid
    curve: np.ndarray = np.where(exact, true[last[right]], y0 + share * (y1 - y0))
    return curve


def _checked(scores_positive: Any, scores_negative: Any) -> tuple[np.ndarray, np.ndarray]:
    positive = np.asarray(scores_positive, np.float64).ravel()
    negative = np.asarray(scores_negative, np.float64).ravel()
    if positive.size == 0 or negative.size == 0:
        raise ValueError("auroc needs at least one positive and one negative score")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise ValueError("auroc got NaN: scores must be numbers")
    return positive, negative
