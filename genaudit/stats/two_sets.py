"""Tests of two sets of images: the difference of a quantity's means, any statistic by relabelling, many tests at once.

M generated images, N reference images; K tests.

Relabelling: under the hypothesis that both sets are draws of one law, any relabelling of the pooled images is as likely
as the one at hand, so that the difference of a statistic of the two sets is one of its differences over relabellings,
whatever the statistic and however it depends on the numbers of images, which stay as they are. What both are compared
with (a reference, training images) is shared and not relabelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

REPEATS = 40  # relabellings of a pair


@dataclass(frozen=True)
class Contrast:
    """One quantity in both sets: means, Welch's t-test, a permutation test of the means, and effect sizes.

    `p_two_sided` as in Hwang et al. 2024, Table C.1; `p_one_sided` as in Table E.1, against the alternative that
    `expected` names, whatever the data show. `hedges_g` is the difference generated minus reference in pooled standard
    deviations, `superiority` the chance that a generated image's value exceeds a reference image's (0.5: none).
    """

    mean_generated: float
    mean_reference: float
    expected: str
    t: float
    degrees_of_freedom: float
    p_two_sided: float
    p_one_sided: float
    p_permutation_two_sided: float
    p_permutation_one_sided: float
    hedges_g: float
    superiority: float


def contrast(fake: np.ndarray, real: np.ndarray, expected: str, permutations: int, seed: int) -> Contrast:
    """Tests of one quantity, (M,) generated against (N,) reference; `expected` is "generated lower" or "higher"."""
    m, n = len(fake), len(real)
    difference = fake.mean() - real.mean()
    superiority = float(scipy.stats.mannwhitneyu(fake, real).statistic) / (m * n)
    ratio = ((m - 1) * fake.var(ddof=1) + (n - 1) * real.var(ddof=1)) / (m + n - 2)
    means = float(fake.mean()), float(real.mean()), expected
    if ratio == 0:  # two constants: no test
        nan = float("nan")
        return Contrast(*means, nan, nan, nan, nan, nan, nan, nan, superiority)
    welch = scipy.stats.ttest_ind(fake, real, equal_var=False)
    sign = 1 if expected == "generated higher" else -1
    one_sided = float(scipy.stats.t.sf(sign * welch.statistic, welch.df))
    pooled = np.concatenate([fake, real])
    total = pooled.sum()
    generator = np.random.default_rng(seed)
    sums = np.array([generator.permutation(pooled)[:m].sum() for _ in range(permutations)])
    null = sums / m - (total - sums) / n
    slack = 1e-12 * np.abs(pooled).max()  # equal differences may differ in the last bits of their sums
    two = (1 + int((np.abs(null) >= abs(difference) - slack).sum())) / (1 + permutations)
    one = (1 + int((sign * null >= sign * difference - slack).sum())) / (1 + permutations)
    unbiased = 1 - 3 / (4 * (m + n) - 9)  # Hedges 1981
    return Contrast(
        *means,
        t=float(welch.statistic),
        degrees_of_freedom=float(welch.df),
        p_two_sided=float(welch.pvalue),
        p_one_sided=one_sided,
        p_permutation_two_sided=two,
        p_permutation_one_sided=one,
        hedges_g=float(difference / np.sqrt(ratio) * unbiased),
        superiority=superiority,
    )


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
            found[name] = float(2 * scipy.special.stdtr(repeats - 1, -away / spread))
    return found


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
