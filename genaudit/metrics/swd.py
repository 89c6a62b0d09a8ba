"""Sliced Wasserstein distance of features (Rabin et al. 2012; Bonneel et al. 2015).

    SW2^2 = E over unit vectors u of W2^2(u'X, u'Y)

the mean over random directions of one-dimensional transport costs, each exact by sorting. No Gaussian is fitted and
no covariance: it is zero only for equal laws, and needs fewer images than FD. N, M images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import NOT_NEGATIVE, Estimate, value
from genaudit.stats.bounds import Repeats
from genaudit.stats.sliced import LEAST, random_directions, sliced_wasserstein


@dataclass(frozen=True, kw_only=True)
class SWDResult:
    """Root of the mean squared transport cost along a direction, in feature units, 0 or more, lower is better.

    It shrinks as 1/sqrt(D) with the number of features; `squared` is its square.
    """

    explanation: ClassVar[str] = (
        "Transport cost between the features along random directions; zero only for equal laws, blind to memorisation."
    )
    citation: ClassVar[str] = (
        "Bonneel, Rabin, Peyré, Pfister. Sliced and Radon Wasserstein barycenters of measures. Journal of "
        "Mathematical Imaging and Vision 2015."
    )
    swd: Estimate = value("lower", range=NOT_NEGATIVE)
    squared: float
    directions: int
    n_generated: int
    n_reference: int
    interval: str = (
        "over new generated and reference images in these numbers, and new directions: del Barrio's and Loubes' normal "
        "limit; none from one direction or fewer than 10 images; the value's upward bias is not in it"
    )


def swd(x: Any, y: Any, *, directions: int = 1000, seed: int = 0) -> float:
    """Sliced Wasserstein-2 distance between two sets of rows; symmetric in its arguments.

    Args:
        x: rows (N, D), NumPy array, torch tensor or rows on disk.
        y: rows (M, D); the sets need not be equally large.
        directions: random unit vectors; the root's relative error from them is about sqrt(1/(2·directions)) at most
            where one direction holds the whole difference, and far smaller elsewhere.
        seed: of the directions.

    Returns:
        the distance in feature units, lower is better.

    Raises:
        ValueError: shapes that do not fit, no direction, or values that are not finite.

    >>> round(swd([[0.0], [2.0]], [[5.0], [3.0]]), 12)
    3.0
    """
    return float(np.sqrt(sliced_wasserstein(x, y, random_directions(directions, np.shape(x)[1], seed)).mean))


def judge(
    *, generated: Any, reference: Any, directions: Repeats = 1000, confidence: float = 0.95, seed: int = 0
) -> SWDResult:
    """Sliced Wasserstein distance of generated images to reference images.

    Args:
        generated: rows (N, D).
        reference: rows (M, D).
        directions: random unit vectors.
        confidence: of the interval, in (0, 1).
        seed: of the directions.
    """
    drawn = random_directions(directions, np.shape(generated)[1], seed)
    sliced = sliced_wasserstein(generated, reference, drawn, names=("generated", "reference"))
    half = float(scipy.special.ndtri(0.5 + confidence / 2)) * sliced.standard_error
    enough = directions > 1 and min(len(generated), len(reference)) >= LEAST
    cost = Estimate(sliced.mean, *(max(sliced.mean - half, 0.0), sliced.mean + half) if enough else ())
    return SWDResult(
        swd=cost.map(lambda mean: float(np.sqrt(mean))),
        squared=sliced.mean,
        directions=directions,
        n_generated=len(generated),
        n_reference=len(reference),
    )
