"""Clipped Density and Clipped Coverage: precision-like and recall-like values that are robust and calibrated.

Each reference image x carries a ball, R its distance to its k-th neighbour among the others. With #(.) a count,

    clipped density  = mean over y of min(#(x: |x - y| <= min(R_x, median of R)) / k, 1), over the same mean of the
                       reference images themselves, each without its own ball; at most 1
    clipped coverage = g(mean over x of min(#(y: |x - y| < R_x) / k, 1))

A few wide balls of outliers cannot raise the density, nor can samples that crowd in one place make up for others, and
the density of real images is 1. Were m of the M generated images real and the others in no ball, a ball would hold a
beta-binomial number J of them whatever the law, since its mass is Beta(k, N - k) distributed: the mean would be

    f(m) = E[min(J, k)] / k,   J ~ BetaBinomial(m; k, N - k),   and g(y) = #(m < M: f(m) < y) / M

turns it back into the share m / M. So 0.8 in either is what 80 % good samples among useless ones score (Salvy, Talbot,
Thirion, ICLR 2026). N reference images x, M generated images y, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy

from genaudit.metrics.result import SHARE, Caution, Estimate, Unavailable, per_image, value
from genaudit.stats import balls
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Count
from genaudit.stats.subsampling import NOTHING, Spread, cut_interval, over_parts, share_interval


@dataclass(frozen=True)
class ClippedValues:
    """Clipped density and clipped coverage in [0, 1]; higher is better for both."""

    clipped_density: float
    clipped_coverage: float


@dataclass(frozen=True, kw_only=True)
class CDCResult:
    """Equivalent shares of good samples, by realism and by what is covered, in [0, 1]; higher is better.

    `density_of_real` is the density of the reference images, by which that of the generated ones is divided;
    `coverage_uncalibrated` is what `g` is taken of. `real_neighbourhoods` is each generated image's share of the
    density, before that division.
    """

    explanation: ClassVar[str] = (
        "Equivalent shares of good samples: clipped_density by realism, clipped_coverage by diversity; outliers hardly "
        "move them, and 0.8 is what 80 % real images among useless ones score; blind to memorisation."
    )
    citation: ClassVar[str] = (
        "Salvy, Talbot, Thirion. Enhanced generative model evaluation with clipped density and coverage. ICLR 2026."
    )
    copies_break: ClassVar[dict[str, str]] = {
        "reference": "balls around copies are narrower, so that clipped coverage is too low",
    }
    clipped_density: Estimate = value("higher", label="realistic samples, equivalent share", range=SHARE)
    clipped_coverage: Estimate = value("higher", label="covered real images, equivalent share", range=SHARE)
    k: int
    n_generated: int
    n_reference: int
    density_of_real: float
    coverage_uncalibrated: float
    interval: str = (
        "over new generated and reference images in these numbers, of values that are cut at 1: from random parts, in "
        "Wilson's form"
    )
    real_neighbourhoods: np.ndarray | None = per_image()
    cautions: tuple[Caution, ...] = ()


class _Balls(NamedTuple):
    radii: np.ndarray  # (N,)
    closed: np.ndarray  # (N,): none above the median, and just so much wider that a point on the sphere is inside
    density_of_real: float


class _Found(NamedTuple):
    shares: np.ndarray  # (M,) of the clipped balls of k, at most 1
    filled: float  # mean over reference balls of the generated images inside, of k, at most 1


def clipped(reference: Any, generated: Any, *, k: int = 5, device: str = "cpu") -> ClippedValues:
    """Clipped Density and Clipped Coverage, Salvy et al. 2026.

    Args:
        reference: rows (N, D) of real images, N > k: NumPy array, torch tensor or rows on disk.
        generated: rows (M, D).
        k: the neighbour whose distance is an image's radius, 1 or more; the authors take 5.
        device: where the matrix products run.

    Returns:
        two shares, higher is better; a little below 1 where the two laws are equal. The authors' code divides g's count
        by M + 1, and takes 0 for f(m) below m = k: its coverage is M / (M + 1) of this one, but for shares below
        k / M.

    Raises:
        ValueError: shapes that do not fit, too few rows for k, values that are not finite, or half of the reference
            images with k copies.

    >>> clipped([[0.0], [1.0], [2.0], [3.0]], [[0.5], [0.6], [9.0], [9.0]], k=1)
    ClippedValues(clipped_density=0.5, clipped_coverage=0.75)
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated")
    of_reference = _balls(a, k, device)
    return _values(of_reference, _membership(a, b, of_reference, k, device), len(a), k)


