"""The two-dimensional Kolmogorov-Smirnov test of two samples, exact in O(n log n).

Peacock (1983), Fasano and Franceschini (1987), Press et al. (Numerical Recipes): around an origin taken from a
sample, the plane falls into four quadrants; the statistic is the largest difference between the two samples' shares of
a quadrant, averaged over the origins of the one and of the other sample.

All four counts follow from how many points of each sample have X <= x and Y <= y. The y-ranks, put in x-order, are a
sequence in which a wavelet matrix counts "how many of the first p are below t" for all origins at once, one bitwise
pass a bit. Shares are compared as integers (multiplied by N M), so that equal statistics are equal exactly.

N points in a, M in b, n = N + M; quadrants 0: X <= x, Y <= y; 1: X <= x, Y > y; 2: X > x, Y <= y; 3: X > x, Y > y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from genaudit.stats.bounds import positive_int

Convention = Literal["ndtest", "plain"]
PValue = Literal["asymptotic", "permutation"]

QUADRANTS = ("x <= origin, y <= origin", "x <= origin, y > origin", "x > origin, y <= origin", "x > origin, y > origin")

DENSE_POINTS = 2048  # up to here permutations are one matrix product: counts and n^2 stay below 2^24, exact in float32
DENSE_BYTES = 32 << 20


@dataclass(frozen=True)
class Gap:
    """Where the clouds differ most: the origin (x, y), the quadrant, and the shares of a and of b in it."""

    x: float
    y: float
    quadrant: str
    share_a: float
    share_b: float


@dataclass(frozen=True)
class KS2D:
    """`statistic` in [0, 1], higher is farther apart; `pvalue` None where not asked for, NaN where undefined.

    `gap` is where the clouds differ most, by the plain difference of shares. `null_mean` and `null_95` are the
    permutation null's mean and 95 % point of the statistic, where permutations were drawn.
    """

    statistic: float
    pvalue: float | None
    gap: Gap | None = None
    null_mean: float | None = None
    null_95: float | None = None


def ks2d_2samp(
    a: Any,
    b: Any,
    *,
    pvalue: PValue | None = "asymptotic",
    convention: Convention = "ndtest",
    permutations: int = 999,
    seed: int = 0,
) -> KS2D:
    """The two-sample 2-D Kolmogorov-Smirnov statistic with its p-value.

    For the origins of sample i, `diff` = share of sample i minus share of the other in each quadrant. Convention
    "plain": `D_i = max |diff|`. Convention "ndtest" (the package of that name, which the Anomaly Score's authors use):
    the origin itself belongs to whichever quadrant maximises the gap, so `diff` of quadrant 0 is lowered by 1/n_i and
    `D_i = max(-min diff, max diff + 1/n_i)`; two equal samples of 8 then give 0.125. `D = (D_1 + D_2)/2`.

    p-values: "asymptotic" is ndtest's, `kstwobign.sf(D sqrt(m) / (1 + r (0.25 - 0.75/sqrt(m))))` with
    `m = N M/(N + M)` and `r = sqrt(1 - (r_a^2 + r_b^2)/2)`: approximate, and NaN where a coordinate is constant or a
    sample has one point. "permutation" is `(1 + #{D* >= D})/(1 + permutations)`, valid for every distribution. At a
    nominal 5 %, 1,000 simulated pairs of equal clouds of 64 or 200 points (scripts/bench_stats.py) were rejected in 6
    to 7 % by the first (1 to 2 % with heavy ties) and in 4 to 5.5 % by the second.

    Args:
        a: points (N, 2).
        b: points (M, 2).
        pvalue: "asymptotic", "permutation", or None to leave it out.
        convention: "ndtest" or "plain".
        permutations: how many relabellings of the pooled points; used with "permutation".
        seed: of the permutations.

    Raises:
        ValueError: wrong shapes, or a value that is not finite (ndtest counts NaN as quadrant 3).
    """
    points = _Pooled(a, b, convention)
    if pvalue not in ("asymptotic", "permutation", None):
        raise ValueError(f"pvalue must be 'asymptotic', 'permutation' or None, not {pvalue!r}")
    scaled = points.statistic(points.labels)
    statistic = scaled / points.unit
    gap = points.gap()
    if pvalue is None:
        return KS2D(statistic, None, gap)
    if pvalue == "asymptotic":
        return KS2D(statistic, _asymptotic(statistic, points.a, points.b), gap)
    null = points.permuted(permutations, seed)
    p = (1 + int((null >= scaled).sum())) / (1 + permutations)
    return KS2D(statistic, p, gap, float(null.mean() / points.unit), float(np.quantile(null, 0.95) / points.unit))


def permutation_null(
    a: Any, b: Any, *, permutations: int = 999, seed: int = 0, convention: Convention = "ndtest"
) -> np.ndarray:
    """The statistic of `permutations` random relabellings of the pooled points, (permutations,) float64.

    Its mean is what two samples of these sizes from one distribution show; `ks2d_2samp` with "permutation" uses the
    same draws for the same seed.
    """
    points = _Pooled(a, b, convention)
    return points.permuted(permutations, seed) / points.unit


def _asymptotic(statistic: float, a: np.ndarray, b: np.ndarray) -> float:
    if min(len(a), len(b)) < 2 or (np.ptp(a, axis=0) == 0).any() or (np.ptp(b, axis=0) == 0).any():
        return float("nan")
    m = len(a) * len(b) / (len(a) + len(b))
    squares = [np.corrcoef(sample[:, 0], sample[:, 1])[0, 1] ** 2 for sample in (a, b)]
    r = np.sqrt(max(0.0, 1 - sum(squares) / 2))
    return float(scipy.special.kolmogorov(statistic * np.sqrt(m) / (1 + r * (0.25 - 0.75 / np.sqrt(m)))))


class _Pooled:
    """Both samples' points with everything that does not depend on which point belongs to which sample."""

    def __init__(self, a: Any, b: Any, convention: str) -> None:
        if convention not in ("ndtest", "plain"):
            raise ValueError(f"convention must be 'ndtest' or 'plain', not {convention!r}")
        self.correct = convention == "ndtest"
        self.a, self.b = _points(a, "a"), _points(b, "b")
        self.n_a, self.n_b = len(self.a), len(self.b)
        self.unit = 2 * self.n_a * self.n_b  # integer statistics are D times this
        self.pooled = np.concatenate([self.a, self.b])
        n = len(self.pooled)
        self.x_order, self.below_x = _order(self.pooled[:, 0])
        self.y_order, self.below_y = _order(self.pooled[:, 1])
        self.labels = np.arange(n) < self.n_a
        self.levels = self._wavelet()
        self.totals = np.stack(self._counts(np.ones(n, bool)))  # (4, n) points of either sample in each quadrant
        self.observed = self._differences(self.labels)

    def _wavelet(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For each bit: the points in this level's order with ones last, the origins that count, and their ranges.

        Origin i asks how many of the first `below_x[i]` points in x-order have a y-rank below `below_y[i]`. At each
        bit of the bound that is set, the points of the current range whose bit is not set are below it.
        """
        n = len(self.pooled)
        rank = np.empty(n, np.int64)
        rank[self.y_order] = np.arange(n)
        points = self.x_order
        low, high, bound = np.zeros(n, np.int64), self.below_x.copy(), self.below_y
        levels = []
        for bit in range(n.bit_length() - 1, -1, -1):
            is_one = (rank[points] >> bit & 1).astype(bool)
            zeros_before = np.concatenate([[0], np.cumsum(~is_one)])
            points = np.concatenate([points[~is_one], points[is_one]])
            zero_low, zero_high = zeros_before[low], zeros_before[high]
            counted = np.nonzero((bound >> bit & 1).astype(bool))[0]
            levels.append((points, counted, zero_low[counted], zero_high[counted]))
            zeros = zeros_before[-1]
            up_low, up_high = zeros + low - zero_low, zeros + high - zero_high
            low, high = zero_low.copy(), zero_high.copy()
            low[counted], high[counted] = up_low[counted], up_high[counted]
        return levels

    def _counts(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Chosen points (n,) in each quadrant of every origin, (n,) int64 each."""
        n = len(chosen)
        both = np.zeros(n, np.int64)
        for points, counted, low, high in self.levels:
            running = np.concatenate([[0], np.cumsum(chosen[points])])
            both[counted] += running[high] - running[low]
        left = np.concatenate([[0], np.cumsum(chosen[self.x_order])])[self.below_x]
        down = np.concatenate([[0], np.cumsum(chosen[self.y_order])])[self.below_y]
        return both, left - both, down - both, chosen.sum() - left - down + both

    def _differences(self, labels: np.ndarray) -> np.ndarray:
        """(share of a - share of b) N M in every quadrant of every origin, (4, n) int64."""
        counts = np.stack(self._counts(labels))
        return counts * (self.n_a + self.n_b) - self.totals * self.n_a

    def statistic(self, labels: np.ndarray) -> int:
        """D times `unit` where the points with a true label are a's."""
        scaled = self.observed if labels is self.labels else self._differences(labels)
        return self._one_side(scaled[:, labels], self.n_b) + self._one_side(-scaled[:, ~labels], self.n_a)

    def _one_side(self, scaled: np.ndarray, own: int) -> int:
        """D_i N M from own minus other (4, n_i); `own` is 1/n_i in units of 1/(N M)."""
        if not self.correct:
            return int(np.abs(scaled).max())
        lowest = min(scaled[0].min() - own, scaled[1:].min())
        highest = max(scaled[0].max() - own, scaled[1:].max())
        return int(max(-lowest, highest + own))

    def gap(self) -> Gap:
        quadrant, origin = np.unravel_index(np.abs(self.observed).argmax(), self.observed.shape)
        total, scaled = int(self.totals[quadrant, origin]), int(self.observed[quadrant, origin])
        in_a = (scaled + total * self.n_a) // (self.n_a + self.n_b)
        in_b = total - in_a
        x, y = self.pooled[origin]
        return Gap(float(x), float(y), QUADRANTS[quadrant], in_a / self.n_a, in_b / self.n_b)

    def permuted(self, permutations: int, seed: int) -> np.ndarray:
        """D times `unit` of random relabellings, (permutations,) int64."""
        positive_int("permutations", permutations)
        generator = np.random.default_rng(seed)
        n = len(self.pooled)
        if n > DENSE_POINTS:
            return np.array([self.statistic(generator.permutation(self.labels)) for _ in range(permutations)])
        x, y = self.pooled.T
        left, down = x[None, :] <= x[:, None], y[None, :] <= y[:, None]  # (origin, point)
        # Quadrant 3's difference is minus the sum of the others: three products are enough.
        inside = [quadrant.astype(np.float32) for quadrant in (left & down, left & ~down, ~left & down)]
        step = max(1, DENSE_BYTES // (4 * n))
        found = []
        for first in range(0, permutations, step):
            count = min(step, permutations - first)
            labels = generator.permuted(np.tile(self.labels, (count, 1)), axis=1).T
            found.append(self._dense(inside, labels))
        return np.concatenate(found)

    def _dense(self, inside: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
        """D times `unit` for labels (n, B), float32 throughout: every number is an integer below 2^24."""
        weight = labels.astype(np.float32)
        n, n_a, n_b = len(labels), self.n_a, self.n_b
        high_a, low_a, high_b, low_b = (np.full(labels.shape[1], s * np.inf, np.float32) for s in (-1, 1, -1, 1))
        last = np.zeros(labels.shape, np.float32)
        for quadrant in range(4):
            if quadrant < 3:
                scaled = inside[quadrant] @ weight
                scaled *= n
                scaled -= (self.totals[quadrant] * n_a).astype(np.float32)[:, None]
                last -= scaled
            else:
                scaled = last
            shift_a, shift_b = (n_b, n_a) if self.correct and quadrant == 0 else (0, 0)
            # Origins of the other sample must not win a maximum or a minimum.
            high_a = np.maximum(high_a, np.where(labels, scaled, -np.inf).max(0) - shift_a)
            low_a = np.minimum(low_a, np.where(labels, scaled, np.inf).min(0) - shift_a)
            high_b = np.maximum(high_b, -np.where(labels, np.inf, scaled).min(0) - shift_b)
            low_b = np.minimum(low_b, -np.where(labels, -np.inf, scaled).max(0) - shift_b)
        own_a, own_b = (n_b, n_a) if self.correct else (0, 0)
        both = np.maximum(-low_a, high_a + own_a) + np.maximum(-low_b, high_b + own_b)
        return both.astype(np.int64)


def _points(sample: Any, name: str) -> np.ndarray:
    if hasattr(sample, "detach"):
        sample = sample.detach().cpu().numpy()
    points = np.asarray(sample, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(f"{name} must be points of shape (N, 2), not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} holds values that are not finite (NaN or infinity)")
    return points


def _order(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order that sorts `values` (n,), and for each value how many are not above it."""
    order = np.argsort(values, kind="stable")
    return order, np.searchsorted(values[order], values, side="right")
