"""The occupancy distribution: how many distinct items n uniform draws from s items show.

The law behind the image retrieval score (Dombrowski et al., CVPR 2025, Eqs. 4 to 9): with S2 the Stirling numbers of
the second kind,

    P(K = k) = S2(n, k) s! / ((s - k)! s^n),        k = 1 .. min(n, s).

The paper approximates S2; here it is exact to rounding. Let every item be drawn Pois(r) times, independently: given
n draws in all, they are uniform. So for every r > 0

    P(K = k) = Bin(k; s, 1 - e^-r) * I_r(k) / Pois(n; s r),

I_r(k) the probability that k zero-truncated Poisson(r) variables sum to n. With r at the saddle point,
k r / (1 - e^-r) = n, that is a contour integral over some tens of equidistant nodes, whose trapezoid rule converges
geometrically; the other two are computed from Loader's (2000) deviance forms, since with plain log-gammas n log s = 7e5
would cost ten digits.

K is a sum of independent Bernoulli variables, so its probabilities are log-concave: tails fall at least geometrically
and sums over a band of some standard deviations are complete.

n draws, s items (the support), k distinct items.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaln, logsumexp

WIDTH = 12.0  # standard deviations: e^-72 of a normal law, and a relative 1e-17 of a tail sum
CHUNK = 1024  # values of k at a time: a chunk of nodes takes about 1 MB
# Probabilities carry relative errors up to 1e-9. One that is equal to alpha but for that is not below it.
EQUAL = 1e-10


class SupportEstimate(NamedTuple):
    """The number of distinct items behind the draws: maximum likelihood, and one-sided bounds at level alpha each.

    Whole numbers as floats; `inf` where nothing bounds them, NaN where nothing identifies them.
    """

    value: float
    lower: float
    upper: float


def pmf(k: Any, n: int, s: int) -> np.ndarray:
    """P(K = k), for k of any shape; 0 outside 1 .. min(n, s). Relative error below 1e-9 where above 1e-12.

    >>> float(pmf(2, 3, 2))
    0.75
    """
    n, s = _counts(n, s)
    k = np.asarray(k)
    flat = k.ravel()
    out = np.zeros(flat.shape)
    valid = (flat >= 1) & (flat <= min(n, s)) & (flat == np.floor(flat))
    if valid.any():
        out[valid] = np.exp(_Band(flat[valid].astype(np.int64), n).log_pmf(s))
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
    running = np.cumsum(np.exp(_Band(np.arange(low, high + 1), n).log_pmf(s)))
    at = inside & (k <= high)
    out[at] = np.minimum(running[k[at].astype(np.int64) - low], 1.0)
    return out


def expected_distinct(n: Any, s: Any) -> Any:
    """E[K] = s (1 - (1 - 1/s)^n), for n and s of any shapes (Dombrowski et al. 2025, Theorem 1, times N).

    >>> float(expected_distinct(2, 4))
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
        _check_level(level)
    mean, deviation = _moments(n, s)
    # A point of level p lies within sqrt(2 log 1/p) deviations of the mean, and its own tail is summed below it.
    lowest, highest = (deviation * math.sqrt(-2 * math.log(p)) for p in (levels.min(), 1 - levels.max()))
    low = max(1, int(mean - lowest - _reach(deviation)))
    high = min(n, s, int(mean + highest + 3 * deviation) + 30)
    total = np.cumsum(np.exp(_Band(np.arange(low, high + 1), n).log_pmf(s)))
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
    if not 1 <= k <= n:
        raise ValueError(f"n = {n} draws cannot show k = {k} distinct items")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not {alpha}")
    if upper is not None and upper < k:
        raise ValueError(f"upper = {upper} is below the {k} distinct items that were seen")
    cap = math.inf if upper is None else float(upper)
    if n == 1:
        return SupportEstimate(math.nan, 1.0, cap)
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
    return SupportEstimate(min(cap, float(likely)), min(lower, cap), highest)


def target_support(n_train: int, irs_target: float) -> int:
    """s0, the smallest support that meets a target: `irs_target * n_train`, rounded up but for rounding noise.

    >>> target_support(1281166, 0.8), target_support(10, 0.7)
    (1024933, 7)
    """
    if n_train < 1 or not 0 < irs_target <= 1:
        raise ValueError(f"needs n_train >= 1 and 0 < irs_target <= 1, not {n_train} and {irs_target}")
    # 0.7 * 10 is 7.000000000000001: a product within a part in 10^12 of a whole number is that number.
    return max(1, math.ceil(irs_target * n_train * (1 - 1e-12)))


