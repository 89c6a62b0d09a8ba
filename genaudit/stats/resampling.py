"""Intervals that the metrics share: the percentile bootstrap with a seed, and Wilson's for a proportion.

N images, B bootstrap repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import ndtri

from genaudit.stats.bounds import probability
from genaudit.stats.estimate import Estimate

LEAST = 10  # images of a set: with fewer a bootstrap's interval is too narrow, and there is none


def percentile_interval(value: float, repeats: Any, confidence: float = 0.95) -> Estimate:
    """`value` with the central `confidence` share of its `repeats` (B,); NaN repeats are left out.

    >>> percentile_interval(2.0, [1.0, 2.0, 3.0], confidence=0.5)
    Estimate(2.0, 1.5, 2.5)
    """
    probability("confidence", confidence)
    kept = np.asarray(repeats, np.float64).ravel()
    kept = kept[~np.isnan(kept)]
    if kept.size == 0:
        return Estimate(value)
    lower, upper = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(lower), float(upper))


def bootstrap_indices(sizes: Any, *, repeats: int = 1000, seed: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
    """`repeats` times one index array a sample, drawn with replacement from `sizes` = (N1, N2, ...)."""
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        yield tuple(generator.integers(0, size, size) for size in sizes)


def bootstrap(
    statistic: Callable[..., float], *samples: Any, repeats: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """`statistic(*samples)` with its percentile bootstrap, each sample's rows resampled with replacement on their own.

    Args:
        statistic: takes as many arrays as there are samples, returns a number (NaN is left out).
        samples: arrays with the images along the first axis; held in memory.
        repeats: B; the ends of a 95 % interval then rest on B/40 repeats each.
        seed: the same seed gives the same interval.

    Returns:
        the statistic with its interval; none where a sample has fewer than `LEAST` rows.
    """
    arrays = [np.asarray(sample) for sample in samples]
    value = float(statistic(*arrays))
    if min(map(len, arrays)) < LEAST:
        return Estimate(value)
    draws = bootstrap_indices([len(array) for array in arrays], repeats=repeats, seed=seed)
    repeated = [statistic(*(array[index] for array, index in zip(arrays, drawn, strict=True))) for drawn in draws]
    return percentile_interval(value, repeated, confidence)


def bootstrap_mean(
    values: Any, *, repeats: int = 1000, confidence: float = 0.95, seed: int = 0, median: bool = False
) -> Estimate:
    """Mean (or median) of `values` (N,), NaN left out, with its percentile bootstrap; no interval below `LEAST` values.

    NaN where all values are.
    """
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[~np.isnan(kept)]
    reduce = np.median if median else np.mean
    value = float(reduce(kept)) if kept.size else float("nan")
    if kept.size < LEAST:
        return Estimate(value)
    draws = bootstrap_indices((kept.size,), repeats=repeats, seed=seed)
    return percentile_interval(value, [reduce(kept[index]) for (index,) in draws], confidence)


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Estimate:
    """A proportion `successes / n` with Wilson's score interval (Wilson 1927).

    Solves `|p - x| = z sqrt(x (1 - x) / n)` for x; within [0, 1], and not empty at p = 0 or 1. Numbers of trials need
    not be whole, as effective ones are not: `scipy.stats.binomtest` takes whole ones only.

    Raises:
        ValueError: n <= 0, or successes outside [0, n].
    """
    probability("confidence", confidence)
    if not n > 0 or not 0 <= successes <= n:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    share = successes / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    lower = 0.0 if successes == 0 else float(middle - half)
    upper = 1.0 if successes == n else float(middle + half)
    return Estimate(share, lower, upper)
