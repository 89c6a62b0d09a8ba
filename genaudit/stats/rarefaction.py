"""How many different items would fewer, or more, draws show? For draws of any law.

Rarefaction (Hurlbert 1971) is the mean number of distinct items in a random subset of the draws: unbiased for what so
many draws of the same law show, whatever the law. What was not seen is estimated from the items seen once and twice:
Chao's lower bound of the support (Chao 1984), the share of the law that the seen items carry (sample coverage, Good
1953 in the form of Chao and Jost 2012). The law itself is a mixture of Poisson rates, by maximum likelihood.

n draws, c_i how often item i is drawn, k distinct items, f_j items drawn j times, m draws of a subset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from genaudit.stats.estimate import Estimate

# The mixture of rates: from a hundredth of a draw to 1.5 times the largest count, in steps of some 15 %.
LEAST_RATE, GRID, EM_STEPS = 0.01, 64, 200


def counts_of(indices: Any) -> np.ndarray:
    """How often each retrieved item is retrieved, (k,) int64, from the items' indices (n,)."""
    return np.unique(np.asarray(indices), return_counts=True)[1].astype(np.int64)


def inclusion(counts: Any, draws: int, size: Any) -> np.ndarray:
    """P(an item that c of `draws` draws show is among `size` random ones of them), for c and size that broadcast.

    1 - C(n - c, m)/C(n, m), linear in m between whole numbers: a subset of 37.5 draws has 37 or 38, equally often.
    """
    c, m = np.asarray(counts, np.float64), np.asarray(size, np.float64)
    below = np.floor(m)
    part = m - below
    low = _whole_inclusion(c, draws, below)
    return low if not part.any() else low + part * (_whole_inclusion(c, draws, np.minimum(below + 1, draws)) - low)


def _whole_inclusion(c: np.ndarray, draws: int, m: np.ndarray) -> np.ndarray:
    left = draws - c - m
    log_missed = (
        scipy.special.gammaln(draws - c + 1)
        + scipy.special.gammaln(draws - m + 1)
        - scipy.special.gammaln(np.maximum(left, 0.0) + 1)
        - scipy.special.gammaln(draws + 1.0)
    )
    return np.where(left < 0, 1.0, -np.expm1(np.minimum(log_missed, 0.0)))


def rarefied(counts: np.ndarray, sizes: Any) -> np.ndarray:
    """Mean distinct items in a random subset of m of the n draws, for each m in `sizes` (P,), 0 <= m <= n.

    >>> rarefied(np.array([1, 1, 2]), [1, 4]).round(9).tolist()
    [1.0, 3.0]
    """
    times, items = np.unique(counts, return_counts=True)
    sizes = np.atleast_1d(np.asarray(sizes, np.float64))
    draws = int(counts.sum())
    if sizes.size and (sizes.min() < 0 or sizes.max() > draws):
        raise ValueError(f"sizes must lie between 0 and the {draws} draws")
    return np.asarray((inclusion(times, draws, sizes[:, None]) * items).sum(1))


def sample_coverage(counts: np.ndarray) -> float:
    """Estimated share of the law that the drawn items carry, in [0, 1] (Chao and Jost 2012, Eq. 4a).

    1 - f_1/n ((n - 1) f_1 / ((n - 1) f_1 + 2 f_2)); 0 where every draw is new and nothing says more.
    """
    n, once, twice = int(counts.sum()), int((counts == 1).sum()), int((counts == 2).sum())
    if once == 0:
        return 1.0
    if once == n:
        return 0.0
    # Without a doubleton the bias-corrected form stands in, as in `unseen`.
    odds = (n - 1) * once / ((n - 1) * once + 2 * twice) if twice else (n - 1) * (once - 1) / ((n - 1) * (once - 1) + 2)
    return 1 - once / n * odds


def unseen(counts: np.ndarray) -> float:
    """Chao's (1984) lower bound of the number of items that were not drawn, in expectation, bias-corrected form.

    (n - 1)/n f_1 (f_1 - 1)/(2 (f_2 + 1)): no more items exist on average than this adds, fewer never.
    """
    n, once, twice = int(counts.sum()), int((counts == 1).sum()), int((counts == 2).sum())
    return (n - 1) / n * once * (once - 1) / (2 * (twice + 1))


