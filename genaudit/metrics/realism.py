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

from genaudit.metrics.result import Caution, Unavailable, per_image, value
from genaudit.stats import balls
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Count
from genaudit.stats.chosen import Chosen
from genaudit.stats.resampling import bootstrap_mean, wilson_interval

EPSILON = 1e-5  # the authors' code adds it to distances: copies of real images have a high realism, not an infinite one
CANDIDATES = 4  # pairs a tile whose float32 ratios are highest and whose float64 ratios decide


@dataclass(frozen=True, kw_only=True)
class RealismResult:
    """Ratio of a real neighbourhood's radius to a generated image's distance from its centre; higher is more realistic.

    `realistic` is the share of generated images with a ratio of 1 or more.
    """

    citation: ClassVar[str] = (
        "Kynkäänniemi, Karras, Laine, Lehtinen, Aila. Improved precision and recall metric for assessing generative "
        "models. NeurIPS 2019, section 5."
    )
    realism_median: float = value("higher")
    realism_median_lower: float
    realism_median_upper: float
    realistic: float = value("higher")
    realistic_lower: float
    realistic_upper: float
    k: int
    n_generated: int
    n_reference: int
    interval: str = "over generated images, the balls held fixed: bootstrap for the median, Wilson's for the share"
    realism: np.ndarray | None = per_image(gallery=True)  # noqa: RUF009
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
    every = balls.radii(a, k, device=device)
    kept = np.nonzero(every <= np.median(every))[0]
    return _ratios(Chosen(a, kept), every[kept], b, device)


def judge(
    *, generated: Any, reference: Any, k: Count = 3, confidence: float = 0.95, seed: int = 0, device: str = "cpu"
) -> RealismResult:
    """Realism of generated images, as a column and in summary.

    Args:
        generated: rows (M, D).
        reference: rows (N, D).
        k: the neighbour whose distance is a real image's radius.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap.
        device: where the matrix products run.

    Raises:
        Unavailable: no more than k reference images.
    """
    rows = as_rows(reference, "reference")
    if len(rows) <= k:
        raise Unavailable(f"realism with k = {k} needs more than {k} reference images, not {len(rows)}")
    found = realism(rows, generated, k=k, device=device)
    median = bootstrap_mean(found, confidence=confidence, seed=seed, median=True)
    inside = int((found >= 1).sum())
    share = wilson_interval(inside, len(found), confidence)
    return RealismResult(
        realism_median=float(np.median(found)),
        realism_median_lower=median.lower,
        realism_median_upper=median.upper,
        realistic=inside / len(found),
        realistic_lower=share.lower,
        realistic_upper=share.upper,
        k=k,
        n_generated=len(found),
        n_reference=len(rows),
        realism=found,
    )


def _ratios(centres: RowsLike, radii: np.ndarray, points: RowsLike, device: str) -> np.ndarray:
    """The largest radius / (distance + EPSILON) of each point over the centres, (M,).

    Float32 products choose a few candidates in each tile, float64 differences decide among them.
    """
    import torch

    best = np.zeros(len(points))
    for tile in balls.tiles(centres, points, names=("reference", "generated"), device=device):
        own = torch.from_numpy(radii[tile.rows].astype(np.float32)).to(tile.closeness.device)
        squares = torch.clamp(tile.closeness * -2, min=1e-30)
        count = min(CANDIDATES, len(tile.x))
        at = torch.topk(own[:, None] ** 2 / squares, count, dim=0).indices.cpu().numpy()  # (candidates, C)
        for candidate in at:
            distance = balls.distances(tile.x[candidate], tile.y)
            best[tile.columns] = np.maximum(best[tile.columns], radii[tile.rows][candidate] / (distance + EPSILON))
    return best
