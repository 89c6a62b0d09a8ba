"""Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) from nearest-neighbour balls.

Each image carries a ball whose radius is the distance to its k-th neighbour in its own set, itself left out; a point
lies inside if it is strictly nearer. Then (Naeem et al. 2020, Eqs. 1 to 4)

    precision = share of generated images inside any reference ball
    recall    = share of reference images inside any generated ball
    density   = mean number of reference balls that hold a generated image, over k
    coverage  = share of reference balls that hold any generated image

The distances between the sets are never stored: float32 matrix products decide, tile by tile, all pairs but those
within the products' rounding error of a radius, and these are decided by float64 differences, as the radii are. So
the result does not depend on the tiles, and a copy of a k-th neighbour counts as outside.
N reference images, M generated images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from genaudit.metrics.result import Caution, Unavailable, per_image, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks
from genaudit.stats.neighbours import nearest
from genaudit.stats.resampling import bootstrap_mean, wilson_interval

REFERENCE_TILE, GENERATED_TILE = 2048, 4096  # products of a tile take 32 MiB, its list of inside pairs at most 128
PAIR_BYTES = 64 << 20  # float64 differences formed at a time
FEW_IMAGES = 500  # below, a share's 95 % interval is wider than 0.08 and the balls are wide too


@dataclass(frozen=True)
class PRDC:
    """Precision, recall and coverage in [0, 1], density in [0, inf); higher is better for all four."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, kw_only=True)
class PRDCResult:
    """Fidelity (precision, density) and diversity (recall, coverage) by nearest-neighbour balls, higher is better.

    `coverage_of_equal_laws` is what coverage would be on average if generated and reference images had the same law;
    density would be 1 then, whatever the numbers of images.
    """

    citation: ClassVar[str] = (
        "Kynkäänniemi, Karras, Laine, Lehtinen, Aila. Improved precision and recall metric for assessing generative "
        "models. NeurIPS 2019. Naeem, Oh, Uh, Choi, Yoo. Reliable fidelity and diversity metrics for generative "
        "models. ICML 2020."
    )
    precision: float = value("higher")
    precision_lower: float
    precision_upper: float
    recall: float = value("higher")
    recall_lower: float
    recall_upper: float
    density: float = value("higher")
    density_lower: float
    density_upper: float
    coverage: float = value("higher")
    coverage_lower: float
    coverage_upper: float
    k: int
    n_generated: int
    n_reference: int
    coverage_of_equal_laws: float
    interval: str = "over images, the balls held fixed: Wilson's for shares, bootstrap for density"
    reference_balls: np.ndarray | None = per_image()  # noqa: RUF009
    cautions: tuple[Caution, ...] = ()


class _Membership(NamedTuple):
    balls: np.ndarray  # (M,) int64: reference balls that hold each generated image
    covered: np.ndarray  # (N,) bool: the reference image's ball holds a generated image
    recalled: np.ndarray  # (N,) bool: the reference image lies in a generated image's ball


def prdc(reference: Any, generated: Any, *, k: int = 5, device: str = "cpu") -> PRDC:
    """Precision, recall, density and coverage, Naeem et al. 2020, Eqs. 1 to 4.

    Args:
        reference: rows (N, D) of real images, N > k: NumPy array, torch tensor or rows on disk.
        generated: rows (M, D), M > k.
        k: the neighbour whose distance is an image's radius, 1 or more.
        device: where the matrix products run.

    Returns:
        four numbers, higher is better. Mode collapse keeps precision and loses recall and coverage.

    Raises:
        ValueError: shapes that do not fit, too few rows for k, or values that are not finite.

    >>> prdc([[0.0], [1.0], [2.0], [3.0]], [[1.5], [1.6], [9.0]], k=1)
    PRDC(precision=0.6666666666666666, recall=0.5, density=1.3333333333333333, coverage=0.5)
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated")
    return _summary(_membership(a, b, k, device), k)


def judge(
    *,
    generated: Any,
    reference: Any,
    k: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> PRDCResult:
    """Precision, recall, density and coverage of generated images, with intervals and each image's number of balls.

    The intervals hold the balls fixed. Those of precision and density say how the value varies over generated images
    against these reference balls, that of recall over reference images against these generated balls, that of
    coverage over reference images with their balls, as if these were independent. The other set's share of the
    variance is not in them.

    Args:
        generated: rows (M, D).
        reference: rows (N, D).
        k: the neighbour whose distance is an image's radius.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap of density.
        device: where the matrix products run.

    Raises:
        Unavailable: a set has no more than k images.
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated")
    n, m = len(a), len(b)
    if min(n, m) <= k:
        raise Unavailable(f"precision and recall with k = {k} need more than {k} images in each set, not {min(n, m)}")
    found = _membership(a, b, k, device)
    summary = _summary(found, k)
    precision = wilson_interval(int(np.count_nonzero(found.balls)), m, confidence)
    recall = wilson_interval(int(found.recalled.sum()), n, confidence)
    coverage = wilson_interval(int(found.covered.sum()), n, confidence)
    density = bootstrap_mean(found.balls / k, confidence=confidence, seed=seed)
    cautions = []
    if min(n, m) < FEW_IMAGES:
        cautions.append(
            Caution(
                "few-images",
                f"Precision, recall, density and coverage rest on {m} generated and {n} reference images; below "
                f"{FEW_IMAGES} the balls are wide and the values move by several hundredths from set to set.",
            )
        )
    if max(n, m) > 2 * min(n, m):
        cautions.append(
            Caution(
                "unequal-sets",
                f"With {m} generated and {n} reference images the balls of the larger set are narrower: recall and "
                f"coverage are not comparable with those of other numbers of images.",
            )
        )
    others = np.arange(n - 1, n - 1 - k, -1.0)
    return PRDCResult(
        precision=summary.precision,
        precision_lower=precision.lower,
        precision_upper=precision.upper,
        recall=summary.recall,
        recall_lower=recall.lower,
        recall_upper=recall.upper,
        density=summary.density,
        density_lower=density.lower,
        density_upper=density.upper,
        coverage=summary.coverage,
        coverage_lower=coverage.lower,
        coverage_upper=coverage.upper,
        k=k,
        n_generated=m,
        n_reference=n,
        # A ball is empty where its k nearest among N - 1 reference and M generated images are all reference images.
        coverage_of_equal_laws=float(1 - np.prod(others / (others + m))),
        reference_balls=found.balls,
        cautions=tuple(cautions),
    )


