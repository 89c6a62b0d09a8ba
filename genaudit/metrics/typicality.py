"""Are real images typical of the generator, judged by the mean log-likelihood of batches of them?

"Intriguing Properties of Modern GANs", Eq. 5, section 4.3 and Table 2, after Nalisnick et al. 2019; the test itself is
`genaudit.stats.typicality`. The generated images must be samples of the very generator that gives the likelihoods: its
entropy is estimated from them.

N images per batch, M generated images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.generator_rows import AIS, by_role, disagreement, leading
from genaudit.metrics.result import SHARE, Caution, Unavailable, value
from genaudit.stats.bounds import Repeats
from genaudit.stats.typicality import SIZES, Typicality, typicality_test

ENOUGH = 10  # model samples per image of a batch, below which the control strays from the confidence level


@dataclass(frozen=True, kw_only=True)
class TypicalityResult:
    """Share of random batches of real images (reference, else train) that are typical of the generator, in [0, 1].

    Of the generator's own samples about 95 % are (`control`); near 0 it would practically never have made such a batch.
    None where there are fewer images than a batch holds. `fractions` has every role's, `too_likely` the share of
    batches that are atypical by being too likely, `deviation` the mean log-likelihood plus the entropy, in nats, and
    `detectable` the shift, in nats, that would make 80 % of batches atypical: the test sees nothing smaller reliably.
    """

    explanation: ClassVar[str] = (
        "Share of batches of real images whose mean log-likelihood is typical of the generator; too likely is "
        "atypical too."
    )
    citation: ClassVar[str] = (
        "Nalisnick, Matsukawa, Teh, Lakshminarayanan. Detecting out-of-distribution inputs to deep generative models "
        "using typicality. arXiv:1906.02994; Intriguing Properties of Modern GANs. Under review (anonymous), 2023."
    )
    typical_fraction_10: float | None = value("higher", label="batches of 10 images", range=SHARE, default=None)
    typical_fraction_25: float | None = value("higher", label="batches of 25 images", range=SHARE, default=None)
    typical_fraction_50: float | None = value("higher", label="batches of 50 images", range=SHARE, default=None)
    typical_fraction_75: float | None = value("higher", label="batches of 75 images", range=SHARE, default=None)
    tested: str
    entropy: float
    control: dict[str, float]
    fractions: dict[str, dict[str, float]]
    too_likely: dict[str, dict[str, float]]
    deviation: dict[str, float]
    detectable: dict[str, float]
    trials: int
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Any,
    reference: Any = None,
    train: Any = None,
    anomalies: Any = None,
    trials: Repeats = 100,
    confidence: float = 0.95,
    seed: int = 0,
) -> TypicalityResult:
    """Table 2 for the roles that are played.

    Args:
        generated: rows (M, D) of `measures.ais` for samples of this generator, which give entropy and radius. For the
            control each half of them is judged by the other.
        reference, train, anomalies: rows of the images under test.
        trials: random batches a size, without replacement within a batch.
        confidence: the share of the model's own batches that the radius is to hold.
        seed: of the batches and the bootstrap.

    Raises:
        Unavailable: no real images, or too few of any role for the smallest batch.
    """
    roles = by_role(generated=generated, train=train, reference=reference, anomalies=anomalies)
    tested = next((role for role in ("reference", "train") if role in roles), None)
    if tested is None:
        raise Unavailable("needs reference= or train=: real images whose typicality is asked for")
    columns = {role: leading(each, AIS) for role, each in roles.items()}
    samples = np.random.default_rng(seed).permutation(columns["generated"]["log_likelihood"])
    halves = np.array_split(samples, 2)
    images = {role: columns[role]["log_likelihood"] for role in roles if role != "generated"}
    smallest = min(SIZES)
    if len(halves[0]) < 2 * smallest or len(images[tested]) < smallest:
        raise Unavailable(
            f"needs {4 * smallest} generated and {smallest} {tested} images or more, not {len(samples)} and "
            f"{len(images[tested])}"
        )

    def tested_by(each: np.ndarray, model: np.ndarray) -> Typicality:
        sizes = [size for size in SIZES if size <= len(each)]
        return typicality_test(each, generated=model, sizes=sizes, trials=trials, confidence=confidence, seed=seed)

    tests = {role: tested_by(each, samples) for role, each in images.items() if len(each) >= smallest}
    controls = [tested_by(one, other) for one, other in (halves, halves[::-1])]
    fractions = {role: _by_size(each, each.typical_fraction) for role, each in tests.items()}
    control = _by_size(
        controls[-1], tuple(np.mean([each.typical_fraction[: len(controls[-1].sizes)] for each in controls], axis=0))
    )
    _, cautions = disagreement(columns)
    largest = max(tests[tested].sizes)
    if len(samples) < ENOUGH * largest:
        message = (
            f"Batches of {largest} images beside {len(samples)} samples of the generator: its entropy is known too "
            f"loosely for them; {ENOUGH * largest} samples would be enough. Compare with the control."
        )
        cautions = (*cautions, Caution("few-model-samples", message))
    return TypicalityResult(
        **{f"typical_fraction_{size}": share for size, share in fractions[tested].items()},
        tested=tested,
        entropy=tests[tested].entropy,
        control=control,
        fractions=fractions,
        too_likely={role: _by_size(each, each.too_likely_fraction) for role, each in tests.items()},
        deviation={role: each.deviation for role, each in tests.items()},
        detectable=_by_size(tests[tested], tests[tested].detectable),
        trials=trials,
        cautions=cautions,
    )


def _by_size(test: Typicality, numbers: tuple[float, ...]) -> dict[str, float]:
    return {str(size): number for size, number in zip(test.sizes, numbers, strict=True)}
