"""A number with its interval: the one type of every estimate, the percentile bootstrap with a seed, Wilson's interval.

N images, B bootstrap repeats.

>>> recall = Estimate(0.62, 0.55, 0.68)
>>> recall > 0.5, recall.lower
(True, 0.55)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy

from genaudit.stats.bounds import probability

LEAST = 10  # images of a set: with fewer a bootstrap's interval is too narrow, and there is none


class Estimate(float):
    """A float that knows the ends of its interval; arithmetic takes the value alone and gives plain floats.

    It is compared, hashed and printed in a sentence as its value; `repr` shows the ends.

    Attributes:
        lower, upper: the ends; None where nothing bounds the value on that side (an end given as NaN is None too).
    """

    __slots__ = ("lower", "upper")
    lower: float | None
    upper: float | None

    def __new__(cls, value: float, lower: float | None = None, upper: float | None = None) -> Estimate:
        made = super().__new__(cls, value)
        made.lower, made.upper = _end(lower), _end(upper)
        return made

    @property
    def value(self) -> float:
        """The number alone."""
        return float(self)

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Lower and upper end."""
        return self.lower, self.upper

    def holds(self, number: float) -> bool:
        """Whether a number lies within the interval, its ends included; an end that is None bounds nothing."""
        return (self.lower is None or self.lower <= number) and (self.upper is None or number <= self.upper)

    def map(self, increasing: Callable[[float], float]) -> Estimate:
        """The estimate of an increasing function of the value: the function of the value and of each end.

        >>> Estimate(30.0, 20.0).map(lambda number: number / 40)
        Estimate(0.75, 0.5, None)
        """
        ends = (None if end is None else increasing(end) for end in self.ends)
        return Estimate(increasing(self.value), *ends)

    def __repr__(self) -> str:
        return f"Estimate({self.value!r}, {self.lower!r}, {self.upper!r})"

    __str__ = float.__repr__  # in a sentence an estimate is its number

    def __getnewargs__(self) -> Any:  # copies and pickles keep the ends
        return self.value, self.lower, self.upper


def _end(number: float | None) -> float | None:
    """NaN is no end."""
    return None if number is None or number != number else float(number)


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
    z2 = float(scipy.special.ndtri((1 + confidence) / 2)) ** 2
    share = successes / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    lower = 0.0 if successes == 0 else float(middle - half)
    upper = 1.0 if successes == n else float(middle + half)
    return Estimate(share, lower, upper)