def _summary(found: _Membership, k: int) -> PRDC:
    return PRDC(
        precision=float(np.mean(found.balls > 0)),
        recall=float(found.recalled.mean()),
        density=float(found.balls.mean()) / k,
        coverage=float(found.covered.mean()),
    )


def _membership(reference: RowsLike, generated: RowsLike, k: int, device: str) -> _Membership:
    """Which points of either set lie in which balls of the other, over all tiles of pairs."""
    import torch

    n, m = len(reference), len(generated)
    if reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"reference and generated must have equally many features, "
            f"not {reference.shape[1]} and {generated.shape[1]}"
        )
    if not 1 <= k < min(n, m):
        raise ValueError(f"k must be at least 1 and below the number of images in each set ({n} and {m}), not {k}")
    radii_reference = nearest(reference, reference, k=k, exclude_self=True, device=device).distances[:, -1]
    radii_generated = nearest(generated, generated, k=k, exclude_self=True, device=device).distances[:, -1]
    # Any common shift leaves distances unchanged; this one keeps the three terms of |x|^2 + |y|^2 - 2 x'y small.
    centre = sum(block.sum(axis=0) for _, block in blocks(reference, "reference")) / n
    # Higham & Mary 2019: a product of D terms errs by at most 6·sqrt(D)·u·|x||y| but once in 10^7; 8u for the rest.
    unit = 2.0**-24 * (6 * np.sqrt(reference.shape[1]) + 8)

    balls, covered, recalled = np.zeros(m, np.int64), np.zeros(n, bool), np.zeros(n, bool)
    for i, x in blocks(reference, "reference", size=REFERENCE_TILE):
        rows = slice(i, i + len(x))
        shifted = (x - centre).astype(np.float32)
        left, left_half = torch.from_numpy(shifted).to(device), _half_squares(shifted)
        low, high = _thresholds(radii_reference[rows], left_half, unit, device)
        for j, y in blocks(generated, "generated", size=GENERATED_TILE):
            columns = slice(j, j + len(y))
            shifted = (y - centre).astype(np.float32)
            right, right_half = torch.from_numpy(shifted).to(device), _half_squares(shifted)
            closeness = left @ right.T  # becomes -distance^2 / 2
            closeness -= torch.from_numpy(left_half.astype(np.float32)).to(device)[:, None]
            closeness -= torch.from_numpy(right_half.astype(np.float32)).to(device)[None, :]

            at_i, at_j = _inside(closeness, low, high, x, y, radii_reference[rows])
            balls[columns] += np.bincount(at_j, minlength=len(y))
            covered[i + at_i] = True
            limits = _thresholds(radii_generated[columns], right_half, unit, device)
            _, at_i = _inside(closeness.T, *limits, y, x, radii_generated[columns])
            recalled[i + at_i] = True
    return _Membership(balls, covered, recalled)


def _half_squares(rows: np.ndarray) -> np.ndarray:
    half: np.ndarray = np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / 2
    return half


def _thresholds(radii: np.ndarray, half_squares: np.ndarray, unit: float, device: str) -> tuple[Any, Any]:
    """What -distance^2/2 must exceed to be perhaps, and to be surely, inside balls of these radii (both float32).

    A point near the sphere is no farther from the origin than centre and radius together, which bounds the error.
    """
    import torch

    norms = np.sqrt(2 * half_squares)
    error = unit * (norms + norms + radii) ** 2
    middle = np.where(radii > 0, -np.square(radii) / 2, np.inf)  # nothing is strictly inside a ball of radius 0
    low, high = ((middle + sign * error).astype(np.float32) for sign in (-1, 1))
    return torch.from_numpy(low).to(device), torch.from_numpy(high).to(device)


def _inside(
    closeness: Any, low: Any, high: Any, centres: np.ndarray, points: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (index of a centre, index of a point) where the point lies strictly within the centre's radius."""
    at_centre, at_point = (closeness > low[:, None]).nonzero(as_tuple=True)
    kept = (closeness[at_centre, at_point] > high[at_centre]).cpu().numpy()
    at_centre, at_point = at_centre.cpu().numpy(), at_point.cpu().numpy()
    unsure = np.nonzero(~kept)[0]
    step = max(1, PAIR_BYTES // (8 * centres.shape[1]))
    for start in range(0, len(unsure), step):
        part = unsure[start : start + step]
        difference = centres[at_centre[part]] - points[at_point[part]]
        kept[part] = np.sqrt(np.einsum("ij,ij->i", difference, difference)) < radii[at_centre[part]]
    return at_centre[kept], at_point[kept]
