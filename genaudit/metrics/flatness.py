"""Does the generator find flat images likely? Patch variation of the images against their log-likelihood.

"Intriguing Properties of Modern GANs", section 4.2 and Figure 8: the coefficient of variation of 8x8 patches is
anti-correlated with the log-likelihood that a GAN assigns.

N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.generator_rows import AIS, by_role, disagreement, leading
from genaudit.metrics.result import Caution, Cloud, Estimate, Unavailable, per_image, value
from genaudit.stats.correlation import correlations

PATCHES = ("patch_variation", "left_out")
KINDS = ("spearman", "pearson")
LEAST = 10  # images, for a correlation with an interval
BLACK_SHARE = 0.2  # of the patches left out: above, there is a caution


@dataclass(frozen=True, kw_only=True)
class FlatnessResult:
    """Rank and linear correlation of patch variation with log-likelihood over real images, in [-1, 1]; no direction.

    Real images: reference, else train, else the generated ones. Far below 0 the generator prefers flat images,
    whatever they show. `by_role` has every role's.
    """

    explanation: ClassVar[str] = (
        "Whether the generator finds flat images likely: correlation of local variation with log-likelihood."
    )
    citation: ClassVar[str] = "Intriguing Properties of Modern GANs. Under review (anonymous authors), 2023."
    spearman: Estimate = value("none", label="by ranks", range=(-1.0, 1.0))
    pearson: Estimate = value("none", label="linear", range=(-1.0, 1.0))
    over: str
    interval: str = "over new images in this number, this generator: percentile bootstrap"
    by_role: dict[str, dict[str, float]]
    patches_left_out: dict[str, float]
    patch_variation: np.ndarray | None = per_image()
    scatter: Cloud
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Mapping[str, Any],
    reference: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    anomalies: Mapping[str, Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> FlatnessResult:
    """Correlation of flatness with likelihood for the roles that are played.

    Args:
        generated, reference, train, anomalies: each {"likelihood": rows of `measures.ais`, "patches": rows of
            `measures.patches.Patches`} of the same images.
        confidence: of the intervals. seed: of the bootstrap.

    Raises:
        Unavailable: fewer than 10 images to correlate over.
    """
    roles = by_role(generated=generated, train=train, reference=reference, anomalies=anomalies)
    likelihood = {role: leading(rows["likelihood"], AIS) for role, rows in roles.items()}
    patches = {role: leading(rows["patches"], PATCHES) for role, rows in roles.items()}
    over = next(role for role in ("reference", "train", "generated") if role in roles)
    finite = {role: int(np.isfinite(each["patch_variation"]).sum()) for role, each in patches.items()}
    if finite[over] < LEAST:
        raise Unavailable(f"needs {LEAST} {over} images that are not black, not {finite[over]}")
    points = {
        role: np.stack([patches[role]["patch_variation"], likelihood[role]["bits_per_dim"]], axis=1) for role in roles
    }
    correlated = {
        role: correlations(*each.T, kinds=KINDS, repeats=500, confidence=confidence, seed=seed)
        for role, each in points.items()
        if finite[role] >= LEAST
    }
    left_out = {role: float(each["left_out"].mean()) for role, each in patches.items()}
    _, cautions = disagreement(likelihood)
    if left_out[over] > BLACK_SHARE:
        message = (
            f"{left_out[over]:.0%} of the patches of {over} images are black and have no coefficient of variation: an "
            "image's number speaks of its other patches only."
        )
        cautions = (*cautions, Caution("black-patches", message))
    return FlatnessResult(
        spearman=correlated[over]["spearman"],
        pearson=correlated[over]["pearson"],
        over=over,
        by_role={
            role: {kind: estimates[kind].value for kind in ("spearman", "pearson")}
            for role, estimates in correlated.items()
        },
        patches_left_out=left_out,
        patch_variation=patches["generated"]["patch_variation"],
        scatter=Cloud(
            "Local variation and log-likelihood (Figure 8)",
            "mean coefficient of variation of 8x8 patches",
            "bits per dimension, higher is likelier",
            points,
        ),
        cautions=cautions,
    )
