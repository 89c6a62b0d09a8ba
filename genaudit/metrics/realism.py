"""Realism of each generated image: how well inside the real images' neighbourhoods it lies (Kynkäänniemi et al. 2019).

    R(g) = max over r of  radius(r) / |g - r|

over the reference images r whose radius, the distance to their k-th neighbour among themselves, is not above the
median: the wide balls of lone real images would make anything near them realistic. R >= 1 means inside such a ball.
N reference images, M generated images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.result import NOT_NEGATIVE, SHARE, Caution, Estimate, Unavailable, per_image, value
from genaudit.stats import balls
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Count
from genaudit.stats.chosen import Chosen
from genaudit.stats.neighbours import Neighbours
from genaudit.stats.subsampling import Spread, kth_kept, over_parts, positive_interval, share_interval

EPSILON = 1e-5  # the authors' code adds it to distances: copies of real images have a high realism, not an infinite one
CANDIDATES = 4  # pairs a tile whose float32 ratios are highest and whose float64 ratios decide
LISTED = 12  # centres of each image that may be its best without some of the reference images
NARROW = 0.65  # share of the centres, by radius, that may be kept then


@dataclass(frozen=True, kw_only=True)
class RealismResult:
    """Ratio of a real neighbourhood's radius to a generated image's distance from its centre; higher is more realistic.

    `realistic` is the share of generated images with a ratio of 1 or more.
    """

    explanation: ClassVar[str] = (
        "How well inside the real images' neighbourhoods each sample lies; 1 or more is inside; quality alone, blind "
        "to diversity."
    )
    citation: ClassVar[str] = (
        "Kynkäänniemi, Karras, Laine, Lehtinen, Aila. Improved precision and recall metric for assessing generative "
        "models. NeurIPS 2019, section 5."
    )
    copies_break: ClassVar[dict[str, str]] = {
        "reference": "balls around copies are narrower, so that realism is too low",
    }
    realism_median: Estimate = value("higher", label="radius over distance, median", range=NOT_NEGATIVE)
    realistic: Estimate = value("higher", label="share inside a neighbourhood", range=SHARE)
    k: int
    n_generated: int
    n_reference: int
    interval: str = (
        "over new generated and reference images in these numbers: from random parts of both sets, Wilson's form for "
        "the share"
    )
    realism: np.ndarray | None = per_image(gallery=("Most realistic", "Least realistic"))
    cautions: tuple[Caution, ...] = ()


def realism(reference: Any, generated: Any, *, k: int = 3, device: str = "cpu") -> np.ndarray:
    """Realism of each generated image, Kynkäänniemi et al. 2019, Eq. 3.

    Args:
        reference: rows (N, D) of real images, N > k: NumPy array, torch tensor or rows on disk.
        generated: rows (M, D).
        k: the neighbour whose distance is a real image's radius; 3 in the paper.
        device: where the matrix products run.

    Returns:
        (M,) float64 above 0, higher is more realistic; 1 or more inside a ball. As in the authors' code, 1e-5 is added
        to every distance.

    Raises:
        ValueError: shapes that do not fit, too few rows for k, or values that are not finite.

    >>> realism([[0.0], [1.0], [2.0], [9.0]], [[0.5], [6.0]], k=1).round(3)
    array([2.  , 0.25])
    """
    a, b = as_rows(reference, "reference"), as_rows(generated, "generated", columns=np.shape(reference)[1])
    if not 1 <= k < len(a):
        raise ValueError(f"k must be at least 1 and below the number of reference images ({len(a)}), not {k}")
    return _realism(a, b, balls.radii(a, k, device=device), device)


def judge(
    *, generated: Any, reference: Any, k: Count = 3, confidence: float = 0.95, seed: int = 0, device: str = "cpu"
) -> RealismResult:
    """Realism of generated images, as a column and in summary.

    Args:
        generated: rows (M, D).
        reference: rows (N, D).
        k: the neighbour whose distance is a real image's radius.
        confidence: of the intervals, in (0, 1).
        seed: of the parts.
        device: where the matrix products run.

    Raises:
        Unavailable: no more than k reference images, or half of the balls have radius 0.
    """
    rows = as_rows(reference, "reference")
    if len(rows) <= k:
        raise Unavailable(f"realism with k = {k} needs more than {k} reference images, not {len(rows)}")
    points = as_rows(generated, "generated", columns=rows.shape[1])
    neighbours = balls.spare_neighbours(rows, k, device=device)
    radii = neighbours.distances[:, k - 1]
    flat = int(np.count_nonzero(radii == 0))
    if np.median(radii) == 0:
        raise Unavailable(f"{flat} of {len(rows)} reference images have {k} copies or more: their balls have radius 0")
    smaller = np.nonzero(radii <= np.median(radii))[0]
    realism = _ratios(Chosen(rows, smaller), radii[smaller], points, device)
    spread = _spread(rows, neighbours, points, k, device, seed)
    middle, share = float(np.median(realism)), float((realism >= 1).mean())
    return RealismResult(
        realism_median=positive_interval(middle, spread["median"], confidence),
        realistic=share_interval(share, spread["realistic"], len(realism), confidence),
        k=k,
        n_generated=len(realism),
        n_reference=len(rows),
        realism=realism,
        cautions=_flat(flat, len(rows), k),
    )


def _flat(flat: int, total: int, k: int) -> tuple[Caution, ...]:
    """A caution where reference images have balls of radius 0."""
    message = (
        f"{flat:,} of {total:,} reference images have {k} copies or more (in features): their balls have radius 0, and "
        f"realism is too low."
    )
    return (Caution("duplicates", message),) if flat else ()


def _realism(reference: RowsLike, generated: RowsLike, radii: np.ndarray, device: str) -> np.ndarray:
    smaller = np.nonzero(radii <= np.median(radii))[0]
    return _ratios(Chosen(reference, smaller), radii[smaller], generated, device)


def _ratios(centres: RowsLike, radii: np.ndarray, points: RowsLike, device: str) -> np.ndarray:
    """The largest radius / (distance + EPSILON) of each point over the centres, (M,).

    Float32 products choose a few candidates in each tile, float64 differences decide among them.
    """
    best = np.zeros(len(points))
    for tile in balls.tiles(centres, points, names=("reference", "generated"), device=device):
        ratios, _ = _squared_ratios(tile, radii)
        count = min(CANDIDATES, len(tile.x))
        for candidate in tile.by.get(tile.by.highest_of_columns(ratios, count)):  # (candidates, C)
            distance = balls.distances(tile.x[candidate], tile.y)
            best[tile.columns] = np.maximum(best[tile.columns], radii[tile.rows][candidate] / (distance + EPSILON))
    return best


def _squared_ratios(tile: balls.Tile, radii: np.ndarray) -> tuple[Any, Any]:
    """radius^2 / distance^2 of all pairs (B, C) of a tile, and the squared distances, float32."""
    own = tile.by.put(radii[tile.rows].astype(np.float32))
    squares = tile.by.at_least(tile.closeness * -2, 1e-30)
    with np.errstate(over="ignore"):  # of copies: infinite is as good
        return own[:, None] ** 2 / squares, squares


def _spread(
    rows: RowsLike, neighbours: Neighbours, points: RowsLike, k: int, device: str, seed: int
) -> dict[str, Spread]:
    """The spreads of the median and of the share over new images of both sets."""
    own = neighbours.distances[:, k - 1]
    narrow = np.nonzero(own <= np.quantile(own, NARROW))[0]
    place, distance = _best_centres(Chosen(rows, narrow), own[narrow], points, device)
    centre = narrow[place]

    def of_part(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        at = kth_kept(neighbours.indices, reference, k)
        radii = np.take_along_axis(neighbours.distances, at[:, None], 1)[:, 0]
        kept = reference & (radii <= np.median(radii[reference]))
        listed = centre[generated]
        ratios = np.where(kept[listed], radii[listed] / (distance[generated] + EPSILON), 0.0).max(axis=1)
        return {"median": float(np.median(ratios)), "realistic": float((ratios >= 1).mean())}

    sizes = {"reference": len(own), "generated": len(points)}
    return over_parts(of_part, sizes, halves=0, seed=seed)


def _best_centres(centres: RowsLike, radii: np.ndarray, points: RowsLike, device: str) -> tuple[np.ndarray, np.ndarray]:
    """The centres (M, LISTED) with the highest ratios of each point, and the float32 distances to them."""
    count = min(LISTED, len(centres))
    parts: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for tile in balls.tiles(centres, points, names=("reference", "generated"), device=device):
        ratios, squares = _squared_ratios(tile, radii)
        at = tile.by.highest_of_columns(ratios, min(count, len(tile.x))).T
        values, near = (tile.by.get(tile.by.take(each.T, at)) for each in (ratios, squares))
        found = (values, tile.by.get(at) + tile.rows.start, np.sqrt(near))
        held = parts.setdefault(tile.columns.start, [])
        held.append(found)
        ratio, place, distance = (np.concatenate(each, axis=1) for each in zip(*held, strict=True))
        order = np.argsort(-ratio, axis=1, kind="stable")[:, :count]
        parts[tile.columns.start] = [
            tuple(np.take_along_axis(each, order, 1) for each in (ratio, place, distance))  # type: ignore[list-item]
        ]
    _, place, distance = (np.concatenate(each) for each in zip(*(parts[i][0] for i in sorted(parts)), strict=True))
    return place, distance
