"""Anomaly Score of a set (AS) and of single images (AS-i), from complexity and vulnerability.

Hwang, Lee & Lee 2024: AS is the two-sample, two-dimensional Kolmogorov-Smirnov statistic between the clouds
(complexity, vulnerability) of reference and generated images; AS-i = vulnerability / complexity of an image.

Rows are the anomaly measure's (`genaudit.metrics.anomaly_rows`). N images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.anomaly_rows import (
    COMPLEXITY,
    COMPLEXITY_SE,
    VULNERABILITY,
    VULNERABILITY_SE,
    cautions_of,
    column,
    is_noise,
    noise_share,
    table_of,
)
from genaudit.metrics.result import SHARE, Caution, Cloud, Estimate, Unavailable, per_image, value
from genaudit.stats.bounds import Repeats
from genaudit.stats.estimate import LEAST, bootstrap_indices, bootstrap_mean, percentile_interval
from genaudit.stats.ks2d import Gap, ks2d_2samp
from genaudit.stats.two_sets import Contrast, contrast

LEVELS = 5

CITATION = (
    "Hwang, Lee, Lee. Anomaly Score: evaluating generative models and individual generated images based on complexity "
    "and vulnerability. CVPR 2024."
)


@dataclass(frozen=True)
class AnomalyScoreTest:
    """AS in [0, 1], lower is better; `pvalue` is the permutation test's, `pvalue_asymptotic` is ndtest's formula."""

    statistic: float
    pvalue: float | None
    pvalue_asymptotic: float | None


@dataclass(frozen=True, kw_only=True)
class AnomalyScoreResult:
    """Distance between the complexity and vulnerability of generated and of real images, in [0, 1], lower is better.

    Finite sets of the same law do not reach 0: read `as` beside `null_mean` and `null_95`, the permutation null's mean
    and 95 % point at these numbers of images. `pvalue` is the permutation test's, `pvalue_asymptotic` is
    ndtest-compatible and approximate. `gap` says where the two clouds differ most.
    """

    hypothesis: ClassVar[str] = "generated and reference images have one distribution of complexity and vulnerability"
    explanation: ClassVar[str] = (
        "How far the clouds of complexity and vulnerability of generated and real images lie apart; sees anomalous "
        "images, blind to mode collapse and memorisation."
    )
    citation: ClassVar[str] = CITATION
    statistic: Estimate = value("lower", name="as", range=SHARE)
    pvalue: float | None
    pvalue_asymptotic: float | None
    null_mean: float | None
    null_95: float | None
    complexity: Contrast
    vulnerability: Contrast
    noise_share_generated: float | None
    noise_share_reference: float | None
    left_out_generated: int
    left_out_reference: int
    n_generated: int
    n_reference: int
    gap: dict[str, float | str] | None
    interval: str = "over new generated and reference images in these numbers: bootstrap, recentred on the value"
    note: str = (
        "AS does not see mode collapse: copies of a few real images score like real images. Recall, coverage and IRS "
        "see it."
    )
    cloud: Cloud
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnomalyScoreImagesResult:
    """AS-i = vulnerability / complexity of every generated image, in feature units per radian; lower is more natural.

    Images whose complexity is undefined or rounding noise have no AS-i. The mean over a set does not rank models.
    """

    explanation: ClassVar[str] = (
        "Vulnerability over complexity of each image; high where an image looks anomalous to the feature model."
    )
    unbiased: ClassVar[bool] = True
    citation: ClassVar[str] = CITATION
    as_i_mean: Estimate | None = value("none", label="mean over images", held_out="as_i_mean_reference")
    as_i_median: Estimate | None = value("none", label="median over images", held_out="as_i_median_reference")
    as_i_mean_reference: float | None
    as_i_median_reference: float | None
    n_generated: int
    n_without_as_i: int
    noise_share_generated: float | None
    interval: str = "over new generated images in this number: percentile bootstrap"
    complexity: np.ndarray | None = per_image()
    vulnerability: np.ndarray | None = per_image()
    as_i: np.ndarray | None = per_image(gallery=("Most anomalous", "Least anomalous"))
    as_i_level: np.ndarray | None = per_image(levels=True)
    complexity_se: np.ndarray | None = per_image()
    vulnerability_se: np.ndarray | None = per_image()
    as_i_se: np.ndarray | None = per_image()
    cautions: tuple[Caution, ...] = ()


def anomaly_score(reference: Any, generated: Any, *, permutations: int = 999, seed: int = 0) -> AnomalyScoreTest:
    """AS of a generated set: 2-D Kolmogorov-Smirnov statistic against a reference set, Hwang et al. 2024, section 4.

    Args:
        reference: rows (N, 2), complexity and vulnerability of real images.
        generated: rows (M, 2).
        permutations: of the p-value's null.
        seed: of the permutations.

    Returns:
        the statistic in [0, 1], lower is better, and its p-values; ndtest's convention, which the authors use.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.

    >>> anomaly_score([[0.0, 0.0], [1.0, 1.0]], [[5.0, 5.0], [6.0, 6.0]]).statistic
    1.0
    """
    test = ks2d_2samp(reference, generated, pvalue="permutation", permutations=permutations, seed=seed)
    asymptotic = ks2d_2samp(reference, generated, pvalue="asymptotic").pvalue
    return AnomalyScoreTest(test.statistic, test.pvalue, asymptotic)


def anomaly_score_i(rows: Any) -> np.ndarray:
    """AS-i = vulnerability / complexity per image, Hwang et al. 2024, section 5.

    Args:
        rows: (N, 2) complexity and vulnerability, or (N, 3 or more) with complexity_lag2 next.

    Returns:
        (N,) float64, 0 or more, higher is more anomalous. NaN where complexity is not a number, 0, or rounding
        noise (lag-2 angle below the lag-1 angle).

    Raises:
        ValueError: a wrong shape.

    >>> anomaly_score_i([[0.5, 3.0], [0.0, 1.0]])
    array([ 6., nan])
    """
    table = table_of(rows, "rows")
    complexity = np.where(is_noise(table) | ~(table[:, COMPLEXITY] > 0), np.nan, table[:, COMPLEXITY])
    scores: np.ndarray = np.where(np.isfinite(table[:, VULNERABILITY]), table[:, VULNERABILITY], np.nan) / complexity
    return scores


def judge(
    *,
    generated: Any,
    reference: Any,
    permutations: Repeats = 499,
    bootstraps: Repeats = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> AnomalyScoreResult:
    """AS of generated against reference images, with its permutation null and a bootstrap interval.

    Images without a finite complexity and vulnerability are left out and counted. A bootstrap of a Kolmogorov-Smirnov
    statistic is biased upward (repeated images make both clouds coarser), so the bootstrap's spread is put around the
    value itself: the interval says how AS would vary over new images in these numbers, not how far the laws differ.

    Args:
        generated: anomaly rows (M, 2 or more).
        reference: anomaly rows (N, 2 or more).
        permutations: of the null; the p-value is (1 + #{as high}) / (1 + permutations).
        bootstraps: repeats behind the interval.
        confidence: of the interval, in (0, 1).
        seed: of permutations and bootstrap.

    Raises:
        Unavailable: fewer than two images of a role have a finite complexity and vulnerability.
    """
    tables = {"generated": table_of(generated, "generated"), "reference": table_of(reference, "reference")}
    points = {role: table[np.isfinite(table[:, :2]).all(axis=1), :2] for role, table in tables.items()}
    for role, rows in points.items():
        if len(rows) < 2:
            raise Unavailable(
                f"AS needs 2 or more {role} images with finite complexity and vulnerability, not {len(rows)}"
            )
    fake, real = points["generated"], points["reference"]
    test = ks2d_2samp(real, fake, pvalue="permutation", permutations=permutations, seed=seed)
    asymptotic = ks2d_2samp(real, fake, pvalue="asymptotic").pvalue
    repeats = np.array(
        [
            ks2d_2samp(real[i], fake[j], pvalue=None).statistic
            for i, j in bootstrap_indices((len(real), len(fake)), repeats=bootstraps, seed=seed)
        ]
    )
    estimate = Estimate(test.statistic)
    if min(len(fake), len(real)) >= LEAST:
        spread = percentile_interval(0.0, repeats - repeats.mean(), confidence)
        estimate = spread.map(lambda offset: min(max(test.statistic + offset, 0.0), 1.0))
    noise = {role: noise_share(table) for role, table in tables.items()}
    left_out = {role: len(table) - len(points[role]) for role, table in tables.items()}
    return AnomalyScoreResult(
        statistic=estimate,
        pvalue=test.pvalue,
        pvalue_asymptotic=asymptotic,
        null_mean=test.null_mean,
        null_95=test.null_95,
        complexity=contrast(fake[:, COMPLEXITY], real[:, COMPLEXITY], "generated lower", permutations, seed),
        vulnerability=contrast(fake[:, VULNERABILITY], real[:, VULNERABILITY], "generated higher", permutations, seed),
        noise_share_generated=noise["generated"],
        noise_share_reference=noise["reference"],
        left_out_generated=left_out["generated"],
        left_out_reference=left_out["reference"],
        n_generated=len(fake),
        n_reference=len(real),
        gap=_gap(test.gap),
        cloud=Cloud(
            "Complexity against vulnerability",
            "complexity (rad)",
            "vulnerability (feature units)",
            dict(points),
            marker=None if test.gap is None else (test.gap.x, test.gap.y),
            marker_label="the clouds differ most around here",
        ),
        cautions=cautions_of(noise, left_out, tables),
    )


def judge_images(
    *, generated: Any, reference: Any = None, confidence: float = 0.95, seed: int = 0, bootstraps: Repeats = 1000
) -> AnomalyScoreImagesResult:
    """AS-i of every generated image, with mean and median over the images that have one.

    Args:
        generated: anomaly rows (M, 2 or more).
        reference: anomaly rows (N, 2 or more) or None; only their mean and median are told.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap.
        bootstraps: repeats behind an interval.
    """
    table = table_of(generated, "generated")
    scores = anomaly_score_i(table)
    finite = scores[np.isfinite(scores)]
    beside = np.empty(0) if reference is None else anomaly_score_i(table_of(reference, "reference"))
    beside = beside[np.isfinite(beside)]
    errors = [column(table, index) for index in (COMPLEXITY_SE, VULNERABILITY_SE)]
    score_error: np.ndarray | None = None
    if errors[0] is not None and errors[1] is not None:  # of a ratio, to first order
        relative = [error / table[:, index] for error, index in zip(errors, (COMPLEXITY, VULNERABILITY), strict=True)]
        score_error = scores * np.hypot(*relative)
    noise = noise_share(table)
    keys: dict[str, Any] = {"repeats": bootstraps, "confidence": confidence, "seed": seed}
    mean, median = (bootstrap_mean(finite, **keys, median=median) if len(finite) else None for median in (False, True))
    return AnomalyScoreImagesResult(
        as_i_mean=mean,
        as_i_median=median,
        as_i_mean_reference=float(beside.mean()) if len(beside) else None,
        as_i_median_reference=float(np.median(beside)) if len(beside) else None,
        n_generated=len(scores),
        n_without_as_i=len(scores) - len(finite),
        noise_share_generated=noise,
        complexity=table[:, COMPLEXITY],
        vulnerability=table[:, VULNERABILITY],
        as_i=scores,
        as_i_level=levels_of(scores, beside=beside),
        complexity_se=errors[0],
        vulnerability_se=errors[1],
        as_i_se=score_error,
        cautions=cautions_of(
            {"generated": noise},
            {"generated": int(np.count_nonzero(~np.isfinite(table[:, :2]).all(axis=1)))},
            {"generated": table},
        ),
    )


def _gap(gap: Gap | None) -> dict[str, float | str] | None:
    """Where the clouds differ most, in the names of roles and quantities."""
    if gap is None:
        return None
    quadrant = gap.quadrant.replace("y ", "vulnerability ").replace("x ", "complexity ")
    return {
        "complexity": gap.x,
        "vulnerability": gap.y,
        "quadrant": quadrant,
        "share_reference": gap.share_a,
        "share_generated": gap.share_b,
    }


def levels_of(scores: np.ndarray, levels: int = LEVELS, beside: np.ndarray | None = None) -> np.ndarray:
    """Levels 1 (most natural) to `levels` of AS-i, Hwang et al. 2024, section H; NaN where there is no AS-i.

    Bounds are evenly spaced between the 1st and 99th percentile of `beside` (the reference images' AS-i: levels of
    different generated sets then mean the same) and `scores` together; what lies beyond belongs to the end levels.

    >>> levels_of(np.array([1.0, 2.0, 3.0, np.nan]), levels=3)
    array([ 1.,  2.,  3., nan])
    """
    finite = np.concatenate([scores, np.empty(0) if beside is None else beside])
    finite = finite[np.isfinite(finite)]
    if len(finite) == 0:
        return np.full(len(scores), np.nan)
    low, high = np.quantile(finite, (0.01, 0.99)) if len(finite) >= 100 else (finite.min(), finite.max())
    bounds = np.linspace(low, high, levels + 1)[1:-1]
    numbers: np.ndarray = np.where(np.isfinite(scores), np.searchsorted(bounds, scores, side="right") + 1.0, np.nan)
    return numbers
