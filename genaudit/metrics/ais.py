"""What log-likelihood the generator gives each role's images, by annealed importance sampling.

"Intriguing Properties of Modern GANs", section 4.2, Table 1, Figures 7, 8 and 12. Stochastic lower bounds, in bits per
dimension with Table 1's sign: higher is likelier, and minus these numbers are what density models report.

N images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.generator_rows import AIS, by_role, classified, densities, disagreement, leading, scores_by_class
from genaudit.metrics.result import SHARE, Caution, Curve, Estimate, per_image, value
from genaudit.stats.auroc import auroc_interval
from genaudit.stats.estimate import bootstrap_mean


@dataclass(frozen=True, kw_only=True)
class AISResult:
    """Mean log-likelihood of each role in bits per dimension, higher is likelier (Table 1's sign); lower bounds.

    `auroc_anomalies`: the probability that an in-distribution image (reference, else train, else generated) is likelier
    than an anomaly; below 0.5 the generator prefers out-of-distribution images. `accuracy`: of a class-conditional
    generator, the share of labelled real images (reference, else train) that are likeliest under their class (Eq. 1).
    """

    explanation: ClassVar[str] = (
        "Log-likelihood of images under the generator by annealed importance sampling; a lower bound."
    )
    citation: ClassVar[str] = (
        "Wu, Burda, Salakhutdinov, Grosse. On the quantitative analysis of decoder-based generative models. ICLR 2017; "
        "Intriguing Properties of Modern GANs. Under review (anonymous authors), 2023."
    )
    bits_generated: Estimate = value("none", label="bits per dimension of generated images, higher is likelier")
    bits_train: Estimate | None = value("higher", label="of training images", default=None)
    bits_reference: Estimate | None = value("higher", label="of reference images", default=None)
    bits_anomalies: Estimate | None = value("none", label="of anomalies", default=None)
    auroc_anomalies: Estimate | None = value(
        "higher", label="anomalies distinguished from in-distribution images", range=SHARE, default=None
    )
    accuracy: Estimate | None = value(
        "higher", label="real images that are likeliest under their class", range=SHARE, default=None
    )
    interval: str = (
        "over new images of each role in these numbers, this generator: percentile bootstrap; the sampler's own error, "
        "a lower bound's, is not in it"
    )
    sigma2: float
    psnr: float
    mean_nats: dict[str, float]
    chains_disagree: dict[str, float]
    effective_chains: dict[str, float]
    acceptance: dict[str, float]
    log_likelihood: np.ndarray | None = per_image(gallery=("Likeliest", "Least likely"))
    log_likelihood_spread: np.ndarray | None = per_image()
    histograms: Curve | None
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Any,
    train: Any = None,
    reference: Any = None,
    anomalies: Any = None,
    classes: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> AISResult:
    """Log-likelihoods of every role that is played.

    Args:
        generated, train, reference, anomalies: rows (N, D) of `measures.ais`.
        classes: the class of each image (N,) by role, for a class-conditional generator.
        confidence: of the intervals. seed: of the bootstrap.
    """
    rows = by_role(generated=generated, train=train, reference=reference, anomalies=anomalies)
    columns = {role: leading(each, AIS) for role, each in rows.items()}
    bits = {role: each["bits_per_dim"] for role, each in columns.items()}
    values: dict[str, Any] = {}
    for role, each in bits.items():
        values[f"bits_{role}"] = bootstrap_mean(each, confidence=confidence, seed=seed)
    if "anomalies" in bits:
        belonging = next(bits[role] for role in ("reference", "train", "generated") if role in bits)
        area = auroc_interval(belonging, bits["anomalies"], repeats=500, confidence=confidence, seed=seed)
        values["auroc_anomalies"] = area
    disagree, cautions = disagreement(columns)
    several = rows["generated"].shape[1] - len(AIS)  # the log-likelihood under each class
    if several > 1:
        values["accuracy"], unknown = classified(
            lambda each: scores_by_class(each, len(AIS), several), classes, rows, confidence
        )
        cautions += unknown
    sigma2 = float(columns["generated"]["sigma2"][0])
    return AISResult(
        **values,
        sigma2=sigma2,
        psnr=-10 * math.log10(sigma2),
        mean_nats=_means(columns, "log_likelihood"),
        chains_disagree=disagree,
        effective_chains=_means(columns, "effective_chains"),
        acceptance=_means(columns, "acceptance"),
        log_likelihood=columns["generated"]["log_likelihood"],
        log_likelihood_spread=columns["generated"]["spread"],
        histograms=densities(
            "Log-likelihoods under the generator (Figures 8 and 12)", "bits per dimension, higher is likelier", bits
        ),
        cautions=cautions,
    )


def _means(columns: dict[str, dict[str, np.ndarray]], name: str) -> dict[str, float]:
    return {role: float(each[name].mean()) for role, each in columns.items()}
