"""CMMD: squared maximum mean discrepancy of CLIP embeddings with a Gaussian kernel (Jayasumana et al. 2024).

    k(x, y) = exp(-|x - y|^2 / (2 sigma^2)),   sigma = 10
    CMMD = 1000 ( mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j) )

over embeddings scaled to unit length, the means over *all* pairs, each image with itself among them: that is the biased
estimate of the authors' code, about 1000·(1 - mean k)·(1/M + 1/N) above the unbiased one. With sigma = 10 on the unit
sphere the kernel is all but linear, and CMMD all but the squared distance of the mean embeddings.
M, N images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.kernel import LEAST, OVER_BOTH, Kernel, check_pair, mmd
from genaudit.metrics.result import Caution, Estimate, value
from genaudit.stats.arrays import as_rows
from genaudit.stats.bounds import Width, checked

SCALE = 1000.0  # the authors', for legible numbers


@dataclass(frozen=True, kw_only=True)
class CMMDResult:
    """1,000 times the squared MMD of unit embeddings, 0 or more, lower is better; biased upward in small sets.

    `cmmd_unbiased` leaves each image's kernel with itself out; it may be negative.
    """

    explanation: ClassVar[str] = (
        "Squared kernel distance with a Gaussian kernel on CLIP's embeddings, biased upward in small sets; falls with "
        "quality and diversity, blind to memorisation."
    )
    citation: ClassVar[str] = (
        "Jayasumana, Ramalingam, Veit, Glasner, Chakrabarti, Kumar. Rethinking FID: towards a better evaluation metric "
        "for image generation. CVPR 2024."
    )
    cmmd: Estimate = value("lower")
    cmmd_unbiased: float
    standard_error: float | None
    sigma: float
    n_generated: int
    n_reference: int
    interval: str
    cautions: tuple[Caution, ...] = ()


def cmmd(x: Any, y: Any, *, sigma: float = 10.0, normalise: bool = True, unbiased: bool = False) -> float:
    """1,000 times the squared MMD of two sets of rows with a Gaussian kernel, Jayasumana et al. 2024.

    Args:
        x: rows (M, D), NumPy array, torch tensor or rows on disk, M >= 2.
        y: rows (N, D), N >= 2.
        sigma: the kernel's width, from 1e-20 to 1e20, in units of the features (of the unit sphere with `normalise`).
        normalise: rows are scaled to unit length first, as the authors do; no row may be zero.
        unbiased: over pairs of different images only; the authors' code takes all pairs.

    Returns:
        the estimate, lower is better; 0 or more unless `unbiased`.

    Raises:
        ValueError: shapes that do not fit, fewer than two rows, a zero row, or values that are not finite.

    >>> round(cmmd([[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]), 6)  # 2000 (1 - exp(-2 / 200))
    19.900333
    """
    a, b = as_rows(x, "x"), as_rows(y, "y")
    check_pair(a, "x", b, "y")
    return (
        SCALE
        * mmd(a, b, gaussian_less_one(sigma, normalise), names=("x", "y"), diagonal=None if unbiased else 0.0).value
    )


def judge(
    *,
    generated: Any,
    reference: Any,
    sigma: Width = 10.0,
    normalise: bool = True,
    confidence: float = 0.95,
) -> CMMDResult:
    """CMMD of generated images to reference images, with the delete-one jackknife's interval.

    The interval says how the value would vary over new images in the same numbers; it does not hold the upward bias.

    Args:
        generated: rows (M, D), M >= 10 for an interval.
        reference: rows (N, D), N >= 10 for an interval.
        sigma, normalise: see `cmmd`.
        confidence: of the interval, in (0, 1).
    """
    x, y = as_rows(generated, "generated"), as_rows(reference, "reference")
    check_pair(x, "generated", y, "reference")
    discrepancy = mmd(x, y, gaussian_less_one(sigma, normalise), names=("generated", "reference"), diagonal=0.0)
    error = None if discrepancy.error is None else SCALE * discrepancy.error
    enough = error is not None and min(len(x), len(y)) >= LEAST
    half = None if error is None or not enough else float(scipy.special.ndtri(0.5 + confidence / 2)) * error
    distance = SCALE * max(discrepancy.value, 0.0)  # rounding alone can make it negative
    return CMMDResult(
        cmmd=Estimate(distance) if half is None else Estimate(distance, max(distance - half, 0.0), distance + half),
        cmmd_unbiased=SCALE * discrepancy.unbiased,
        standard_error=error,
        sigma=float(sigma),
        n_generated=len(x),
        n_reference=len(y),
        interval=OVER_BOTH if enough else "none: fewer than 10 images",
    )


def gaussian_less_one(sigma: float, normalise: bool) -> Kernel:
    """The kernel exp(-|x - y|^2 / (2 sigma^2)) - 1 of blocks of rows, scaled to unit length first if wanted.

    Less one: MMD stays the same, and kernels near 1 keep their digits. Its diagonal is 0.
    """
    checked("sigma", sigma, Width)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if normalise:
            x, y = _unit(x), _unit(y)
        squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2 * (x @ y.T)
        result: np.ndarray = np.expm1(np.maximum(squares, 0.0) / (-2 * sigma**2))
        return result

    return kernel


def _unit(block: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError("a row is zero and has no direction: CMMD scales rows to unit length")
    unit: np.ndarray = block / lengths
    return unit
