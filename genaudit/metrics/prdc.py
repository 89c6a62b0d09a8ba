"""Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) from nearest-neighbour balls.

Each image carries a ball whose radius is the distance to its k-th neighbour in its own set, itself left out; a point
lies inside if it is strictly nearer. Then (Naeem et al. 2020, Eqs. 1 to 4)

    precision = share of generated images inside any reference ball
    recall    = share of reference images inside any generated ball
    density   = mean number of reference balls that hold a generated image, over k
    coverage  = share of reference balls that hold any generated image

The balls and who lies in them are `stats.balls`'; the distances between the sets are never stored.
N reference images, M generated images, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from genaudit.metrics.result import NOT_NEGATIVE, SHARE, Caution, Estimate, Unavailable, per_image, value
from genaudit.stats import balls
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Count
from genaudit.stats.subsampling import NOTHING, Spread, over_parts, positive_interval, share_interval

FEW_IMAGES = 500  # below, a share's 95 % interval is wider than 0.08 and the balls are wide too


@dataclass(frozen=True)
class PRDCValues:
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

    explanation: ClassVar[str] = (
        "Neighbourhood overlap: precision and density speak of quality, recall and coverage of diversity; blind to "
        "memorisation."
    )
    citation: ClassVar[str] = (
        "Kynkäänniemi, Karras, Laine, Lehtinen, Aila. Improved precision and recall metric for assessing generative "
        "models. NeurIPS 2019. Naeem, Oh, Uh, Choi, Yoo. Reliable fidelity and diversity metrics for generative "
        "models. ICML 2020."
    )
    copies_break: ClassVar[dict[str, str]] = {
        "reference": "balls around copies are narrower, so that precision, density and coverage are too low",
        "generated": "balls around copies are narrower, so that recall is too low",
    }
    precision: Estimate = value("higher", label="samples near real images", range=SHARE)
    recall: Estimate = value("higher", label="real images near samples", range=SHARE)
    density: Estimate = value("higher", label="real neighbourhoods a sample lies in", range=NOT_NEGATIVE)
    coverage: Estimate = value("higher", label="real images with a sample nearby", range=SHARE)
    k: int
    n_generated: int
    n_reference: int
    coverage_of_equal_laws: float
    interval: str = (
        "over new generated and reference images in these numbers: from random parts, Wilson's form for shares"
    )
    reference_balls: np.ndarray | None = per_image()
    cautions: tuple[Caution, ...] = ()


class _Membership(NamedTuple):
    counts: np.ndarray  # (M,) int64: reference balls that hold each generated image
    covered: np.ndarray  # (N,) bool: the reference image's ball holds a generated image
    recalled: np.ndarray  # (N,) bool: the reference image lies in a generated image's ball
    flat_reference: int  # balls of radius 0, which hold nothing
    flat_generated: int
    spare: tuple[balls.Members, balls.Members] | None  # of the reference's balls, and of the generated images'


def prdc(reference: Any, generated: Any, *, k: int = 5, device: str = "cpu") -> PRDCValues:
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
    PRDCValues(precision=0.6666666666666666, recall=0.5, density=1.3333333333333333, coverage=0.5)
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated")
    return _summary(_membership(a, b, k, device), k)


def judge(
    *,
    generated: Any,
    reference: Any,
    k: Count = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> PRDCResult:
    """Precision, recall, density and coverage of generated images, with intervals and each image's number of balls.

    The intervals say how each value varies over new images of both sets in the same numbers, their balls included:
    from random parts of both sets, in Wilson's form for the shares. The values' dependence on the numbers of images is
    not in them.

    Args:
        generated: rows (M, D).
        reference: rows (N, D).
        k: the neighbour whose distance is an image's radius.
        confidence: of the intervals, in (0, 1).
        seed: of the parts.
        device: where the matrix products run.

    Raises:
        Unavailable: a set has no more than k images.
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated")
    n, m = len(a), len(b)
    if min(n, m) <= k:
        raise Unavailable(f"precision and recall with k = {k} need more than {k} images in each set, not {min(n, m)}")
    membership = _membership(a, b, k, device, spare=True)
    if membership.flat_reference == n:
        raise Unavailable(f"every reference image has {k} copies or more (in features): all balls have radius 0")
    summary = _summary(membership, k)
    assert membership.spare is not None
    spread = _spread(*membership.spare, k, seed)
    density = positive_interval(summary.density, spread["density"], confidence)
    if summary.density > 0.95 * n / k:  # nearly every ball holds every image: the value cannot move
        density = Estimate(summary.density)
    cautions = [
        Caution(
            "duplicates",
            f"{flat:,} of {total:,} {role} images have {k} copies or more (in features): their balls have radius 0 and "
            f"hold nothing, so that {values} too low.",
        )
        for role, flat, total, values in (
            ("reference", membership.flat_reference, n, "precision, density and coverage are"),
            ("generated", membership.flat_generated, m, "recall is"),
        )
        if flat
    ]
    if min(n, m) < FEW_IMAGES:
        cautions.append(
            Caution(
                "few-images",
                f"Precision, recall, density and coverage rest on {m} generated and {n} reference images, and depend "
                f"on their number{_dependence(summary, spread)}: compare them only with values of equally many.",
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
        precision=share_interval(summary.precision, spread["precision"], m, confidence),
        recall=share_interval(summary.recall, spread["recall"], n, confidence),
        density=density,
        coverage=share_interval(summary.coverage, spread["coverage"], n, confidence),
        k=k,
        n_generated=m,
        n_reference=n,
        # A ball is empty where its k nearest among N - 1 reference and M generated images are all reference images.
        coverage_of_equal_laws=float(1 - np.prod(others / (others + m))),
        reference_balls=membership.counts,
        cautions=tuple(cautions),
    )


def prepared(*, reference: Any, k: Count = 5, device: str = "cpu") -> Callable[[Any], dict[str, float]]:
    """The four values alone as a function of generated rows, with the reference's balls found once."""
    a = as_rows(reference, "reference")
    radii = balls.radii(a, k, device=device) if len(a) > k else None

    def values_of(generated: Any) -> dict[str, float]:
        b = as_rows(generated, "generated")
        return vars(_summary(_membership(a, b, k, device, radii=radii), k))

    return values_of


def _dependence(summary: PRDCValues, spread: dict[str, Spread]) -> str:
    """What the values are at half of the images, measured on these sets; empty where that is not known."""
    values = [
        f"{name} {getattr(summary, name):.2f}, at half of them {each.at_half:.2f}"
        for name, each in spread.items()
        if np.isfinite(each.at_half)
    ]
    return f" ({'; '.join(values)}: measured)" if values else ""


def _summary(membership: _Membership, k: int) -> PRDCValues:
    return PRDCValues(
        precision=float(np.mean(membership.counts > 0)),
        recall=float(membership.recalled.mean()),
        density=float(membership.counts.mean()) / k,
        coverage=float(membership.covered.mean()),
    )


def _spread(of_reference: balls.Members, of_generated: balls.Members, k: int, seed: int) -> dict[str, Spread]:
    """Errors of the four values over new images of both sets, and their means at half of the images."""
    sizes = {"reference": len(of_reference.widest), "generated": len(of_generated.widest)}
    if not (of_reference.complete and of_generated.complete):
        return dict.fromkeys(("precision", "recall", "density", "coverage"), NOTHING)

    def of_part(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        centre, point = of_reference.inside(reference)
        in_part = generated[point]
        centre, point = centre[in_part], point[in_part]
        recalled = of_generated.inside(generated)[1]
        n, m = int(reference.sum()), int(generated.sum())
        return {
            "precision": np.count_nonzero(np.bincount(point, minlength=1)) / m,
            "recall": np.count_nonzero(np.bincount(recalled[reference[recalled]], minlength=1)) / n,
            "density": len(point) / (k * m),
            "coverage": np.count_nonzero(np.bincount(centre, minlength=1)) / n,
        }

    return over_parts(of_part, sizes, seed=seed)


def _membership(
    reference: RowsLike,
    generated: RowsLike,
    k: int,
    device: str,
    *,
    spare: bool = False,
    radii: np.ndarray | None = None,
) -> _Membership:
    """Which points of either set lie in which balls of the other, over all tiles of pairs.

    `spare` for the errors; `radii` of the reference's balls where they are known.
    """
    n, m = len(reference), len(generated)
    if reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"reference and generated must have equally many features, "
            f"not {reference.shape[1]} and {generated.shape[1]}"
        )
    if not 1 <= k < min(n, m):
        raise ValueError(f"k must be at least 1 and below the number of images in each set ({n} and {m}), not {k}")
    if spare:
        of_reference = balls.Members(balls.spare_neighbours(reference, k, device=device), k, m)
        of_generated = balls.Members(balls.spare_neighbours(generated, k, device=device), k, n)
        members = (of_reference, of_generated)
        radii_reference, radii_generated = (each.neighbours.distances[:, k - 1] for each in members)
    else:
        members = None
        radii_reference = balls.radii(reference, k, device=device) if radii is None else radii
        radii_generated = balls.radii(generated, k, device=device)
    counts, covered, recalled = np.zeros(m, np.int64), np.zeros(n, bool), np.zeros(n, bool)
    for tile in balls.tiles(reference, generated, names=("reference", "generated"), device=device):
        at_reference, at_generated = tile.points_inside(radii_reference)
        counts += np.bincount(at_generated, minlength=m)
        covered[at_reference] = True
        recalled[tile.centres_inside(radii_generated)[0]] = True
        if members is not None:
            tile.add_members(*members)
    flat = [int(np.count_nonzero(radii == 0)) for radii in (radii_reference, radii_generated)]
    return _Membership(counts, covered, recalled, flat[0], flat[1], members)