def judge(
    *,
    generated: Any,
    reference: Any,
    k: Count = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> CDCResult:
    """Clipped density and clipped coverage of generated images, with intervals and each image's share of the density.

    The intervals say how each value varies over new images of both sets in the same numbers: the spread of what is cut
    at 1 over random parts of both sets, in Wilson's form, then the expectation that the cut leaves of either end.

    Args:
        generated: rows (M, D).
        reference: rows (N, D).
        k: the neighbour whose distance is an image's radius.
        confidence: of the intervals, in (0, 1).
        seed: of the parts.
        device: where the matrix products run.

    Raises:
        Unavailable: there are no more than k reference images.
        ValueError: half of them have k copies.
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated")
    if len(a) <= k:
        raise Unavailable(f"its balls with k = {k} need more than {k} reference images, not {len(a)}")
    members = balls.Members(balls.spare_neighbours(a, k, device=device), k, len(b))
    of_reference = _balls(a, k, device, radii=members.neighbours.distances[:, k - 1])
    membership = _membership(a, b, of_reference, k, device, members=members)
    density, coverage = _intervals(of_reference, membership, _spread(members, k, seed), k, confidence)
    flat = int(np.count_nonzero(of_reference.radii == 0))
    message = (
        f"{flat:,} of {len(a):,} reference images have {k} copies or more (in features): their balls have radius 0 and "
        "hold only copies, so that clipped coverage is too low."
    )
    return CDCResult(
        clipped_density=density,
        clipped_coverage=coverage,
        k=k,
        n_generated=len(b),
        n_reference=len(a),
        density_of_real=of_reference.density_of_real,
        coverage_uncalibrated=membership.filled,
        real_neighbourhoods=membership.shares,
        cautions=(Caution("duplicates", message),) if flat else (),
    )


def prepared(*, reference: Any, k: Count = 5, device: str = "cpu") -> Callable[[Any], dict[str, float]]:
    """The two values alone as a function of generated rows, with the reference's balls found once."""
    a = as_rows(reference, "reference")
    of_reference = _balls(a, k, device)

    def values_of(generated: Any) -> dict[str, float]:
        membership = _membership(a, as_rows(generated, "generated"), of_reference, k, device)
        return vars(_values(of_reference, membership, len(a), k))

    return values_of


def expected_filling(n: int, m: int, k: int) -> np.ndarray:
    """f(0), ..., f(m): the mean share of a ball's k places that so many real images fill, of n reference images.

    E[min(J, k)] = k - sum over t < k of (k - t) P(J = t), so that only k probabilities are needed.

    >>> expected_filling(4, 2, 1).round(12).tolist()
    [0.0, 0.25, 0.4]
    """
    counts = np.arange(m + 1)
    lacking = sum((k - t) * scipy.stats.betabinom.pmf(t, counts, k, n - k) for t in range(k))
    filling: np.ndarray = 1 - lacking / k
    filling[0] = 0.0
    return filling


def _balls(reference: RowsLike, k: int, device: str, radii: np.ndarray | None = None) -> _Balls:
    """The reference's balls; `radii` where they are known."""
    if not 1 <= k < len(reference):
        raise ValueError(f"k must be at least 1 and below the number of reference images ({len(reference)}), not {k}")
    radii = balls.radii(reference, k, device=device) if radii is None else radii
    middle = float(np.median(radii))
    if middle == 0:
        raise ValueError(f"half of the reference images have {k} copies or more (in features): all balls have radius 0")
    closed = _closed(np.minimum(radii, middle))
    counts = np.full(len(reference), -1)  # of which its own is one
    for tile in balls.tiles(reference, reference, names=("reference", "reference"), device=device):
        counts += np.bincount(tile.points_inside(closed)[1], minlength=len(reference))
    return _Balls(radii, closed, float(np.minimum(counts, k).mean()) / k)


def _closed(radii: np.ndarray) -> np.ndarray:
    """Radii within which, strictly, lies what is no farther than these: a k-th neighbour is inside its own ball."""
    wider: np.ndarray = np.maximum(radii * (1 + 1e-12), np.finfo(float).tiny)  # beyond the rounding of a distance
    return wider


def _membership(
    reference: RowsLike,
    generated: RowsLike,
    own: _Balls,
    k: int,
    device: str,
    members: balls.Members | None = None,
) -> _Found:
    """Who lies in which ball; `members` takes the pairs for the errors."""
    n, m = len(reference), len(generated)
    if reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"reference and generated must have equally many features, "
            f"not {reference.shape[1]} and {generated.shape[1]}"
        )
    balls_of, held = np.zeros(m, np.int64), np.zeros(n, np.int64)
    for tile in balls.tiles(reference, generated, names=("reference", "generated"), device=device):
        balls_of += np.bincount(tile.points_inside(own.closed)[1], minlength=m)
        held += np.bincount(tile.points_inside(own.radii)[0], minlength=n)
        tile.add_members(members)
    return _Found(np.minimum(balls_of, k) / k, float(np.minimum(held, k).mean()) / k)


