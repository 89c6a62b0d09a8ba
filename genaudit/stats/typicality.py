"""Typicality: could this batch of images have come from the model, judged by its mean log-likelihood?

Nalisnick et al. 2019 (arXiv:1906.02994), as "Intriguing Properties of Modern GANs" uses it (Eq. 5, section 4.3,
Table 2). N images are typical of the model p if

    |mean_i log p(x_i) + H| <= eps_N

where H = -mean log p over samples of the model estimates its entropy, and eps_N is what 95 % of batches of N model
samples stay within. Both come from all M samples, and both are drawn again in every bootstrap round, the batch and the
M samples of the entropy: the radius then holds the error of H too. The test has two sides: a batch that is too likely
is not typical either.

All log-likelihoods are in one unit (nats per image, or bits per dimension), and so are H and eps_N.
M model samples, N images per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudit.stats.bounds import positive_int, probability

SIZES = (10, 25, 50, 75)  # Table 2
POWER = 0.8
DRAWS = 4_000_000  # of samples, for the entropies of the bootstrap


@dataclass(frozen=True)
class Typicality:
    """Table 2 for one set of images; one entry of each tuple a batch size.

    Attributes:
        entropy: H, the model's differential entropy, from model samples.
        sizes: N.
        radius: eps_N >= 0.
        typical_fraction: fraction of random batches that are typical, in [0, 1]: about `confidence` for the model's own
            samples; near 0 where the model would practically never have made such a batch.
        too_likely_fraction: fraction of batches whose mean log-likelihood exceeds -H by more than eps_N.
        deviation: mean log p of all the images, plus H: positive where they are likelier than the model's samples.
        detectable: the shift of the mean log-likelihood, up or down, that makes 80 % of batches atypical: the test's
            power. A smaller shift is often called typical because a batch has too few images to show it.
    """

    entropy: float
    sizes: tuple[int, ...]
    radius: tuple[float, ...]
    typical_fraction: tuple[float, ...]
    too_likely_fraction: tuple[float, ...]
    deviation: float
    detectable: tuple[float, ...]


def estimate_entropy(generated: Any) -> float:
    """H(p) = -E log p by its mean over log-likelihoods (M,) of model samples; same unit.

    AIS log-likelihoods are lower bounds, which makes H an upper bound; the bias cancels where all are estimated alike.
    """
    return -float(_log_likelihoods(generated, "generated").mean())


def typical_radius(
    held_out: Any,
    size: int,
    *,
    entropy: float,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """eps_N: the `confidence` quantile of |mean_N log p + H| over bootstrap batches of held-out model samples.

    Args:
        held_out: log-likelihoods (M,) of model samples that `entropy` was not estimated from.
        size: N >= 1, images per batch; batches are drawn with replacement, as Nalisnick et al. do.
        entropy: H, in the unit of `held_out`.
        confidence: in (0, 1).
        resamples: bootstrap batches; the quantile's level is right to sqrt(0.95·0.05/resamples) = 0.2 %.
    """
    held_out = _log_likelihoods(held_out, "held_out")
    positive_int("size", size)
    probability("confidence", confidence)
    rng = np.random.default_rng(seed)
    means = rng.choice(held_out, size=(resamples, size)).mean(axis=1)
    return float(np.quantile(np.abs(means + entropy), confidence))


def typicality_test(
    log_likelihood: Any,
    *,
    generated: Any,
    held_out: Any | None = None,
    sizes: Sequence[int] = SIZES,
    trials: int = 100,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Typicality:
    """How often random batches of the images are typical of the model (Table 2).

    Args:
        log_likelihood: (K,) of the images under test, K >= the largest size: training images, another data set, or, as
            the control that Table 2 prints first, further model samples.
        generated: (M,) of model samples, for the entropy, and for eps_N too where there is no `held_out`.
        held_out: of other model samples, for eps_N alone.
        sizes: batch sizes N.
        trials: batches a size, each drawn without replacement. They overlap where K is not much larger than N·trials:
            the fraction is then about these K images rather than about what they were drawn from.
        confidence, resamples: see `typical_radius`.

    The error of H widens eps_N by about N/(2M) of itself: give M >= 10·N model samples.

    Raises:
        ValueError: too few images or samples, values that are not finite, arguments out of range.
    """
    images = _log_likelihoods(log_likelihood, "log_likelihood")
    samples = _log_likelihoods(generated, "generated")
    rng = np.random.default_rng(seed)
    positive_int("trials", trials)
    positive_int("the smallest of sizes", min(sizes, default=0))
    if max(sizes) > len(images):
        raise ValueError(f"a batch of {max(sizes)} images needs at least as many log-likelihoods, not {len(images)}")
    if len(samples) < 2:
        raise ValueError("generated must hold at least two log-likelihoods")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    entropy = estimate_entropy(samples)
    own = samples if held_out is None else _log_likelihoods(held_out, "held_out")
    entropies = _entropies(samples, resamples, rng)
    radii, typical, too_likely, detectable = [], [], [], []
    for size in sizes:
        null = rng.choice(own, size=(resamples, size)).mean(axis=1) + rng.choice(entropies, resamples)
        radius = float(np.quantile(np.abs(null), confidence))
        detectable.append(radius + max(-float(np.quantile(null, 1 - POWER)), float(np.quantile(null, POWER))))
        batches = np.stack([rng.choice(images, size=size, replace=False) for _ in range(trials)])
        deviations = batches.mean(axis=1) + entropy
        radii.append(radius)
        typical.append(float((np.abs(deviations) <= radius).mean()))
        too_likely.append(float((deviations > radius).mean()))
    return Typicality(
        entropy=entropy,
        sizes=tuple(sizes),
        radius=tuple(radii),
        typical_fraction=tuple(typical),
        too_likely_fraction=tuple(too_likely),
        deviation=float(images.mean()) + entropy,
        detectable=tuple(detectable),
    )


def _entropies(samples: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """H of bootstrap samples of the model's samples, fewer of them where there are many samples."""
    rounds = max(1000, min(resamples, DRAWS // len(samples)))
    drawn = [rng.choice(samples, len(samples)).mean() for _ in range(rounds)]
    return -np.array(drawn)


def _log_likelihoods(values: Any, name: str) -> np.ndarray:
    """`values` as float64 (M,), checked."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name} must have shape (M,) with M >= 1, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite (NaN or infinity)")
    return array
