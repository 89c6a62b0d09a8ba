"""Power analysis of the diversity gate: how many samples reject a model of a given diversity, before any is drawn.

Calibrated: the test against held-out real images (`stats.held_out_test`), whose retrieval is taken to be even, since
nothing is measured; uneven retrieval shows more duplicates and needs fewer samples as a rule. Absolute: a model that
draws uniformly from d N images is rejected after n samples with probability P(K <= k* | n, d N), k* the largest count
that Eq. 9 of Dombrowski et al., CVPR 2025, rejects at the target; both laws are exact.

N training images, D diversities, P powers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genaudit.metrics.gate import Question
from genaudit.stats.held_out_test import real_needed
from genaudit.stats.held_out_test import samples_needed as calibrated_samples
from genaudit.stats.occupancy import samples_needed, target_support
from genaudit.stats.rarefaction import Law

POWERS = (0.8, 0.9, 0.99)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the target: diversities that are asked about
MOST = 100  # times the training set: more samples than this are not recommended


@dataclass(frozen=True)
class Plan:
    """`samples` (D, P): how many reject a model of `diversities[i]` (IRS_inf) with probability `powers[j]`.

    Infinite where no number of samples does: which training images a share holds is random too, and of few training
    images two shares cannot be distinguished however many samples there are. `real` (D, P) are the held-out real images
    that they need; None for the absolute test. `detect_samples` are those without which no model is accepted
    (`question.detect` and `.power`).
    """

    n_train: int
    question: Question
    s_target: int
    diversities: tuple[float, ...]
    powers: tuple[float, ...]
    samples: np.ndarray
    real: np.ndarray | None
    detect_samples: float

    @property
    def detect_real(self) -> float | None:
        return None if self.real is None else _real(self.detect_samples, self.question)


def _real(samples: float, question: Question) -> float:
    return float(real_needed(int(samples), question.irs_target)) if np.isfinite(samples) else np.inf


def plan(
    n_train: int,
    question: Question,
    *,
    absolute: bool = False,
    diversities: Sequence[float] | None = None,
    powers: Sequence[float] = POWERS,
    advance: Callable[[int], None] = lambda done: None,
) -> Plan:
    """How many samples a fixed test needs; a sequential one needs some more at most and fewer on average.

    Args:
        n_train: number of training images.
        question: the target and the levels.
        absolute: the paper's test instead of the one against held-out real images.
        diversities: IRS_inf of the models to reject, each below the target; None for shares of the target.
        powers: probabilities of rejection, between alpha and 1.
        advance: called with 1 after each number.

    Raises:
        ValueError: an argument out of range, or a diversity that leaves no image or is not below the target.
    """
    target, law = target_support(n_train, question.irs_target), Law.even(n_train)

    def needed(support: int, power: float) -> float:
        if absolute:
            return samples_needed(support, target, question.alpha, power)
        detect = support / (question.irs_target * n_train)
        count = calibrated_samples(law, question.irs_target, detect, question.alpha, power, MOST * n_train)
        return np.inf if count is None else count

    if diversities is None:
        candidates = [share * question.irs_target for share in SHARES]
        diversities = [d for d in candidates if 1 <= round(d * n_train) < target]
        if not diversities:
            raise ValueError(f"a target of {target} training images leaves no smaller diversity to reject")
    samples = np.empty((len(diversities), len(powers)))
    for row, diversity in enumerate(diversities):
        support = round(diversity * n_train)
        if support < 1 or support >= target:
            raise ValueError(
                f"diversity {diversity:g} is {support:,} of {n_train:,} training images; it must be between 1 and the "
                f"target's {target:,}"
            )
        for column, power in enumerate(powers):
            samples[row, column] = needed(support, power)
            advance(1)
    real = None if absolute else np.vectorize(lambda n: _real(n, question), otypes=[float])(samples)
    least = needed(min(max(1, round(question.detect * target)), target - 1) if target > 1 else 1, question.power)
    return Plan(n_train, question, target, tuple(diversities), tuple(powers), samples, real, least)
