"""Intervals that the metrics share: the percentile bootstrap with a seed, and Wilson's for a proportion.

N images, B bootstrap repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

LEAST = 10  # images of a set: with fewer a bootstrap's interval is too narrow, and there is none


class Interval(NamedTuple):
    """The ends of a two-sided interval; NaN where there is none."""

    lower: float
    upper: float


NO_INTERVAL = Interval(float("nan"), float("nan"))


def percentile_interval(values: Any, confidence: float = 0.95) -> Interval:
    """The central `confidence` share of `values` (B,); NaN values are left out."""
    _check(confidence)
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[~np.isnan(kept)]
    if kept.size == 0:
        return NO_INTERVAL
    lower, upper = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(lower), float(upper))


def bootstrap_indices(sizes: Any, *, repeats: int = 1000, seed: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
    """`repeats` times one index array a sample, drawn with replacement from `sizes` = (N1, N2, ...)."""
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        yield tuple(generator.integers(0, size, size) for size in sizes)


def bootstrap(
    statistic: Callable[..., float], *samples: Any, repeats: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap of `statistic(*samples)`, each sample's rows resampled with replacement on their own.

    Args:
        statistic: takes as many arrays as there are samples, returns a number (NaN is left out).
        samples: arrays with the images along the first axis; held in memory.
        repeats: B; the ends of a 95 % interval then rest on B/40 repeats each.
        seed: the same seed gives the same interval.

    Returns:
        the interval; none (NaN) where a sample has fewer than `LEAST` rows.
    """
    arrays = [np.asarray(sample) for sample in samples]
    if min(map(len, arrays)) < LEAST:
        return NO_INTERVAL
    draws = bootstrap_indices([len(array) for array in arrays], repeats=repeats, seed=seed)
    values = [statistic(*(array[index] for array, index in zip(arrays, drawn, strict=True))) for drawn in draws]
    return percentile_interval(values, confidence)


def bootstrap_mean(
    values: Any, *, repeats: int = 1000, confidence: float = 0.95, seed: int = 0, median: bool = False
) -> Interval:
    """Percentile bootstrap of the mean (or median) of `values` (N,), NaN values left out first; none below `LEAST`."""
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[~np.isnan(kept)]
    if kept.size < LEAST:
        return NO_INTERVAL
    reduce = np.median if median else np.mean
    draws = bootstrap_indices((kept.size,), repeats=repeats, seed=seed)
    return percentile_interval([reduce(kept[index]) for (index,) in draws], confidence)


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion `successes / n` (Wilson 1927).

    Solves `|p - x| = z sqrt(x (1 - x) / n)` for x; within [0, 1], and not empty at p = 0 or 1.

    Raises:
        ValueError: n <= 0, or successes outside [0, n].
    """
    _check(confidence)
    if not n > 0 or not 0 <= successes <= n:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    share = successes / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    lower = 0.0 if successes == 0 else float(middle - half)
    upper = 1.0 if successes == n else float(middle + half)
    return Interval(lower, upper)


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
