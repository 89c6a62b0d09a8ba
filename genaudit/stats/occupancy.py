"""The occupancy distribution: how many distinct items n uniform draws from s items show.

The law behind the image retrieval score (Dombrowski et al., CVPR 2025, Eqs. 4 to 9): with S2 the Stirling numbers of
the second kind,

    P(K = k) = S2(n, k) s! / ((s - k)! s^n),        k = 1 .. min(n, s).

The paper approximates S2; here it is exact to rounding (`occupancy_law` says how). K is a sum of independent Bernoulli
variables, so its probabilities are log-concave: tails fall at least geometrically and sums over a band of some standard
deviations are complete.

n draws, s items (the support), k distinct items.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from genaudit.stats.bounds import positive_int, probability
from genaudit.stats.estimate import Estimate
from genaudit.stats.occupancy_law import Band

WIDTH = 12.0  # standard deviations: e^-72 of a normal law, and a relative 1e-17 of a tail sum
# Probabilities carry relative errors up to 1e-9. One that is equal to alpha but for that is not below it.
EQUAL = 1e-10


# The number of distinct items behind the draws: maximum likelihood, and one-sided bounds at level alpha each. Whole
# numbers as floats; `inf` where nothing bounds them, NaN where nothing identifies them.
SupportEstimate = Estimate


def pmf(k: Any, n: int, s: int) -> np.ndarray:
    """P(K = k), for k of any shape; 0 outside 1 .. min(n, s). Relative error below 1e-9 where above 1e-12.

    >>> round(float(pmf(2, 3, 2)), 12)
    0.75
    """
    n, s = _counts(n, s)
    k = np.asarray(k)
    flat = k.ravel()
    out = np.zeros(flat.shape)
    valid = (flat >= 1) & (flat <= min(n, s)) & (flat == np.floor(flat))
    if valid.any():
        out[valid] = np.exp(Band(flat[valid].astype(np.int64), n).log_pmf(s))
    return out.reshape(k.shape)


def cdf(k: Any, n: int, s: int) -> np.ndarray:
    """P(K <= k), for k of any shape. Relative error below 1e-9 where above 1e-12.

    Dombrowski et al. 2025, Eq. 9 rejects support s after seeing k where this falls below alpha.
    """
    n, s = _counts(n, s)
    k = np.floor(np.asarray(k, np.float64))
    out = np.where(k >= 1, 1.0, 0.0)
    top = min(n, s)
    inside = (k >= 1) & (k < top)
    if not inside.any():
        return out
    mean, deviation = _moments(n, s)
    reach = _reach(deviation)
    # Above `high` nothing is left to add; below `low` nothing that the lowest k asked for would notice.
    high = min(top, int(min(float(k[inside].max()), mean + reach)))
    low = max(1, int(min(float(k[inside].min()), mean) - reach))
    if high < low:
        return out
    running = np.cumsum(np.exp(Band(np.arange(low, high + 1), n).log_pmf(s)))
    at = inside & (k <= high)
    out[at] = np.minimum(running[k[at].astype(np.int64) - low], 1.0)
    return out


def expected_distinct(n: Any, s: Any) -> Any:
    """E[K] = s (1 - (1 - 1/s)^n), for n and s of any shapes (Dombrowski et al. 2025, Theorem 1, times N).

    >>> round(expected_distinct(2, 4), 12)
    1.75
    """
    n, s = np.asarray(n, np.float64), np.asarray(s, np.float64)
    if (n < 0).any() or (s < 1).any():
        raise ValueError("expected_distinct needs n >= 0 and s >= 1")
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = -s * np.expm1(n * np.log1p(-1 / s))
    result = np.where(s == 1, np.minimum(n, 1.0), exact)
    return float(result) if result.ndim == 0 else result


def rejection_threshold(n: int, s: int, alpha: float) -> int:
    """The smallest number of distinct items after n draws that does not reject "the support is s or more".

    Reject k where P(K <= k) < alpha (Dombrowski et al. 2025, Eq. 9). The paper's text prints 48,744 for n = 50,000,
    s = 1,024,933, alpha = 5 %: there k = 48,744 has P = 4.963 % and is itself rejected, so the threshold is 48,745.
    """
    return int(quantiles(n, s, [alpha])[0])


def quantiles(n: int, s: int, levels: Any) -> np.ndarray:
    """For each level (L,) in (0, 1) the smallest k with P(K <= k) >= level, int64 (L,)."""
    n, s = _counts(n, s)
    levels = np.asarray(levels, np.float64)
    for level in levels:
        probability("alpha", level)
    mean, deviation = _moments(n, s)
    # A point of level p lies within sqrt(2 log 1/p) deviations of the mean, and its own tail is summed below it.
    lowest, highest = (deviation * math.sqrt(-2 * math.log(p)) for p in (levels.min(), 1 - levels.max()))
    low = max(1, int(mean - lowest - _reach(deviation)))
    high = min(n, s, int(mean + highest + 3 * deviation) + 30)
    total = np.cumsum(np.exp(Band(np.arange(low, high + 1), n).log_pmf(s)))
    return np.asarray(low + np.searchsorted(total, levels * (1 - EQUAL)))


def estimate_support(k: int, n: int, *, alpha: float = 0.05, upper: int | None = None) -> SupportEstimate:
    """How many items there are, when n uniform draws showed k distinct ones.

    `value` = argmax over s >= k of `s! / ((s - k)! s^n)`; `upper` = max{s: P(K <= k | s) >= alpha},
    `lower` = min{s >= k: P(K >= k | s) >= alpha} (Clopper-Pearson's construction: each end at level alpha).

    Args:
        k: distinct items seen, 1 <= k <= n.
        n: draws.
        alpha: level of each bound, in (0, 0.5); together they make a 1 - 2 alpha interval.
        upper: an upper limit of the support that is known beforehand (the training set's size); caps all three.

    Returns:
        `SupportEstimate`. With no duplicate (k = n) value and upper bound are unlimited: `inf`, or `upper`. A single
        draw identifies nothing: value NaN.

    Raises:
        ValueError: k outside 1 .. n, alpha outside (0, 0.5), or k above `upper`.
    """
    k, n = int(k), int(n)
    value = likely_support(k, n, upper=upper)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not {alpha}")
    cap = math.inf if upper is None else float(upper)
    if n == 1:
        return SupportEstimate(value, 1.0, cap)
    tails = _Tails(k, n)
    level = math.log(alpha) + math.log1p(-EQUAL)
    likely = math.inf if k == n else _most_likely(k, n)
    # P(K >= k | s) rises with s and P(K <= k | s) falls; the first is 1 well above what is likely.
    lower = float(k)
    if tails.at_least(k) < level:
        lower = _crossing(lambda s: tails.at_least(s) - level, k, likely if k < n else None)
    highest = cap
    if k < n and (cap == math.inf or tails.at_most(cap) < level):
        # Up to `likely` P(K <= k) is about a half or more, unless k is so small that the law is very discrete.
        start = likely if tails.at_most(likely) >= level else k
        highest = _crossing(lambda s: level - tails.at_most(s), start, None) - 1.0
    return SupportEstimate(value, min(lower, cap), highest)


def likely_support(k: int, n: int, *, upper: int | None = None) -> float:
    """The value of `estimate_support` alone, without its bounds, which take most of the time.

    >>> likely_support(330, 500, upper=1000)
    556.0
    """
    k, n = int(k), int(n)
    if not 1 <= k <= n:
        raise ValueError(f"n = {n} draws cannot show k = {k} distinct items")
    if upper is not None and upper < k:
        raise ValueError(f"upper = {upper} is below the {k} distinct items that were seen")
    if n == 1:
        return math.nan
    return min(math.inf if upper is None else float(upper), math.inf if k == n else float(_most_likely(k, n)))


def target_support(n_train: int, irs_target: float) -> int:
    """s0, the smallest support that meets a target: `irs_target * n_train`, rounded up but for rounding noise.

    >>> target_support(1281166, 0.8), target_support(10, 0.7)
    (1024933, 7)
    """
    if n_train < 1 or not 0 < irs_target <= 1:
        raise ValueError(f"needs n_train >= 1 and 0 < irs_target <= 1, not {n_train} and {irs_target}")
    # 0.7 * 10 is 7.000000000000001: a product within a part in 10^12 of an integer is that number.
    return max(1, math.ceil(irs_target * n_train * (1 - 1e-12)))


def rejection_power(n: int, s_true: int, s_target: int, alpha: float) -> float:
    """The probability that n uniform draws from `s_true` items reject "the support is `s_target` or more"."""
    return float(cdf(rejection_threshold(n, s_target, alpha) - 1, n, s_true))


def samples_needed(s_true: int, s_target: int, alpha: float, power: float) -> int:
    """A number of draws that rejects `s_target` with probability `power` when the support is `s_true`.

    Power climbs in a sawtooth, since counts are integers: this is a step of it at which the power is reached
    and one draw fewer does not reach it.

    Raises:
        ValueError: `s_true` is not below `s_target`, or `power` is not between alpha and 1.
    """
    if not 1 <= s_true < s_target:
        raise ValueError(f"a support of {s_true} is not below the target {s_target}: no number of samples rejects it")
    probability("alpha", alpha)
    if not alpha < power < 1:
        raise ValueError(f"power must lie between alpha = {alpha} and 1, not {power}")
    return _first(lambda n: rejection_power(n, s_true, s_target, alpha) >= power, 1)


class _Tails:
    """log P(K <= k | s) and log P(K >= k | s) for one k and n and any s: the costly part is shared by all s."""

    def __init__(self, k: int, n: int) -> None:
        self.k, self.n = k, n
        likely = n * n if k == n else _most_likely(k, n)
        reach = _reach(_moments(n, max(likely, k))[1])
        self.below = Band(np.arange(max(1, k - reach), k + 1), n)
        self.above = Band(np.arange(k, min(n, k + reach) + 1), n)

    def at_most(self, s: float) -> float:
        if s <= self.k:
            return 0.0
        if _moments(self.n, s)[0] >= self.k:
            return float(scipy.special.logsumexp(self.below.log_pmf(s)))
        return math.log1p(-min(1.0, float(np.exp(self.above.log_pmf(s)[1:]).sum())))

    def at_least(self, s: float) -> float:
        if _moments(self.n, s)[0] <= self.k:
            return float(scipy.special.logsumexp(self.above.log_pmf(s)))
        return math.log1p(-min(1.0, float(np.exp(self.below.log_pmf(s)[:-1]).sum())))


def _crossing(g: Any, start: float, stop: float | None) -> float:
    """The first integer above `start` at which the rising function `g` is not negative; g(start) < 0."""
    low, high = float(start), float(stop) if stop is not None else 2.0 * start + 1
    while g(high) < 0:
        low, high = high, 2 * high + 1
    root = scipy.optimize.brentq(g, low, high, xtol=0.1, rtol=1e-15) if g(low) < 0 else low
    whole = max(float(math.ceil(root)), start + 1)
    while whole - 1 > start and g(whole - 1) >= 0:
        whole -= 1
    while g(whole) < 0:
        whole += 1
    return whole


def _most_likely(k: int, n: int) -> int:
    """argmax over s >= k of s!/((s - k)! s^n), k < n: the last s that is likelier than s - 1."""

    def falls(s: int) -> bool:
        # log L(s + 1) - log L(s) <= 0.
        return -math.log1p(-k / (s + 1)) + n * math.log1p(-1 / (s + 1)) <= 0

    return _first(falls, k)


def _first(holds: Any, start: int) -> int:
    """The first integer from `start` at which `holds`, which stays true from there on."""
    if holds(start):
        return start
    step = 1
    while not holds(start + step):
        step *= 2
    low, high = start + step // 2, start + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _moments(n: int, s: float) -> tuple[float, float]:
    """E[K] and the standard deviation of K, the latter by its leading order s e^-c (1 - (1 + c) e^-c), c = n/s."""
    c = n / s
    # 1 - (1 + c) e^-c is the regularised incomplete gamma function P(2, c).
    return float(expected_distinct(n, s)), math.sqrt(s * math.exp(-c) * float(scipy.special.gammainc(2, c)))


def _reach(deviation: float) -> int:
    return math.ceil(WIDTH * deviation) + 30


def _counts(n: int, s: int) -> tuple[int, int]:
    return positive_int("n", n), positive_int("s", s)
