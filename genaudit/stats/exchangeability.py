"""Is a generative model as diverse as real images, or a share of it? Tests that need no law of the retrieval.

Generated images and held-out real images retrieve their nearest training images from the same training set. If the
model draws as the data do, the two lists of retrieved images come from one law, whatever that law is, and are
exchangeable: every way to label n of the pooled retrievals "generated" is equally likely. The statistic is the number
of different training images that the samples retrieve, less what equally many real images retrieve.

A share t < 1 asks less. Null hypothesis: the model's law is the real law restricted to a random share of the training
images (each stays, independently, with the same probability of t or more), and renormalised. Then n samples are what
n/t real images show inside that share, so that E[K(n)] = t F(n/t), F(m) the distinct images that m real ones retrieve,
and the statistic is K - t F(n/t), F by rarefaction. Two reference distributions, each with its part of the level:

- image by image: real retrievals are split at random into blocks of n/t, each block is restricted to its own random
  share t, and each training image's count among the samples is exchangeable with its counts in the blocks; a random
  one of them is called "generated". Counts enter as 1[c > 0] - slope c, which takes out that their sums are not fixed.
  The statistic averages the real side over blocks and shares, so that it is less spread than its reference.
- retrieval by retrieval: no training image is drawn more than 1/t times as often by the model as by the data. So of c
  retrievals of one image the samples' part is at most binomial with p = (n/t)/(n/t + M), and the samples' duplicates
  are at most what such parts have. It rejects a collapse onto few images, which changing places image by image cannot.

The level is exact at t = 1 and kept with room to spare below (scripts/gate_simulation.py measures both).

n samples, M real images, I training images that anything retrieved, R relabellings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from genaudit.stats.rarefaction import inclusion, rarefied

RELABELLINGS = 9999
ENOUGH = 20  # relabellings as low as the statistic after which a p-value is known well (Besag and Clifford 1991)
FIRST_BATCH, BATCH = 50, 250
CELLS = 2_000_000  # numbers in memory at a time: fewer relabellings a batch where there are many retrievals
BY_RETRIEVAL = 0.2  # part of the level of the second reference distribution, where share < 1
BLOCKS = 4  # real images beyond 4 n/t make the reference distribution hardly any narrower
ROUNDING = 1e-9


class Draw(Protocol):
    """Draws the statistic of random relabellings, (rows,)."""

    def __call__(self, rows: int, generator: np.random.Generator) -> np.ndarray: ...


class Relabelling:
    """The test's statistic and its reference distribution, for one list of samples and one of real images.

    Args:
        generated: (n,) the training image that each sample retrieves.
        real: (M,) the same of held-out real images, n/share or more of them.
        share: of what real images reach, in (0, 1].
        seed: of the relabellings.

    Raises:
        ValueError: share outside (0, 1], no sample, or fewer real images than n/share.
    """

    def __init__(self, generated: Any, real: Any, *, share: float = 1.0, seed: Any = 0) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must lie above 0 and up to 1, not {share}")
        generated, real = np.asarray(generated), np.asarray(real)
        self.n, self.n_real, self.share = len(generated), len(real), share
        if self.n == 0:
            raise ValueError("the test needs a sample")
        self.size = min(self.n / share, float(self.n_real))
        if self.n > share * self.n_real * (1 + ROUNDING):
            raise ValueError(f"{self.n} samples at share {share:g} need {self.n / share:.0f} real images or more")
        both, place = np.unique(np.concatenate([generated, real]), return_inverse=True)
        self.items = len(both)
        self.ours, self.real = (np.bincount(part, minlength=self.items) for part in (place[: self.n], place[self.n :]))
        self.expected = share * float(rarefied(self.real[self.real > 0], [self.size])[0])
        self.learned = int((self.ours > 0).sum())
        self._seed = seed

    @property
    def statistic(self) -> float:
        """Distinct images of the samples less those expected of real ones; negative where the samples show fewer."""
        return self.learned - self.expected

    def pvalue(self, *, relabellings: int = RELABELLINGS, above: float = 0.2) -> float:
        """P(as few distinct images) under the null hypothesis, in (0, 1].

        Valid for any number of relabellings, since the observation itself counts as one of them. They end early once
        enough lie as low to say that the p-value exceeds `above`. 1 where the samples are as diverse as asked for.
        """
        if self.statistic >= -ROUNDING:
            return 1.0
        if self.share == 1:
            return self._tail(self._permuted, self.statistic, relabellings, above, "permuted")
        by_image = self._tail(self._swapped, self.statistic, relabellings, above, "swapped") / (1 - BY_RETRIEVAL)
        by_retrieval = self._tail(self._split, -self._duplicates, relabellings, above, "split") / BY_RETRIEVAL
        return min(1.0, by_image, by_retrieval)

    def threshold(self, level: float, *, relabellings: int = RELABELLINGS) -> int:
        """The fewest distinct images that would not be rejected at `level`, all else equal; at least 1."""
        if self.share == 1:
            lowest = self.expected + self._quantile(self._permuted, level, relabellings, "permuted")
        else:
            by_image = self._quantile(self._swapped, level * (1 - BY_RETRIEVAL), relabellings, "swapped")
            by_retrieval = self._quantile(self._split, level * BY_RETRIEVAL, relabellings, "split")
            lowest = max(self.expected + by_image, self.n + by_retrieval)
        # As many as expected are never rejected.
        lowest = min(lowest, self.expected)
        return 1 if lowest == -np.inf else max(1, int(np.ceil(lowest - ROUNDING)))

    @property
    def _duplicates(self) -> int:
        return self.n - self.learned

    def _tail(self, draw: Draw, observed: float, relabellings: int, above: float, name: str) -> float:
        done = low = 0
        for batch in self._batches(draw, relabellings, name):
            done, low = done + len(batch), low + int((batch <= observed + ROUNDING).sum())
            if low >= ENOUGH and low > above * done:
                break
        return (1 + low) / (1 + done)

    def _quantile(self, draw: Draw, level: float, relabellings: int, name: str) -> float:
        """The lowest value that `_tail` does not put at `level` or below; -inf where it never does."""
        drawn = np.sort(np.concatenate(list(self._batches(draw, relabellings, name))))
        # Rejected where 1 + #(drawn <= value) <= level (1 + R): below the order statistic of that rank.
        rank = int(np.floor(level * (1 + len(drawn)) + ROUNDING))
        return float(drawn[rank - 1]) if rank >= 1 else -np.inf

    def _batches(self, draw: Draw, relabellings: int, name: str) -> Iterator[np.ndarray]:
        generator = np.random.default_rng([*np.atleast_1d(self._seed), *name.encode()])
        most = max(1, min(BATCH, CELLS // (self.n + self.n_real)))
        # A few settle most questions; then more at a time.
        done, batch = 0, min(FIRST_BATCH, most)
        while done < relabellings:
            rows = min(batch, relabellings - done)
            yield draw(rows, generator)
            done, batch = done + rows, min(2 * batch, most)

    def _permuted(self, rows: int, generator: np.random.Generator) -> np.ndarray:
        """The statistic where a random n of all retrievals are called generated, (rows,)."""
        pooled = self.ours + self.real
        labels = np.repeat(np.arange(self.items), pooled)
        weights = inclusion(np.arange(pooled.max() + 1), self.n_real, self.size)
        keys = generator.integers(0, 2**32, (rows, len(labels)), dtype=np.uint32)
        chosen = np.argpartition(keys, self.n - 1, axis=1)[:, : self.n]
        ours = _count(labels[chosen], self.items)
        return np.asarray((ours > 0).sum(1) - weights[pooled - ours].sum(1))

    def _swapped(self, rows: int, generator: np.random.Generator) -> np.ndarray:
        """The statistic where each training image's counts change places with a block's of real ones, (rows,)."""
        blocks = max(1, min(BLOCKS, int(self.n_real / self.size * (1 + ROUNDING))))
        labels = np.repeat(np.arange(self.items), self.real)
        slope = self._slope()
        ours = (self.ours > 0) - slope * self.ours
        # Which block each real retrieval falls into; those beyond the last are left out.
        block = np.floor(generator.random((rows, len(labels))) * self.n_real / self.size).astype(np.int64)
        chosen = generator.integers(0, blocks + 1, (rows, self.items))
        total = np.broadcast_to(ours, (rows, self.items)).copy()
        picked = np.where(chosen == 0, ours, 0.0)
        for index in range(blocks):
            counts = _count(np.where(block == index, labels, self.items), self.items + 1)[:, :-1]
            values = ((counts > 0) - slope * counts) * (generator.random((rows, self.items)) < self.share)
            total += values
            picked += np.where(chosen == index + 1, values, 0.0)
        return np.asarray((picked * (1 + 1 / blocks) - total / blocks).sum(1))

    def _split(self, rows: int, generator: np.random.Generator) -> np.ndarray:
        """Duplicates, times -1, where each retrieval is a sample's with the highest probability allowed, (rows,)."""
        pooled = self.ours + self.real
        several, images = np.unique(pooled[pooled > 1], return_counts=True)
        total = np.zeros(rows)
        for count, number in zip(several, images, strict=True):
            parts = generator.binomial(count, self.size / (self.size + self.n_real), (rows, number))
            total -= np.maximum(parts - 1, 0).sum(1)
        return total

    def _slope(self) -> float:
        """New training images per further real one, at n/share of them."""
        counts = self.real[self.real > 0]
        low, high = max(self.size - 1, 0.0), min(self.size + 1, float(self.n_real))
        fewer, more = rarefied(counts, [low, high])
        return float((more - fewer) / (high - low))


def _count(labels: np.ndarray, items: int) -> np.ndarray:
    """How often each item stands in each row of `labels` (R, L), (R, items) int64."""
    rows = len(labels)
    shifted = labels + items * np.arange(rows)[:, None]
    return np.bincount(shifted.ravel(), minlength=rows * items).reshape(rows, items)


def diversity_pvalue(generated: Any, real: Any, *, share: float = 1.0, seed: int = 0) -> float:
    """P(samples retrieve as few different training images), were the model at least a share as diverse as real images.

    Args:
        generated: (n,) training images that the samples retrieve; real: (M,) the same of held-out real images, of
            which n/share or more are needed.
        share: of what real images reach, in (0, 1]. 1: exchangeable with real images, and the level is exact.
        seed: of the relabellings.

    Returns:
        a p-value in (0, 1], small where the samples lack diversity.

    Raises:
        ValueError: as `Relabelling`.

    >>> diversity_pvalue([1] * 20, range(20)) < 0.001
    True
    """
    return Relabelling(generated, real, share=share, seed=seed).pvalue()