def rejection_power(n: int, s_true: int, s_target: int, alpha: float) -> float:
    """The probability that n uniform draws from `s_true` items reject "the support is `s_target` or more"."""
    return float(cdf(rejection_threshold(n, s_target, alpha) - 1, n, s_true))


def samples_needed(s_true: int, s_target: int, alpha: float, power: float) -> int:
    """A number of draws that rejects `s_target` with probability `power` when the support is `s_true`.

    Power climbs in a sawtooth, since counts are whole numbers: this is a step of it at which the power is reached
    and one draw fewer does not reach it.

    Raises:
        ValueError: `s_true` is not below `s_target`, or `power` is not between alpha and 1.
    """
    if not 1 <= s_true < s_target:
        raise ValueError(f"a support of {s_true} is not below the target {s_target}: no number of samples rejects it")
    _check_level(alpha)
    if not alpha < power < 1:
        raise ValueError(f"power must lie between alpha = {alpha} and 1, not {power}")
    return _first(lambda n: rejection_power(n, s_true, s_target, alpha) >= power, 1)


class _Band:
    """The part of log P(K = k) that does not depend on s, for an array k (B,) within 1 .. n."""

    def __init__(self, k: np.ndarray, n: int) -> None:
        self.k, self.n = k.astype(np.float64), float(n)
        self.all_differ = k == n
        self.r = np.ones(k.shape)
        self.log_sum = np.zeros(k.shape)
        some = np.nonzero(~self.all_differ)[0]
        for first in range(0, some.size, CHUNK):
            part = some[first : first + CHUNK]
            self.r[part], self.log_sum[part] = _log_truncated_sum(self.k[part], self.n)

    def log_pmf(self, s: float) -> np.ndarray:
        """log P(K = k | n, s), (B,); -inf where k > s."""
        k, n, r = self.k, self.n, self.r
        size = float(s)
        out = np.full(k.shape, -np.inf)
        possible = k <= s
        out[possible & self.all_differ] = _log_all_differ(n, size)
        some = possible & ~self.all_differ
        k, r = k[some], r[some]
        # log Bin - log Pois has two forms. Where s r is far from n both laws are deep in their tails and their
        # deviances cancel; there the falling factorials that they consist of are combined by hand.
        by_chance = _deviance(np.full(k.shape, n), size * r, np.log(size * r))
        loader = _log_binomial(k, size, r) + by_chance + _stirling_error(n) + 0.5 * math.log(2 * math.pi * n)
        fresh, repeats = k * _log_excess_at(r), (n - k) * np.log(size * r / n)
        combined = _log_all_differ(k, size) + _log_all_differ(n - k, n) + fresh - repeats
        out[some] = self.log_sum[some] + np.where(by_chance < fresh + np.abs(repeats), loader, combined)
        return out


def _log_truncated_sum(k: np.ndarray, n: float) -> tuple[np.ndarray, np.ndarray]:
    """The saddle point r and log I_r(k), (B,) each, for 1 <= k < n.

    I = 1/M sum over nodes t of exp(k log phi(t) - i n t), phi the characteristic function of a zero-truncated Poisson
    variable. With M > 13 sd + 20 other lattice points do not alias in, and nodes beyond 13/sd carry nothing; but |phi|
    never falls below about e^-r (the missing zero), so that few draws (e^-n above 1e-40) need all nodes.
    """
    r = truncated_rate(k, n)
    decay = -np.expm1(-r)
    mean = r / decay
    # mean (1 + r - mean), the variance, without its cancellation at small r.
    variance = np.where(r < 1e-3, r / 2, mean * (1 + r - mean))
    deviation = np.sqrt(k * variance)
    nodes = np.ceil(13 * deviation) + 20
    step = 2 * math.pi / nodes
    reach = np.floor(nodes / 2)
    if n > 100:
        reach = np.minimum(reach, np.ceil(13 / (deviation * step)))
    j = np.arange(1, int(reach.max()) + 1)
    angle = j * step[:, None]
    radius = r[:, None]
    # w - r for w = r e^{i angle}.
    turn = radius * (-2 * np.sin(angle / 2) ** 2 + 1j * np.sin(angle))
    log_phi = np.empty(angle.shape, complex)  # log(phi(t) e^{-it}), of the excess over 1
    near, far = r < 1, r >= 1
    if near.any():
        log_phi[near] = _log_excess(r[near], angle[near])
    if far.any():
        # (1 - e^-w)/(1 - e^-r) - 1; written so that nothing overflows: e^-w is at most e^r.
        x = (np.exp(-radius[far]) - np.exp(-radius[far] - turn[far])) / decay[far][:, None]
        x = np.where(np.abs(turn[far]) < 0.1, -np.expm1(-turn[far]) * np.exp(-radius[far]) / decay[far][:, None], x)
        real, imaginary = x.real, x.imag
        log_ratio = 0.5 * np.log1p(2 * real + real**2 + imaginary**2) + 1j * np.arctan2(imaginary, 1 + real)
        log_phi[far] = turn[far] + log_ratio - 1j * angle[far]
    exponent = k[:, None] * log_phi - 1j * ((n - k)[:, None] * angle)
    # Node 0 is 1; nodes t and -t are conjugates; where M is even, the node at pi stands alone.
    weight = np.where(j <= reach[:, None], 2.0, 0.0) - (2 * j == nodes[:, None])
    total = 1 + (weight * (np.exp(exponent.real) * np.cos(exponent.imag))).sum(1)
    return r, np.log(total / nodes)


