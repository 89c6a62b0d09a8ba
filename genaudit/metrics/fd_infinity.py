"""Fréchet distance extrapolated to endless images (Chong & Forsyth 2020).

FD of N generated images is biased upward by about c/N, where c depends on the model, so that two models' FDs at
equal N can stand in the wrong order. Over subsets of n_1 < ... < n_P = N images a line

    FD_n = FD_inf + c / n

is fitted by least squares, and its intercept is told. Departure from the authors: a reference set of rows has a bias
of its own, and shrinks with the generated images, by the same share, so that both sets are extrapolated. Where the
reference is given by its moments, as with the authors, its bias stays. N generated images, P subsets, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics import frechet
from genaudit.metrics.result import Caution, Curve, Estimate, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Bounds
from genaudit.stats.chosen import Chosen

LARGEST_START = 5000  # the authors' smallest subset of 50,000 images


@dataclass(frozen=True, kw_only=True)
class FDInfinityResult:
    """Fréchet distance at endless generated images, squared feature units, lower is better; about 0 for equal laws.

    An extrapolation can fall below 0. `slope` is c: the bias at N images is slope/N. `standard_error` is the
    intercept's, over new images and over the random subsets.
    """

    explanation: ClassVar[str] = (
        "The Fréchet distance that endless samples would have: the bias of few is extrapolated away."
    )
    unbiased: ClassVar[bool] = True
    citation: ClassVar[str] = (
        "Chong, Forsyth. Effectively unbiased FID and Inception Score and where to find them. CVPR 2020."
    )
    fd_infinity: Estimate = value("lower")
    standard_error: float | None
    slope: float
    fd: float
    subset_sizes: tuple[int, ...]
    dimensions: int
    n_generated: int
    n_reference: int | None
    interval: str
    extrapolated: str
    line: Curve
    cautions: tuple[Caution, ...] = ()


def fd_infinity(
    generated: Any,
    reference: Any,
    *,
    points: int = 15,
    smallest: int | None = None,
    both: bool = False,
    seed: int = 0,
) -> float:
    """Fréchet distance extrapolated in 1/N to endless generated images, Chong & Forsyth 2020.

    Args:
        generated: rows (N, D), NumPy array, torch tensor or rows on disk.
        reference: rows (M, D), or an object with `mu` (D,), `sigma` (D, D) and perhaps `n`.
        points: P subsets, 3 or more, their sizes evenly spaced from `smallest` to N.
        smallest: images of the smallest subset; None: half of the images, but no more than 5,000. The bias follows 1/n
            only well above D: a smaller start bends the line and the intercept falls below the truth.
        both: a reference of rows shrinks as well, as in `judge`; the authors keep it whole, and its bias stays.
        seed: of the subsets, each drawn without replacement.

    Returns:
        the intercept in squared feature units, lower is better.

    Raises:
        ValueError: shapes that do not fit, too few images for the points, or values that are not finite.
    """
    rows = as_rows(generated, "generated")
    return _fit(rows, reference, _sizes(len(rows), points, smallest), seed, both).intercept


def judge(
    *,
    generated: Any,
    reference: Any,
    points: Annotated[int, Bounds(3, 1000)] = 15,
    smallest: Annotated[int, Bounds(2)] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> FDInfinityResult:
    """FD-infinity of generated images, with a standard error of the intercept.

    The error has two parts, which add up as variances: how FD would vary over new images (the delta method of `fd`:
    all subsets share the images, and the line's weights on the points sum to one) and the scatter of the random
    subsets about the line (its residuals). Where FD has no delta method, because N <= 2 D or M <= 2 D, there is none.

    Args:
        generated: rows (N, D).
        reference: rows (M, D), or an object with `mu` (D,), `sigma` (D, D) and perhaps `n`.
        points, smallest, seed: see `fd_infinity`.
        confidence: of the interval, in (0, 1).

    Raises:
        Unavailable: fewer than 20 images, or fewer than the points need.
    """
    rows = as_rows(generated, "generated")
    n, dimensions = rows.shape
    if n < 20 or n - (smallest or 2) < points:
        raise Unavailable(f"extrapolation over {points} sizes of subsets needs more than {n} generated images")
    fixed = frechet.given_moments(reference) is not None
    if not fixed and len(as_rows(reference, "reference")) < 2:
        raise Unavailable("the reference holds one image, and a covariance needs two or more")
    sizes = _sizes(n, points, smallest)
    line = _fit(rows, reference, sizes, seed, True)
    whole = frechet.judge(generated=rows, reference=reference, confidence=confidence)
    z = float(scipy.special.ndtri(0.5 + confidence / 2))
    error: float | None = None
    if whole.fd.upper is not None:
        error = float(np.hypot((whole.fd.upper - whole.fd) / z, line.intercept_error))
    cautions = list(whole.cautions)
    if sizes[0] <= dimensions < n:
        cautions.append(
            Caution(
                "extrapolation-from-singular-subsets",
                f"The smallest subset has {sizes[0]} images for D = {dimensions} features. The bias follows 1/N only "
                f"well above D: more than {2 * dimensions} generated images keep all subsets above it.",
            )
        )
    return FDInfinityResult(
        fd_infinity=Estimate(line.intercept)
        if error is None
        else Estimate(line.intercept, line.intercept - z * error, line.intercept + z * error),
        standard_error=error,
        slope=line.slope,
        fd=whole.fd.value,
        subset_sizes=tuple(int(size) for size in sizes),
        dimensions=dimensions,
        n_generated=n,
        n_reference=whole.n_reference,
        interval=(
            "none: as for fd"
            if error is None
            else f"over new {'generated' if fixed else 'generated and reference'} images, about the value at endless "
            "ones: delta method of fd, and the subsets' scatter about the line"
            + ("; the reference's moments, and their bias, count as fixed" if fixed else "")
        ),
        extrapolated="generated images" if fixed else "generated and reference images",
        line=Curve(
            title="Fréchet distance over 1/N",
            x_label="1 / number of generated images",
            y_label="Fréchet distance",
            x=np.concatenate([[0.0], 1 / sizes[::-1]]),
            lines={
                "subsets": np.concatenate([[np.nan], line.distances[::-1]]),
                "line": line.intercept + line.slope * np.concatenate([[0.0], 1 / sizes[::-1]]),
            },
        ),
        cautions=tuple(cautions),
    )


@dataclass(frozen=True)
class _Line:
    intercept: float
    slope: float
    intercept_error: float
    distances: np.ndarray  # (P,)


def _sizes(n: int, points: int, smallest: int | None) -> np.ndarray:
    """The subsets' sizes (P,), int64, evenly spaced and all different."""
    start = min(LARGEST_START, n // 2) if smallest is None else smallest
    if points < 3 or not 2 <= start <= n - points + 1:
        raise ValueError(
            f"{points} subsets from {start} to {n} images cannot be drawn: points must be 3 or more, the smallest "
            f"subset 2 images or more, and all sizes different"
        )
    return np.linspace(start, n, points).astype(np.int64)


def _fit(rows: RowsLike, reference: Any, sizes: np.ndarray, seed: int, both: bool) -> _Line:
    """FD of random subsets, and the least-squares line through them over 1/n.

    With `both` a reference of rows shrinks by the same share as the generated images: then both sets' biases follow
    1/n, and the intercept is free of both. Moments stay as they are.
    """
    dimensions = rows.shape[1]
    moments = frechet.given_moments(reference)
    real = None if moments is not None else as_rows(reference, "reference")
    frechet.check_dimensions(dimensions, len(moments.mu) if moments is not None else real.shape[1])  # type: ignore[union-attr]
    fixed = None
    if moments is not None:
        fixed = frechet.gaussian_of_moments(moments.mu, moments.sigma, "of the reference")
    elif not both:
        assert real is not None
        fixed, real = frechet.fit_gaussian(real, "reference"), None
    rng = np.random.default_rng(seed)

    def subset(of: RowsLike, size: int, name: str) -> frechet.Gaussian:
        return frechet.fit_gaussian(Chosen(of, np.sort(rng.choice(len(of), size=size, replace=False))), name)

    distances = np.empty(len(sizes))
    for place, size in enumerate(sizes):
        part = subset(rows, size, "generated")
        target = fixed if real is None else subset(real, max(2, round(size / len(rows) * len(real))), "reference")
        assert target is not None
        distances[place] = sum(frechet.distance_terms(part, target))
    design = np.stack([np.ones(len(sizes)), 1 / sizes], axis=1)
    (intercept, slope), *_ = np.linalg.lstsq(design, distances, rcond=None)
    residuals = distances - design @ [intercept, slope]
    scatter = float(residuals @ residuals) / (len(sizes) - 2)
    variance = scatter * float(np.linalg.inv(design.T @ design)[0, 0])
    return _Line(float(intercept), float(slope), float(np.sqrt(variance)), distances)
