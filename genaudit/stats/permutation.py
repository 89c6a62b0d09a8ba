"""Do two sets of images differ in a statistic? A test by relabelling.

Under the hypothesis that both sets are draws of one law, any relabelling of the pooled images is as likely as the one
at hand, so that the difference of a statistic of the two sets is one of its differences over relabellings, whatever
the statistic and however it depends on the numbers of images, which stay as they are. What both are compared with (a
reference, training images) is shared and not relabelled. N and M images, R relabellings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import special

REPEATS = 40  # relabellings of a pair


def relabelling_pvalues(
    statistic: Callable[[Any], Mapping[str, float]],
    x: np.ndarray,
    y: np.ndarray,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, float]:
    """Two-sided p-values of the difference of each value that `statistic` gives of x (N, D) and of y (M, D).

    With z the observed difference in standard deviations of those of R relabellings about their mean, Student's t with
    R - 1 degrees of freedom: few relabellings are enough for small p-values, where a count would be 1/(1 + R) at least.

    Args:
        statistic: numbers by name of a set of rows; NaN where there is none.
        repeats: R, 10 or more. seed: of the relabellings.

    Returns:
        the p-values by name; NaN where a value is missing. Where no relabelling changes the difference: 1 if it is 0,
        else 0.
    """
    if repeats < 10:
        raise ValueError(f"repeats must be 10 or more, got {repeats}")
    rng = np.random.default_rng(seed)
    pooled, n = np.concatenate([x, y]), len(x)

    def difference(order: np.ndarray) -> dict[str, float]:
        first, second = statistic(pooled[order[:n]]), statistic(pooled[order[n:]])
        return {name: first[name] - second[name] for name in first if name in second}

    observed = difference(np.arange(len(pooled)))
    null = [difference(rng.permutation(len(pooled))) for _ in range(repeats)]
    found = {}
    for name, value in observed.items():
        drawn = np.array([each.get(name, float("nan")) for each in null])
        if not (np.isfinite(drawn).all() and np.isfinite(value)):
            found[name] = float("nan")
            continue
        spread = float(drawn.std(ddof=1)) * np.sqrt(1 + 1 / repeats)
        away = abs(value - float(drawn.mean()))
        if spread <= 1e-12 * max(abs(value), abs(float(drawn.mean())), 1e-300):
            found[name] = 1.0 if away <= 1e-12 else 0.0
        else:
            found[name] = float(2 * special.stdtr(repeats - 1, -away / spread))
    return found
