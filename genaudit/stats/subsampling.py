"""How a statistic of sets of images varies over new images in the same numbers, from random parts of the sets.

A bootstrap repeats images, and a repeated image has a neighbour at distance 0: nearest neighbours, balls and whatever
is built on them are wrong in every repeat. Random parts of each set, drawn without replacement, repeat nothing. With
the share f of each set's images (delete-d jackknife, Shao and Wu 1989)

    variance of T at N images  =  f / (1 - f) * variance of T over random parts of f N images

which is exact for means. Where images act together it is above the variance (Efron and Stein 1981), the more the
nearer f is to 1; where f is small, a statistic of neighbourhoods is another one than that of all images.
f = 3/4 held the truth in all simulated cases (`scripts/interval_coverage.py`) and is at times on the wide side.
Parts of half of the images show how the value moves with their number. N images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from genaudit.stats.estimate import Estimate, wilson_interval

SHARE = 0.75
REPEATS = 60  # parts: the error of a standard error is then about 1/sqrt(2·59) = 9 %
HALVES = 8  # parts of half of the images, for the value at half of them
LEAST = 10  # images of a set: with fewer there is no interval


@dataclass(frozen=True)
class Spread:
    """A value over random parts of the sets.

    Attributes:
        error: standard error at all images; NaN where there is none.
        mean: over the parts behind the error. at_half: mean at half of the images; NaN where it was not asked for.
    """

    error: float
    mean: float
    at_half: float = float("nan")


NOTHING = Spread(float("nan"), float("nan"))


def over_parts(
    statistic: Callable[..., Mapping[str, float]],
    sizes: Mapping[str, int],
    *,
    share: float = SHARE,
    repeats: int = REPEATS,
    halves: int = HALVES,
    seed: int = 0,
) -> dict[str, Spread]:
    """Standard errors of a statistic's values over new images of every set that `sizes` names.

    Args:
        statistic: called with one boolean mask (N,) a set, by keyword: the images that are kept; returns numbers by
            name (NaN where there is none: left out).
        sizes: the numbers of images by set.
        share: of the images in a part. repeats, halves: parts of that share, and of half of the images.
        seed: of the parts.

    Returns:
        by the names that `statistic` returns; no error where a set has fewer than `LEAST` images or fewer than half
        of the parts have a number.

    >>> x = np.arange(100.0)
    >>> error = over_parts(lambda kept: {"mean": x[kept].mean()}, {"kept": 100}, repeats=2000)["mean"].error
    >>> bool(abs(error / (x.std(ddof=1) / 10) - 1) < 0.06)
    True
    """
    rng = np.random.default_rng(seed)

    def drawn(share: float, count: int) -> dict[str, np.ndarray]:
        parts = [dict(statistic(**{name: _part(rng, n, share) for name, n in sizes.items()})) for _ in range(count)]
        return {key: np.array([each[key] for each in parts]) for key in (parts[0] if parts else ())}

    enough = min(sizes.values()) >= LEAST
    kept = np.mean([max(round(share * n), 1) / n for n in sizes.values()])  # of the numbers as rounded
    half = drawn(0.5, halves) if enough else {}
    result = {}
    for key, values in drawn(share, repeats if enough else 1).items():
        known = values[np.isfinite(values)]
        error = mean = at_half = float("nan")
        if enough and 2 * len(known) >= repeats:
            error, mean = float(np.sqrt(kept / (1 - kept)) * known.std(ddof=1)), float(known.mean())
        if key in half and np.isfinite(half[key]).any():
            at_half = float(np.nanmean(half[key]))
        result[key] = Spread(error, mean, at_half)
    return result


def _part(rng: np.random.Generator, size: int, share: float) -> np.ndarray:
    kept = np.zeros(size, bool)
    kept[rng.permutation(size)[: max(round(share * size), 1)]] = True
    return kept


def quantile(confidence: float, repeats: int = REPEATS) -> float:
    """Student's two-sided quantile for an error from as many parts."""
    return float(scipy.special.stdtrit(repeats - 1, 0.5 + confidence / 2))


def normal_interval(
    value: float, spread: Spread, confidence: float, *, low: float = -np.inf, high: float = np.inf
) -> Estimate:
    """The value plus and minus its error, within [low, high]; no ends where there is no error, or it is 0."""
    if not (np.isfinite(spread.error) and spread.error > 0):
        return Estimate(value)
    width = quantile(confidence) * spread.error
    return Estimate(value, max(value - width, low), min(value + width, high))


def positive_interval(value: float, spread: Spread, confidence: float) -> Estimate:
    """As `normal_interval` on the logarithm, for values above 0."""
    if not (np.isfinite(spread.error) and spread.error > 0 and value > 0 and spread.mean > 0):
        return Estimate(value)
    factor = float(np.exp(quantile(confidence) * spread.error / spread.mean))
    return Estimate(value, value / factor, value * factor)


def share_interval(share: float, spread: Spread, n: int, confidence: float) -> Estimate:
    """A share with Wilson's interval for as many trials as have this error; n trials where the share is 0 or 1.

    The error belongs to the parts' mean share; at another share it is smaller or larger as sqrt(p (1 - p)).
    """
    if not np.isfinite(spread.error):
        return Estimate(share)
    within = spread.mean * (1 - spread.mean)
    trials = within / spread.error**2 if within > 0 and spread.error > 0 and 0 < share < 1 else float(n)
    trials *= (scipy.special.ndtri(0.5 + confidence / 2) / quantile(confidence)) ** 2
    return Estimate(share, *wilson_interval(share * trials, trials, confidence).ends)


def cut_interval(of_uncut: Estimate, error: float, most: float) -> Estimate:
    """The interval of E min(X, most) that one of E X says, for a value X that is reported cut at `most`.

    The cut lowers the expectation where X scatters about `most`: of a normal X of mean m and standard deviation s

        E min(X, c) = m - (m - c) P(Z < t) - s p(t),  t = (m - c) / s,  p and Z of the standard normal law

    which rises with m, so that ends go through it. It holds the value itself, also one that is `most`.

    >>> cut_interval(Estimate(1.0, 0.9, 1.1), 0.05, 1.0).map(lambda end: round(end, 4))
    Estimate(1.0, 0.8996, 1.0)
    """
    value = min(of_uncut.value, most)
    if of_uncut.lower is None or of_uncut.upper is None:
        return Estimate(value)

    def expected(mean: float) -> float:
        if error == 0:
            return min(mean, most)
        t = (mean - most) / error
        return float(mean - (mean - most) * scipy.special.ndtr(t) - error * np.exp(-t * t / 2) / np.sqrt(2 * np.pi))

    return Estimate(value, min(expected(of_uncut.lower), value), max(expected(of_uncut.upper), value))


def neighbours_for(k: int) -> int:
    """How many neighbours must be listed for the k-th among a half to be one of them but once in a thousand times."""
    return 2 * k + int(np.ceil(4 * np.sqrt(2 * k)))


def kth_kept(listed: np.ndarray, kept: np.ndarray, k: int) -> np.ndarray:
    """The place (N,) in each row of `listed` (N, K), indices of neighbours, of its k-th one that is kept.

    The last place where fewer than k of the listed ones are kept.
    """
    counts = np.cumsum(kept[listed], axis=1)
    places: np.ndarray = np.minimum((counts < k).sum(axis=1), listed.shape[1] - 1)
    return places