def _values(own: _Balls, membership: _Found, n: int, k: int) -> ClippedValues:
    m = len(membership.shares)
    coverage = _calibrated(membership.filled, expected_filling(n, m, k))
    return ClippedValues(min(float(membership.shares.mean()) / own.density_of_real, 1.0), coverage)


def _calibrated(filled: float, filling: np.ndarray) -> float:
    """g of the module's head, by f(0), ..., f(M)."""
    good = np.searchsorted(filling[:-1], filled - 1e-12)  # f(m) itself is m / M
    return float(good) / (len(filling) - 1)


def _spread(members: balls.Members, k: int, seed: int) -> dict[str, Spread]:
    """Errors, over new images of both sets, of the density before it is cut at 1 and of the filling."""
    if not members.complete:
        return dict.fromkeys(("density", "filled"), NOTHING)
    sizes = {"reference": len(members.widest), "generated": members.points}
    return over_parts(partial(values_of_part, members, k), sizes, halves=0, seed=seed)


def values_of_part(members: balls.Members, k: int, reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Density before it is cut at 1, and filling, of the images that two masks (N,) and (M,) keep."""

    def filling(at: np.ndarray, kept: np.ndarray) -> float:
        return float(np.minimum(np.bincount(at, minlength=len(kept))[kept], k).mean()) / k

    neighbours, radii = members.neighbours, members.radii(reference)
    middle = float(np.median(radii[reference]))
    narrow = np.minimum(radii, middle)[:, None]
    inside = (neighbours.distances <= narrow) & reference[neighbours.indices] & reference[:, None]
    real = filling(neighbours.indices[inside], reference)
    made = filling(members.inside(reference, middle)[1], generated)
    centre, point = members.inside(reference)
    return {
        "density": made / real if real else float("nan"),
        "filled": filling(centre[generated[point]], reference),
    }


def _intervals(
    own: _Balls, membership: _Found, spread: dict[str, Spread], k: int, confidence: float
) -> tuple[Estimate, Estimate]:
    """Clipped density and clipped coverage with their intervals."""
    n, m, real = len(own.radii), len(membership.shares), own.density_of_real
    density, filled = spread["density"], spread["filled"]
    shares = share_interval(
        float(membership.shares.mean()), Spread(density.error * real, density.mean * real), m, confidence
    )
    filling = expected_filling(n, m, k)
    places = share_interval(membership.filled, filled, n, confidence)
    cut = cut_interval(places, filled.error, filling[-1])
    density_of = cut_interval(shares.map(lambda share: share / real), density.error, 1.0)
    return density_of, cut.map(lambda filled: _calibrated(filled, filling))
