"""Power analysis of the diversity gate: how many samples reject a model of a given diversity, before any is drawn.

A model that draws uniformly from d N images is rejected after n samples with probability P(K <= k* | n, d N), k* the
largest count that Eq. 9 of Dombrowski et al., CVPR 2025, rejects at the target. Both laws are exact.

N training images, D diversities, P powers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genaudit.metrics.gate import plain_target
from genaudit.stats.occupancy import samples_needed

POWERS = (0.8, 0.9, 0.99)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the target: diversities that are asked about


@dataclass(frozen=True)
class Plan:
    """`samples` (D, P) int64: how many reject a model of `diversities[i]` (IRS_inf) with probability `powers[j]`."""

    n_train: int
    irs_target: float
    alpha: float
    s_target: int
    diversities: tuple[float, ...]
    powers: tuple[float, ...]
    samples: np.ndarray


def plan(
    n_train: int,
    irs_target: float,
    alpha: float,
    *,
    diversities: Sequence[float] | None = None,
    powers: Sequence[float] = POWERS,
    advance: Callable[[int], None] = lambda done: None,
) -> Plan:
    """How many samples a fixed test needs; a sequential one needs a few more at most and fewer on average.

    Args:
        n_train: number of training images.
        irs_target: share of them that the model shall reach, in (0, 1].
        alpha: level of the test, in (0, 0.5).
        diversities: IRS_inf of the models to reject, each below the target; None for shares of the target.
        powers: probabilities of rejection, between alpha and 1.
        advance: called with 1 after each number.

    Raises:
        ValueError: an argument out of range, or a diversity that leaves no image or is not below the target.
    """
    target = plain_target(n_train, irs_target, alpha)
    if diversities is None:
        candidates = [share * irs_target for share in SHARES]
        diversities = [d for d in candidates if 1 <= round(d * n_train) < target.s_target]
        if not diversities:
            raise ValueError(f"a target of {target.s_target} training images leaves no smaller diversity to reject")
    samples = np.empty((len(diversities), len(powers)), np.int64)
    for row, diversity in enumerate(diversities):
        support = round(diversity * n_train)
        if support < 1 or support >= target.s_target:
            raise ValueError(
                f"diversity {diversity:g} is {support:,} of {n_train:,} training images; between 1 and the target's "
                f"{target.s_target:,} is needed"
            )
        for column, power in enumerate(powers):
            samples[row, column] = samples_needed(support, target.s_target, alpha, power)
            advance(1)
    return Plan(n_train, irs_target, alpha, target.s_target, tuple(diversities), tuple(powers), samples)
