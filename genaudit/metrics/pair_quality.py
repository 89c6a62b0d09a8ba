"""PSNR, SSIM and LPIPS of images against their partners: reconstructions, restored or compressed images.

The definitions are those of `genaudit.stats.image_similarity`; LPIPS is the package's. N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.result import Caution, Estimate, Unavailable, per_image, value
from genaudit.stats.estimate import bootstrap_mean
from genaudit.stats.image_similarity import SMALLEST, psnr


@dataclass(frozen=True, kw_only=True)
class PairQuality:
    """PSNR in decibels and SSIM up to 1, means over pairs, higher is better."""

    explanation: ClassVar[str] = (
        "How near each image is to its partner, pixel by pixel (PSNR) and in local structure (SSIM); both favour "
        "blurred images, which the Fr\N{LATIN SMALL LETTER E WITH ACUTE}chet distance beside them sees."
    )
    citation: ClassVar[str] = (
        "Wang, Bovik, Sheikh, Simoncelli. Image quality assessment: from error visibility to structural similarity. "
        "IEEE Transactions on Image Processing 2004."
    )
    unbiased: ClassVar[bool] = True
    psnr: Estimate = value("higher", label="decibels, mean over pairs")
    ssim: Estimate = value("higher", label="mean over pairs", range=(-1.0, 1.0))
    n_pairs: int
    identical: int
    psnr_of_mean_error: float | None
    interval: str = "over new pairs: percentile bootstrap"
    psnr_of_image: np.ndarray | None = per_image(name="psnr", gallery=("Nearest to their partners", "Farthest"))
    ssim_of_image: np.ndarray | None = per_image(name="ssim")
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PairDistance:
    """LPIPS, a distance in a network's features, 0 for equal images, mean over pairs, lower is better."""

    explanation: ClassVar[str] = "How different each image looks from its partner, in a network's features."
    citation: ClassVar[str] = (
        "Zhang, Isola, Efros, Shechtman, Wang. The unreasonable effectiveness of deep features as a perceptual metric. "
        "CVPR 2018."
    )
    unbiased: ClassVar[bool] = True
    lpips: Estimate = value("lower", label="mean over pairs")
    n_pairs: int
    interval: str = "over new pairs: percentile bootstrap"
    lpips_of_image: np.ndarray | None = per_image(name="lpips", gallery=("Look most different", "Look most alike"))


def judge(*, generated: Any, confidence: float = 0.95, seed: int = 0) -> PairQuality:
    """PSNR and SSIM of pairs from their errors.

    Args:
        generated: rows (N, 2) of each generated image with its partner: mean squared error, SSIM (NaN: too small).
        confidence: of the intervals, in (0, 1). seed: of the bootstrap.

    Raises:
        Unavailable: no pair.
    """
    rows = np.asarray(generated[:], np.float64)
    if not len(rows):
        raise Unavailable("there is no pair")
    decibels = psnr(rows[:, 0])
    finite = np.where(np.isfinite(decibels), decibels, np.nan)
    identical = int(np.isinf(decibels).sum())
    cautions = []
    if identical:
        cautions.append(
            Caution(
                "identical-pairs",
                f"{identical:,} of {len(rows):,} images equal their partners: their PSNR is infinite, and the mean is "
                "that of the others.",
            )
        )
    if np.isnan(rows[:, 1]).any():
        message = f"{int(np.isnan(rows[:, 1]).sum()):,} images have a side below {SMALLEST} pixels, and no SSIM."
        cautions.append(Caution("too-small-for-ssim", message))
    mean_error = float(rows[:, 0].mean())
    return PairQuality(
        psnr=bootstrap_mean(finite, confidence=confidence, seed=seed),
        ssim=bootstrap_mean(rows[:, 1], confidence=confidence, seed=seed),
        n_pairs=len(rows),
        identical=identical,
        psnr_of_mean_error=float(psnr([mean_error])[0]) if mean_error else None,
        psnr_of_image=finite,
        ssim_of_image=rows[:, 1],
        cautions=tuple(cautions),
    )


def judge_distance(*, generated: Any, confidence: float = 0.95, seed: int = 0) -> PairDistance:
    """The mean LPIPS of pairs.

    Args:
        generated: rows (N, 1), the distance of each generated image from its partner.
        confidence: of the interval, in (0, 1). seed: of the bootstrap.
    """
    distances = np.asarray(generated[:], np.float64)[:, 0]
    return PairDistance(
        lpips=bootstrap_mean(distances, confidence=confidence, seed=seed),
        n_pairs=len(distances),
        lpips_of_image=distances,
    )
