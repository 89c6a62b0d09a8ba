"""A correction for many tests at once: Holm (1979), which holds whatever the tests have to do with one another."""

from __future__ import annotations

from typing import Any

import numpy as np


def holm(pvalues: Any) -> np.ndarray:
    """Holm's adjusted p-values (K,): the chance that any true hypothesis has one of at most a is at most a.

    The i-th smallest of K is multiplied by K - i + 1, no less than those before it and no more than 1. NaN stands for
    no test: it stays, and is not counted.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(pvalues, np.float64)
    adjusted = np.full(given.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1.0)
    return adjusted