def _log_excess(r: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """g(r e^{i angle}) - g(r) for g(w) = log((e^w - 1)/w) = w/2 + w^2/24 - w^4/2880 + ..., r < 1.

    Each power is taken as r^j (e^{i j angle} - 1), so that nothing cancels when k is close to n and r close to 0.
    """
    turn = -2 * np.sin(angle / 2) ** 2 + 1j * np.sin(angle)  # e^{i angle} - 1
    square = turn * (turn + 2)
    total = (r / 2)[:, None] * turn
    power = square
    for j, coefficient in _EXCESS[1:]:
        total += (coefficient * r**j)[:, None] * power
        power = power + square + power * square  # e^{i (j + 2) angle} - 1
    return total


def _log_excess_at(r: np.ndarray) -> np.ndarray:
    """log((e^r - 1)/r), r > 0."""
    small = np.minimum(r, 1.0)
    series = sum(coefficient * small**power for power, coefficient in _EXCESS)
    return np.where(r < 1, series, r + np.log1p(-np.exp(-r)) - np.log(r))


# B_j / (j j!), the Taylor coefficients of log((e^w - 1)/w); the next term is below 1e-19 for |w| < 1.
_EXCESS = (
    (1, 1 / 2),
    (2, 1 / 24),
    (4, -1 / 2880),
    (6, 1 / 181440),
    (8, -1 / 9676800),
    (10, 1 / 479001600),
    (12, -691 / 15692092416000),
    (14, 1 / 1046139494400),
    (16, -3617 / 170729965486080000),
    (18, 43867 / 91963695909076992000),
    (20, -174611 / 16057153253965824000000),
    (22, 77683 / 310224200866619719680000),
)


def truncated_rate(k: np.ndarray, n: float) -> np.ndarray:
    """The r at which zero-truncated Poisson variables have mean n/k: r/(1 - e^-r) = n/k, k < n, by Newton from above.

    In the law every r > 0 is right; this one makes the integral tame.
    """
    excess = (n - k) / k
    r = np.minimum(2 * excess, n / k)
    for _ in range(6):
        decay = -np.expm1(-r)
        value = np.where(r < 1e-4, r / 2 + r * r / 12, (r - decay) / decay)
        slope = np.where(r < 1e-4, 0.5 + r / 6, (decay - r * np.exp(-r)) / decay**2)
        r = np.maximum(r - (value - excess) / slope, r / 4)
    return np.asarray(r)


def _log_binomial(k: np.ndarray, s: float, r: np.ndarray) -> np.ndarray:
    """log Bin(k; s, 1 - e^-r), (B,), 1 <= k <= s, after Loader (2000)."""
    rest = s - k
    log_p = np.where(r < 0.5, np.log(-np.expm1(-np.minimum(r, 1))), np.log1p(-np.exp(-r)))
    p, log_s = np.exp(log_p), math.log(s)
    positive = np.maximum(rest, 1.0)
    inner = (
        _stirling_error(s)
        - _stirling_error(k)
        - _stirling_error(positive)
        - _deviance(k, s * p, log_s + log_p)
        - _deviance(positive, s * np.exp(-r), log_s - r)
        + 0.5 * (math.log(s) - np.log(2 * math.pi * k) - np.log(positive))
    )
    return np.where(rest == 0, s * log_p, inner)


def _deviance(x: np.ndarray, mean: np.ndarray, log_mean: np.ndarray) -> np.ndarray:
    """x log(x/mean) + mean - x, (B,), without cancellation where x is close to `mean`; x > 0.

    `log_mean` is given since `mean` may underflow.
    """
    v = (x - mean) / (x + mean)
    square = v * v
    # Loader's series: (x - mean) v + 2 x (v^3/3 + v^5/5 + ...); nine terms reach 1e-20 at |v| = 0.1.
    series = np.zeros_like(v)
    for j in range(9, 0, -1):
        series = (series + 1 / (2 * j + 1)) * square
    close = (x - mean) * v + 2 * x * v * series
    return np.where(np.abs(v) < 0.1, close, x * (np.log(x) - log_mean) + mean - x)


def _stirling_error(x: Any) -> Any:
    """log x! - log(sqrt(2 pi x) (x/e)^x) for x >= 1."""
    x = np.asarray(x, np.float64)
    small = np.minimum(x, 16.0)
    direct = gammaln(small + 1) - (small + 0.5) * np.log(small) + small - 0.5 * math.log(2 * math.pi)
    y = 1 / (x * x)
    # The first omitted term, 691/360360 x^-11, is 1e-16 at x = 16.
    series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x
    return np.where(x < 16, direct, series)


def _log_all_differ(n: Any, s: Any) -> np.ndarray:
    """log(s! / ((s - n)! s^n)), 0 <= n <= s: that n draws from s items all differ; by Stirling's form."""
    n, s = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(s, np.float64))
    x = n / s
    rest = np.maximum(s - n, 1.0)
    # (1 - x) log(1 - x) + x = x^2/2 + x^3/6 + ... = sum x^j / (j (j - 1)), to 1e-20 for x < 0.1.
    series = np.zeros(x.shape)
    for j in range(20, 1, -1):
        series = (series + 1 / (j * (j - 1))) * x
    shape = np.where(x < 0.1, series * x, rest / s * np.log(rest / s) + x)
    some = _stirling_error(s) - _stirling_error(rest) - 0.5 * np.log(rest / s) - s * shape
    return np.where(n == s, _stirling_error(s) + 0.5 * np.log(2 * math.pi * s) - s, some)


