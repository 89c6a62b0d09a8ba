"""Spatial Fréchet distance: FD of feature maps with their positions (Nash et al. 2021; sFID).

Pooled features forget where things are; the first channels of an earlier feature map do not. The distance is `fd`'s,
between Gaussians fitted to 7 channels x 17 x 17 positions of `mixed_6/conv` of FID's Inception, 2,023 numbers per image
(`genaudit.measures.spatial`). With another network the map of stride 16 takes its place: a distance of its own.
N images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from genaudit.metrics import frechet
from genaudit.metrics.result import Caution, Estimate, value


@dataclass(frozen=True, kw_only=True)
class SpatialFrechetResult:
    """Fréchet distance of spatial features in their squared units, 0 or more, lower is better; biased up by about D/N.

    The interval is that of `fd`: how the value varies over new images, without its upward bias.
    """

    explanation: ClassVar[str] = (
        "Fréchet distance of feature maps with their positions; sees where things are, which pooled features forget, "
        "blind to memorisation."
    )
    citation: ClassVar[str] = (
        "Nash, Menick, Dieleman, Battaglia. Generating images with sparse representations. ICML 2021."
    )
    sfd: Estimate = value("lower")
    mean_term: float
    covariance_term: float
    dimensions: int
    n_generated: int
    n_reference: int | None
    interval: str
    cautions: tuple[Caution, ...] = ()


def judge(*, generated: Any, reference: Any, confidence: float = 0.95) -> SpatialFrechetResult:
    """Fréchet distance between the spatial features of generated and reference images.

    Args:
        generated: rows (N, D).
        reference: rows (M, D), or an object with `mu` (D,), `sigma` (D, D) and perhaps `n` of spatial features.
        confidence: of the interval, in (0, 1).
    """
    frechet_result = frechet.judge(generated=generated, reference=reference, confidence=confidence)
    return SpatialFrechetResult(
        sfd=frechet_result.fd,
        mean_term=frechet_result.mean_term,
        covariance_term=frechet_result.covariance_term,
        dimensions=frechet_result.dimensions,
        n_generated=frechet_result.n_generated,
        n_reference=frechet_result.n_reference,
        interval=frechet_result.interval,
        cautions=frechet_result.cautions,
    )