def chao1(counts: np.ndarray, *, confidence: float = 0.95) -> Estimate:
    """Support of an uneven law from n draws, in items: k plus Chao's bound of the unseen (Chao 1984).

    The interval is Chao's (1987), log-normal in the unseen, so that it never lies below k. For an even law the
    estimate is unbiased to first order; for an uneven one its mean lies below the support.
    """
    n, k = int(counts.sum()), len(counts)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    missing = unseen(counts)
    if missing <= 0:
        return Estimate(k, k, k)
    a = (n - 1) / n
    variance = (
        a * once * (once - 1) / (2 * (twice + 1))
        + a**2 * once * (2 * once - 1) ** 2 / (4 * (twice + 1) ** 2)
        + a**2 * once**2 * twice * (once - 1) ** 2 / (4 * (twice + 1) ** 4)
    )
    z = float(scipy.special.ndtri((1 + confidence) / 2))
    spread = float(np.exp(z * np.sqrt(np.log1p(variance / missing**2))))
    return Estimate(k + missing, k + missing / spread, k + missing * spread)


@dataclass(frozen=True)
class Law:
    """A law over items: `items` (C,) of them have probability `probability` (C,) each; they sum to 1."""

    probability: np.ndarray
    items: np.ndarray

    @classmethod
    def even(cls, n_items: int) -> Law:
        return cls(np.array([1 / n_items]), np.array([float(n_items)]))

    @classmethod
    def estimated(cls, counts: np.ndarray, n_items: int) -> Law:
        """The law behind the draws: the mixture of Poisson rates that makes the counts of all items likeliest.

        Nonparametric maximum likelihood (Laird 1978) over a grid of rates, by EM; items that were not drawn count as
        zeros, so that `n_items` bounds the support.

        Args:
            counts: how often each drawn item is drawn, (k,).
            n_items: how many items there are, k or more.
        """
        times, items = np.unique(np.append(counts, 0), return_counts=True)
        items = items.astype(float)
        items[0] = n_items - len(counts)
        rates = np.append(0.0, np.geomspace(LEAST_RATE, max(1.5 * float(times[-1]), 2.0), GRID))
        # log P(count | rate); (counts, rates).
        logs = scipy.special.xlogy(times[:, None], rates) - rates - scipy.special.gammaln(times[:, None] + 1)
        likelihood = np.exp(logs)
        weights = np.full(len(rates), 1 / len(rates))
        for _ in range(EM_STEPS):
            joint = likelihood * weights
            weights = items @ (joint / joint.sum(1, keepdims=True)) / n_items
        rates, number = rates[1:], n_items * weights[1:]
        return cls(rates / float((rates * number).sum()), number)

    def distinct(self, draws: float, *, share: float = 1.0) -> CountMoments:
        """Moments of the distinct items that `draws` draws show, the law restricted to a random share of its items.

        Each item stays with probability `share`, and what stays is drawn 1/share times as often: the mean is
        share F(draws/share), F the law's own curve. The variance is conditional on the number of draws: counts are
        independent Poisson variables, and the regression on their sum is taken out (slope, new items per draw).
        """
        rate = draws * self.probability / share
        seen, empty = -np.expm1(-rate), np.exp(-rate)
        slope = float((self.items * self.probability * empty).sum())
        # u = 1[c > 0] - slope c, whose sum over items is K - slope n.
        mean_u = seen - slope * rate
        square_u = seen - 2 * slope * rate + slope**2 * (rate + rate**2)
        variance = self.items * (share * square_u - share**2 * mean_u**2)
        return CountMoments(float((self.items * share * seen).sum()), float(max(variance.sum(), 0.0)), slope)


@dataclass(frozen=True)
class CountMoments:
    """Mean and variance of a number of distinct items; `slope` is how many new ones the next draw shows."""

    mean: float
    variance: float
    slope: float


def relative_distinct(generated: Any, real: Any, n_items: int, *, confidence: float = 0.95) -> Estimate:
    """Distinct items of one list relative to equally many of another, with its interval.

    Both counts are rarefied to the smaller number, so that neither is favoured by its size. The interval is log-normal,
    with each count's variance from the law that its own list shows (`Law.estimated`); the longer list, averaged over
    subsets, varies less in proportion.

    Args:
        generated: (n,) the items that generated images retrieve; real: (M,) the same of held-out real images.
        n_items: how many items can be retrieved.
        confidence: of the two-sided interval.

    Returns:
        the ratio; 1: as diverse as real images. NaN from a single image of either.
    """
    size = min(len(generated), len(real))
    if size < 2:
        return Estimate(float("nan"))
    means, relative_variance = [], 0.0
    for indices in (generated, real):
        counts = counts_of(indices)
        means.append(float(rarefied(counts, [size])[0]))
        variance = Law.estimated(counts, n_items).distinct(size).variance * size / len(indices)
        relative_variance += variance / means[-1] ** 2
    ratio = means[0] / means[1]
    factor = float(np.exp(scipy.special.ndtri((1 + confidence) / 2) * np.sqrt(relative_variance)))
    return Estimate(ratio, ratio / factor, ratio * factor)


def first(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The first integer in low .. high at which `holds`, which stays true from there on; None where none does."""
    if high < low or not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