class _Tails:
    """log P(K <= k | s) and log P(K >= k | s) for one k and n and any s: the costly part is shared by all s."""

    def __init__(self, k: int, n: int) -> None:
        self.k, self.n = k, n
        likely = n * n if k == n else _most_likely(k, n)
        reach = _reach(_moments(n, max(likely, k))[1])
        self.below = _Band(np.arange(max(1, k - reach), k + 1), n)
        self.above = _Band(np.arange(k, min(n, k + reach) + 1), n)

    def at_most(self, s: float) -> float:
        if s <= self.k:
            return 0.0
        if _moments(self.n, s)[0] >= self.k:
            return float(logsumexp(self.below.log_pmf(s)))
        return math.log1p(-min(1.0, float(np.exp(self.above.log_pmf(s)[1:]).sum())))

    def at_least(self, s: float) -> float:
        if _moments(self.n, s)[0] <= self.k:
            return float(logsumexp(self.above.log_pmf(s)))
        return math.log1p(-min(1.0, float(np.exp(self.below.log_pmf(s)[:-1]).sum())))


def _crossing(g: Any, start: float, stop: float | None) -> float:
    """The first whole number above `start` at which the rising function `g` is not negative; g(start) < 0."""
    low, high = float(start), float(stop) if stop is not None else 2.0 * start + 1
    while g(high) < 0:
        low, high = high, 2 * high + 1
    root = brentq(g, low, high, xtol=0.1, rtol=1e-15) if g(low) < 0 else low
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
    """The first whole number from `start` at which `holds`, which stays true from there on."""
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
    return float(expected_distinct(n, s)), math.sqrt(s * math.exp(-c) * float(gammainc(2, c)))


def _reach(deviation: float) -> int:
    return math.ceil(WIDTH * deviation) + 30


def _counts(n: int, s: int) -> tuple[int, int]:
    if n != int(n) or s != int(s) or n < 1 or s < 1:
        raise ValueError(f"n and s must be whole numbers of at least 1, not n = {n}, s = {s}")
    return int(n), int(s)


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
