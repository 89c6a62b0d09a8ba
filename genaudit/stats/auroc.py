"""Area under the receiver operating characteristic, by ranks (the Mann-Whitney statistic).

P positives, Q negatives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata


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
    positive = np.asarray(scores_positive, np.float64).ravel()
    negative = np.asarray(scores_negative, np.float64).ravel()
    if positive.size == 0 or negative.size == 0:
        raise ValueError("auroc needs at least one positive and one negative score")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise ValueError("auroc got NaN: scores must be numbers")
    ranks = rankdata(np.concatenate([positive, negative]))
    # Ranks are halves of integers, so the sum is exact up to 2^52.
    wins = ranks[: positive.size].sum() - positive.size * (positive.size + 1) / 2
    return float(wins / (positive.size * negative.size))
