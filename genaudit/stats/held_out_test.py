"""A test of diversity against held-out real images that may look at the samples several times while they come.

At each of a fixed list of sample numbers (looks) `stats.exchangeability` tests the samples so far. The looks share the
level: by Bonferroni's inequality the probability of ever rejecting a model that meets the target is at most the sum of
the looks' levels, alpha, whatever the dependence between them. The last look has half of it; the others, a factor of
about 1.5 apart, share the rest, so that a collapsed model is rejected after a handful of samples.

How many samples a decision is worth: `power`, by the normal approximation with the law that the real images show.

n samples, M real images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from genaudit.stats.bounds import positive_int, probability
from genaudit.stats.exchangeability import BLOCKS, Relabelling
from genaudit.stats.rarefaction import Law, first

FIRST_LOOK = 8
FACTOR = 1.5
LAST_SHARE = 0.5  # of alpha, spent at the last look
SETTLED = 2.0  # a p-value that exceeds so many times its level needs no further relabellings
# The smallest level, a fifth of that of one of some 20 looks at alpha = 0.05, lies above 1/R. Many samples are
# relabelled less often: they are looked at late, at a high level.
RELABELLINGS = 9999
FEWEST = 999
NUMBERS = 2e8  # relabellings times retrievals
REAL = 20  # times n/share: further real images would not sharpen a look
REAL_AT_LEAST = 2000


def looks(horizon: int, *, sequential: bool) -> list[int]:
    """The numbers of samples after which the test looks; the last is the horizon.

    >>> looks(30, sequential=True)
    [8, 12, 18, 27, 30]
    """
    positive_int("horizon", horizon)
    if not sequential:
        return [horizon]
    found, at = [], float(FIRST_LOOK)
    while int(at) < horizon:
        found.append(int(at))
        at *= FACTOR
    return [*found, horizon]


def levels(alpha: float, number: int) -> list[float]:
    """The level of each of `number` looks; they sum to alpha."""
    if number == 1:
        return [alpha]
    return [alpha * (1 - LAST_SHARE) / (number - 1)] * (number - 1) + [alpha * LAST_SHARE]


@dataclass(frozen=True)
class Look:
    """What the test saw after `n_sampled` samples: the p-value, its level, and the numbers that were compared."""

    n_sampled: int
    n_learned: int
    expected: float
    pvalue: float
    level: float

    @property
    def rejects(self) -> bool:
        return self.pvalue <= self.level


class HeldOutTest:
    """Samples as they come, against held-out real images; how they are split into batches makes no difference.

    Args:
        real: (M,) the training image that each held-out real image retrieves, in random order.
        share: of what real images reach, in (0, 1]; a model that reaches it or more is the null hypothesis.
        alpha: probability at most of rejecting such a model.
        horizon: the most samples that are judged, at most share * M.
        sequential: look several times instead of once at the end.
        seed: of the relabellings.

    Raises:
        ValueError: share or alpha out of range, or a horizon that the real images do not allow.
    """

    def __init__(
        self, real: Any, share: float, alpha: float, horizon: int, *, sequential: bool = True, seed: int = 0
    ) -> None:
        probability("alpha", alpha)
        self.real = np.asarray(real)
        if horizon > most_samples(len(self.real), share):
            raise ValueError(f"{horizon} samples at share {share:g} need more than {len(self.real)} real images")
        self.share, self.alpha, self.horizon, self.seed, self.sequential = share, alpha, horizon, seed, sequential
        self.looks = looks(horizon, sequential=sequential)
        self.levels = levels(alpha, len(self.looks))
        self.start()

    def start(self) -> None:
        """Forgets the samples."""
        self.retrieved = np.empty(0, np.int64)
        self.seen: list[Look] = []

    @property
    def n_sampled(self) -> int:
        return len(self.retrieved)

    @property
    def n_learned(self) -> int:
        return len(np.unique(self.retrieved))

    @property
    def rejected(self) -> bool:
        return bool(self.seen) and self.seen[-1].rejects

    @property
    def ended(self) -> bool:
        """Whether it has rejected or looked for the last time."""
        return self.rejected or len(self.seen) == len(self.looks)

    @property
    def next_look(self) -> int:
        """The number of samples of the next look; the horizon once there is none."""
        return self.looks[min(len(self.seen), len(self.looks) - 1)]

    def update(self, indices: np.ndarray) -> None:
        """Takes the training images (B,) that the next samples retrieve; those beyond the horizon are left out."""
        room = self.horizon - self.n_sampled
        self.retrieved = np.concatenate([self.retrieved, np.asarray(indices, np.int64)[:room]])
        while not self.ended and self.n_sampled >= self.next_look:
            self.seen.append(self.look(self.next_look, self.levels[len(self.seen)]))

    def threshold(self, n: int, level: float) -> int:
        """The fewest distinct images among the first n samples that are not rejected at `level`, all else equal."""
        test = self._test(n)
        return test.threshold(level, relabellings=_relabellings(test))

    def look(self, n: int, level: float) -> Look:
        """Tests the first n samples at `level`; the result is not kept."""
        test = self._test(n)
        pvalue = test.pvalue(relabellings=_relabellings(test), above=SETTLED * level)
        return Look(n, test.learned, test.expected, pvalue, level)

    def _test(self, n: int) -> Relabelling:
        real = self.real[: max(REAL_AT_LEAST, REAL * real_needed(n, self.share))]
        return Relabelling(self.retrieved[:n], real, share=self.share, seed=(self.seed, 6, n))


def _relabellings(test: Relabelling) -> int:
    return int(np.clip(NUMBERS / (test.n + test.n_real), FEWEST, RELABELLINGS))


def most_samples(n_real: int, share: float) -> int:
    """How many samples so many real images can judge: share * M, since n samples are held against n/share of them."""
    return int(share * n_real * (1 + 1e-12))


def real_needed(samples: int, share: float) -> int:
    """How many real images so many samples need: n/share.

    >>> real_needed(800, 0.8)
    1000
    """
    return int(np.ceil(samples / share * (1 - 1e-12)))


@dataclass(frozen=True)
class Design:
    """One look of the test at a law: what would be rejected, and how probably.

    Args:
        law: of the real images' retrieval. share: the target. level: of the look.
        n: samples. n_real: held-out real images.
    """

    law: Law
    share: float
    level: float
    n: int
    n_real: int

    @property
    def boundary(self) -> float:
        """About the fewest distinct images that are not rejected."""
        expected = self.law.distinct(self.n, share=self.share)
        z = float(scipy.special.ndtri(self.level))
        return expected.mean + z * np.sqrt(expected.variance * (1 + self._real_part()))

    def power(self, share: float) -> float:
        """About the probability that a model which reaches a random `share` of what real images reach is rejected."""
        ours = self.law.distinct(self.n, share=share)
        real = self.law.distinct(self.n / self.share)
        # The mean of real images is known from n_real, of which n/share would vary as much as `real`.
        spread = ours.variance + self.share**2 * real.variance * self.n / self.share / self.n_real
        # A whole number below the boundary is at most 1/2 below the next one on average.
        return float(scipy.special.ndtr((self.boundary - 0.5 - ours.mean) / np.sqrt(max(spread, 1e-12))))

    def _real_part(self) -> float:
        """The reference side's variance, as a share of the samples' own."""
        size = self.n / self.share
        if self.share == 1:
            return size / self.n_real
        return 1 / max(1, min(BLOCKS, int(self.n_real / size)))


def samples_needed(law: Law, share: float, detect: float, alpha: float, power: float, most: int) -> int | None:
    """The fewest samples, up to `most`, with which a model of `detect` times the target is rejected so probably.

    They need `real_needed` held-out real images; None where `most` do not suffice.
    """

    def enough(n: int) -> bool:
        return Design(law, share, alpha, n, real_needed(n, share)).power(detect * share) >= power

    return first(enough, 2, most)
