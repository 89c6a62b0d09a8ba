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

from genaudit.metrics.generator_rows import AIS, by_role, densities, disagreement, ends, leading
from genaudit.metrics.result import Caution, Curve, per_image, value
from genaudit.stats.auroc import auroc, auroc_interval


@dataclass(frozen=True, kw_only=True)
class AISResult:
    """Mean log-likelihood of each role in bits per dimension, higher is likelier (Table 1's sign); lower bounds.

    `auroc_anomalies`: the probability that an in-distribution image (reference, else train, else generated) is likelier
    than an anomaly; below 0.5 the generator prefers out-of-distribution images.
    """

    citation: ClassVar[str] = (
        "Wu, Burda, Salakhutdinov, Grosse. On the quantitative analysis of decoder-based generative models. ICLR 2017; "
        "Intriguing Properties of Modern GANs. Under review (anonymous authors), 2023."
    )
    bits_generated: float = value("none")
    bits_generated_lower: float
    bits_generated_upper: float
    bits_train: float | None = value("higher", default=None)
    bits_train_lower: float | None = None
    bits_train_upper: float | None = None
    bits_reference: float | None = value("higher", default=None)
    bits_reference_lower: float | None = None
    bits_reference_upper: float | None = None
    bits_anomalies: float | None = value("none", default=None)
    bits_anomalies_lower: float | None = None
    bits_anomalies_upper: float | None = None
    auroc_anomalies: float | None = value("higher", default=None)
    auroc_anomalies_lower: float | None = None
    auroc_anomalies_upper: float | None = None
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
    log_likelihood: np.ndarray | None = per_image(gallery=True)  # noqa: RUF009
    log_likelihood_spread: np.ndarray | None = per_image()  # noqa: RUF009
    histograms: Curve | None
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Any,
    train: Any = None,
    reference: Any = None,
    anomalies: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> AISResult:
    """Log-likelihoods of every role that is played.

    Args:
        generated, train, reference, anomalies: rows (N, D) of `measures.ais`.
        confidence: of the intervals. seed: of the bootstrap.
    """
    rows = by_role(generated=generated, train=train, reference=reference, anomalies=anomalies)
    columns = {role: leading(each, AIS) for role, each in rows.items()}
    bits = {role: each["bits_per_dim"] for role, each in columns.items()}
    found: dict[str, Any] = {}
    for role, each in bits.items():
        interval = ends(each, confidence, seed)
        found[f"bits_{role}"] = float(each.mean())
        found[f"bits_{role}_lower"], found[f"bits_{role}_upper"] = interval
    if "anomalies" in bits:
        belonging = next(bits[role] for role in ("reference", "train", "generated") if role in bits)
        interval = auroc_interval(belonging, bits["anomalies"], repeats=500, confidence=confidence, seed=seed)
        found["auroc_anomalies"] = auroc(belonging, bits["anomalies"])
        found["auroc_anomalies_lower"], found["auroc_anomalies_upper"] = interval
    disagree, cautions = disagreement(columns)
    sigma2 = float(columns["generated"]["sigma2"][0])
    return AISResult(
        **found,
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
