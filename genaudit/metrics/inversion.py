"""Do real images lie on the generator's manifold? Reconstruction errors by role, and the observation noise they imply.

"Intriguing Properties of Modern GANs", Eq. 3, Figures 3, 5, 10 and 11, appendix B.3 and Table 3. A generator's own
images are recovered almost exactly; the paper finds the errors of training images an order of magnitude above.

N images, L latent dimensions, C channels, T side of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.generator_rows import INVERSION, by_role, classified, densities, leading, scores_by_class
from genaudit.metrics.result import SHARE, Caution, Curve, Estimate, PictureRow, Pictures, RoleImage, per_image, value
from genaudit.stats.auroc import auroc_interval
from genaudit.stats.estimate import bootstrap, bootstrap_mean

SHOWN = 4  # images a role beside their reconstructions, from the best recovered to the worst
SEPARATE = 10.0  # an order of magnitude between the errors of real and of generated images


@dataclass(frozen=True, kw_only=True)
class InversionResult:
    """How near the generator comes to each role's images: median mean squared error per number on the [0, 1] scale.

    `error_ratio`: median of the real images (train if given, else reference) over that of generated ones; 1 where real
    images lie on the manifold as generated ones do. `auroc_train`: how well the error tells real from generated, 0.5 is
    ideal. `auroc_anomalies`: how well it tells anomalies from in-distribution images (reference, else train, else
    generated). `accuracy`: of a class-conditional generator, the share of labelled real images (reference, else train)
    whose class has the nearest manifold (section 3.1). `sigma2`: mean error of the training images, the observation
    noise that suits them best (B.3).
    """

    explanation: ClassVar[str] = (
        "How near the generator comes to real images, beside its own: whether they lie on its manifold; sees what it "
        "cannot make, blind to how often it makes what it can."
    )
    citation: ClassVar[str] = "Intriguing Properties of Modern GANs. Under review (anonymous authors), 2023."
    error_generated: Estimate = value("none", label="median over generated images")
    error_train: Estimate | None = value("lower", label="median over training images", default=None)
    error_reference: Estimate | None = value("lower", label="median over reference images", default=None)
    error_anomalies: Estimate | None = value("none", label="median over anomalies", default=None)
    error_ratio: Estimate | None = value("lower", label="real over generated images", default=None)
    auroc_train: Estimate | None = value(
        "lower", label="real images distinguished from generated ones by their error", range=SHARE, default=None
    )
    auroc_anomalies: Estimate | None = value(
        "higher", label="anomalies distinguished from in-distribution images", range=SHARE, default=None
    )
    accuracy: Estimate | None = value(
        "higher", label="real images whose class has the nearest manifold", range=SHARE, default=None
    )
    sigma2: Estimate | None = value("none", label="observation noise that suits the training images", default=None)
    psnr: float | None = value("none", label="of that noise, in decibel", default=None)
    interval: str = "over new images of each role in these numbers, this generator: percentile bootstrap"
    mean_error: dict[str, float]
    restarts_differ: dict[str, float]  # share of images whose restarts differ by more than the best one's distance
    inversion_error: np.ndarray | None = per_image(gallery=("Recovered worst", "Recovered best"))
    inversion_class: np.ndarray | None = per_image()
    errors: Curve | None
    reconstructions: Pictures | None
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Any,
    train: Any = None,
    reference: Any = None,
    anomalies: Any = None,
    attachments: Mapping[str, Mapping[str, Any]] | None = None,
    classes: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> InversionResult:
    """Reconstruction errors of every role that is played.

    Args:
        generated: rows (N, D) of `measures.inversion` for samples of this generator.
        train, reference, anomalies: for training images, real images it did not see, and out-of-distribution images.
        attachments: by role, `picture` (N, T, T, C) uint8, of which only those that are shown are read.
        classes: the class of each image (N,) by role; of a class-conditional generator each class's manifold is asked.
        confidence: of the intervals. seed: of the bootstrap.
    """
    rows = by_role(generated=generated, train=train, reference=reference, anomalies=anomalies)
    columns = {role: _columns(each, role) for role, each in rows.items()}
    errors = {role: each["error"] for role, each in columns.items()}
    of_bootstrap: dict[str, Any] = {"confidence": confidence, "seed": seed}
    medians: dict[str, Any] = {
        f"error_{role}": bootstrap_mean(each, **of_bootstrap, median=True) for role, each in errors.items()
    }
    real = errors.get("train", errors.get("reference"))
    if real is not None:
        fake = errors["generated"]
        medians["error_ratio"] = bootstrap(_ratio, real, fake, repeats=500, **of_bootstrap)
        medians["auroc_train"] = auroc_interval(real, fake, repeats=500, **of_bootstrap)
    if "anomalies" in errors:
        belonging = errors.get("reference", real if real is not None else errors["generated"])
        medians["auroc_anomalies"] = auroc_interval(errors["anomalies"], belonging, repeats=500, **of_bootstrap)
    if "train" in errors:
        medians["sigma2"] = sigma2 = bootstrap_mean(errors["train"], **of_bootstrap)
        medians["psnr"] = -10 * math.log10(sigma2) if sigma2 > 0 else math.inf
    differ = {
        role: float((each["restart_range"] > np.maximum(each["distance"], 1e-5)).mean())
        for role, each in columns.items()
    }
    label = columns["generated"]["label"]
    several = int(columns["generated"]["classes"][0])
    cautions = _cautions(differ, errors)
    if several > 1:
        medians["accuracy"], unknown = classified(
            lambda each: -scores_by_class(each, len(INVERSION), several), classes, rows, confidence
        )
        cautions += unknown
    return InversionResult(
        **medians,
        mean_error={role: float(each.mean()) for role, each in errors.items()},
        restarts_differ=differ,
        inversion_error=errors["generated"],
        inversion_class=None if np.isnan(label).all() else label,
        errors=densities(
            "Reconstruction errors by inversion (Figures 3 and 10)",
            "log10 of the mean squared error per number",
            {role: np.log10(np.maximum(each, 1e-12)) for role, each in errors.items()},
        ),
        reconstructions=_pictures(attachments or {}, errors),
        cautions=cautions,
    )


def _ratio(real: np.ndarray, fake: np.ndarray) -> float:
    below = float(np.median(fake))
    return float(np.median(real)) / below if below > 0 else math.inf


def _cautions(differ: dict[str, float], errors: dict[str, np.ndarray]) -> tuple[Caution, ...]:
    cautions = []
    if differ["generated"] > 0.5:
        message = (
            f"For {differ['generated']:.0%} of the generated images some restart ended at more than twice the best "
            "one's distance: more steps (metric.inversion.measure.steps) are needed before errors mean something."
        )
        cautions.append(Caution("inversion-not-converged", message))
    real = errors.get("train", errors.get("reference"))
    if real is not None and np.median(errors["generated"]) * SEPARATE > np.median(real):
        message = (
            "Generated images are not recovered an order of magnitude better than real ones. Either real images lie "
            "near the manifold, or the inversion stops short, or the generated images are not this generator's."
        )
        cautions.append(Caution("generated-not-recovered", message))
    return tuple(cautions)


def _columns(rows: Any, role: str) -> dict[str, np.ndarray]:
    """The leading columns (N,) by name, of rows that end with a distance by class."""
    columns = leading(rows, INVERSION) if rows.shape[1] >= len(INVERSION) else None
    if columns is None or rows.shape[1] != len(INVERSION) + columns["classes"][0]:
        raise ValueError(f"{role}: these are not rows of genaudit.measures.inversion")
    return columns


def _pictures(attachments: Mapping[str, Mapping[str, Any]], errors: dict[str, np.ndarray]) -> Pictures | None:
    """Images beside their reconstructions, from the best recovered to the worst of each role (Figures 3, 5 and 11)."""
    grid = []
    if any("picture" not in attachments.get(role, {}) for role in errors):
        return None
    for role, each in errors.items():
        order = np.argsort(each, kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]
        cells: list[Any] = []
        for index, picture in zip(chosen, attachments[role]["picture"][chosen], strict=True):
            cells += [RoleImage(role, int(index)), picture[..., 0] if picture.shape[2] == 1 else picture]
        grid.append(PictureRow(f"{role}: errors {each[chosen[0]]:.2g} to {each[chosen[-1]]:.2g}", tuple(cells)))
    width = max(len(row.cells) for row in grid) // 2
    note = "From the best recovered image of each role to the worst, evenly by rank."
    return Pictures("Images and what the generator makes of them", ("image", "recovered") * width, tuple(grid), note)
