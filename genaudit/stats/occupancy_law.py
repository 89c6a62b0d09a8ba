"""The logarithm of the occupancy law, exact to rounding, for many k at a time.

Let every item be drawn Pois(r) times, independently: given n draws in all, they are uniform. So for every r > 0

    P(K = k) = Bin(k; s, 1 - e^-r) * I_r(k) / Pois(n; s r),

I_r(k) the probability that k zero-truncated Poisson(r) variables sum to n. With r at the saddle point,
k r / (1 - e^-r) = n, that is a contour integral over some tens of equidistant nodes, whose trapezoid rule converges
geometrically. The other two are computed from Loader's (2000) deviance forms, since with plain log-gammas n log s = 7e5
would cost ten digits. Only they depend on s.

n draws, s items, k distinct items; B values of k.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

CHUNK = 1024  # values of k at a time: a chunk of nodes takes about 1 MB


class Band:
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
        out[possible & self.all_differ] = log_all_differ(n, size)
        some = possible & ~self.all_differ
        k, r = k[some], r[some]
        # log Bin - log Pois has two forms. Where s r is far from n both laws are deep in their tails and their
        # deviances cancel; there the falling factorials that they consist of are combined by hand.
        by_chance = _deviance(np.full(k.shape, n), size * r, np.log(size * r))
        loader = _log_binomial(k, size, r) + by_chance + _stirling_error(n) + 0.5 * math.log(2 * math.pi * n)
        fresh, repeats = k * _log_excess_at(r), (n - k) * np.log(size * r / n)
        combined = log_all_differ(k, size) + log_all_differ(n - k, n) + fresh - repeats
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
    direct = scipy.special.gammaln(small + 1) - (small + 0.5) * np.log(small) + small - 0.5 * math.log(2 * math.pi)
    y = 1 / (x * x)
    # The first omitted term, 691/360360 x^-11, is 1e-16 at x = 16.
    series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x
    return np.where(x < 16, direct, series)


def log_all_differ(n: Any, s: Any) -> np.ndarray:
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
