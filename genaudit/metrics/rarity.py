"""Rarity of each generated image: how sparse the real images are where it lies (Han et al. 2023).

    rarity(g) = min over r with |g - r| < radius(r) of  radius(r)

radius(r) being the distance of a reference image to its k-th neighbour among themselves. A generated image that lies in
no ball has no rarity: it is not rare but unreal. N reference images, M generated images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.result import Caution, Estimate, Unavailable, per_image, value
from genaudit.stats import balls
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Count
from genaudit.stats.subsampling import NOTHING, Spread, over_parts, positive_interval


@dataclass(frozen=True, kw_only=True)
class RarityResult:
    """Radius of the smallest real neighbourhood around a generated image, in feature units; high where it is rare.

    Neither direction is better: compare `rarity_mean` with `rarity_reference`, the mean of real images among the
    others, and models with each other on the same reference images. `share_rated` is the share of generated images
    that lie in any neighbourhood; the others have no rarity.
    """

    explanation: ClassVar[str] = (
        "How sparse the real images are around each sample that lies among them; neither high nor low is better."
    )
    unbiased: ClassVar[bool] = True
    citation: ClassVar[str] = (
        "Han, Choi, Choi, Kim, Ha, Choi. Rarity score: a new metric to evaluate the uncommonness of synthesized "
        "images. ICLR 2023."
    )
    copies_break: ClassVar[dict[str, str]] = {
        "reference": "balls around copies are narrower, so that rarity is too low and fewer images have one",
    }
    rarity_mean: Estimate = value("none", label="mean over samples that have one", held_out="rarity_reference")
    rarity_reference: float
    share_rated: float
    k: int
    n_generated: int
    n_reference: int
    interval: str = (
        "over new generated and reference images in these numbers: from random parts of both sets; images without a "
        "rarity do not count"
    )
    rarity: np.ndarray | None = per_image(gallery=("Rarest", "Most common"))
    cautions: tuple[Caution, ...] = ()


def rarity(reference: Any, generated: Any, *, k: int = 3, device: str = "cpu") -> np.ndarray:
    """Rarity of each generated image, Han et al. 2023, Definition 1.

    Args:
        reference: rows (N, D) of real images, N > k: NumPy array, torch tensor or rows on disk.
        generated: rows (M, D).
        k: the neighbour whose distance is a real image's radius; 3 in the paper.
        device: where the matrix products run.

    Returns:
        (M,) float64 in feature units, above 0; NaN for images in no ball, where the authors' code writes 0.

    Raises:
        ValueError: shapes that do not fit, too few rows for k, or values that are not finite.

    >>> rarity([[0.0], [1.0], [2.0], [9.0]], [[0.5], [5.0], [-7.0]], k=1)
    array([ 1.,  7., nan])
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated", columns=np.shape(reference)[1])
    if not 1 <= k < len(a):
        raise ValueError(f"k must be at least 1 and below the number of reference images ({len(a)}), not {k}")
    return _smallest_balls(a, balls.radii(a, k, device=device), b, device)


def judge(
    *, generated: Any, reference: Any, k: Count = 3, confidence: float = 0.95, seed: int = 0, device: str = "cpu"
) -> RarityResult:
    """Rarity of generated images, as a column and in summary, beside that of the reference images themselves.

    Args:
        generated: rows (M, D).
        reference: rows (N, D).
        k: the neighbour whose distance is a real image's radius.
        confidence: of the interval, in (0, 1).
        seed: of the parts.
        device: where the matrix products run.

    Raises:
        Unavailable: no more than k reference images, or no generated image lies in a ball.
    """
    rows, samples = as_rows(reference, "reference"), as_rows(generated, "generated")
    if len(rows) <= k:
        raise Unavailable(f"rarity with k = {k} needs more than {k} reference images, not {len(rows)}")
    if rows.shape[1] != samples.shape[1]:
        raise ValueError(f"generated must have {rows.shape[1]} columns as the reference has, not {samples.shape[1]}")
    members = balls.Members(balls.spare_neighbours(rows, k, device=device), k, len(samples))
    radii = members.neighbours.distances[:, k - 1]
    rarities = _smallest_balls(rows, radii, samples, device, members=members)
    rated = np.isfinite(rarities)
    flat = int(np.count_nonzero(radii == 0))
    if flat == len(rows):
        raise Unavailable(f"every reference image has {k} copies or more (in features): all balls have radius 0")
    if not rated.any():
        raise Unavailable("no generated image lies in the neighbourhood of a reference image: none has a rarity")
    among = _smallest_balls(rows, radii, rows, device, others=True)
    mean = float(rarities[rated].mean())
    return RarityResult(
        rarity_mean=positive_interval(mean, _spread(members, seed), confidence),
        rarity_reference=float(np.nanmean(among)) if np.isfinite(among).any() else float("nan"),
        share_rated=float(rated.mean()),
        k=k,
        n_generated=len(samples),
        n_reference=len(rows),
        rarity=rarities,
        cautions=_flat(flat, len(rows), k),
    )


def _flat(flat: int, total: int, k: int) -> tuple[Caution, ...]:
    """A caution where reference images have balls of radius 0."""
    message = (
        f"{flat:,} of {total:,} reference images have {k} copies or more (in features): their balls have radius 0 and "
        f"hold nothing. Fewer images have a rarity."
    )
    return (Caution("duplicates", message),) if flat else ()


def _spread(members: balls.Members, seed: int) -> Spread:
    """The spread of the mean rarity over new images of both sets."""
    if not members.complete:
        return NOTHING

    def of_part(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        centre, point = members.inside(reference)
        smallest = np.full(members.points, np.inf)
        np.minimum.at(smallest, point, members.radii(reference)[centre])
        rated = generated & np.isfinite(smallest)
        return {"mean": float(smallest[rated].mean()) if rated.any() else float("nan")}

    sizes = {"reference": len(members.widest), "generated": members.points}
    return over_parts(of_part, sizes, halves=0, seed=seed)["mean"]


def _smallest_balls(
    centres: RowsLike,
    radii: np.ndarray,
    points: RowsLike,
    device: str,
    *,
    others: bool = False,
    members: balls.Members | None = None,
) -> np.ndarray:
    """The least radius of the balls around each point, (M,), NaN in none; with `others` its own doesn't count."""
    smallest = np.full(len(points), np.inf)
    for tile in balls.tiles(centres, points, names=("reference", "generated"), device=device):
        at_centre, at_point = tile.points_inside(radii)
        if others:
            at_centre, at_point = at_centre[at_centre != at_point], at_point[at_centre != at_point]
        np.minimum.at(smallest, at_point, radii[at_centre])
        tile.add_members(members)
    return np.where(np.isfinite(smallest), smallest, np.nan)
