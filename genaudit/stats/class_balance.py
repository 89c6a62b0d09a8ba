"""Do two sets of images hold their classes in the same shares?

Both sets are draws; the hypothesis is that both have the same class probabilities, whatever these are. Pearson's
chi-squared statistic of the 2 x K table of counts is compared with its law over tables of the same margins: that law
is drawn (R tables) where a cell expects fewer than 5 images, and is chi-squared with K - 1 degrees of freedom
elsewhere. Each class against all others is Fisher's exact test, Holm-corrected over the K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from genaudit.stats.estimate import wilson_interval
from genaudit.stats.two_sets import holm

TABLES = 9999  # drawn where the asymptotic law does not hold
CELLS = 1 << 20  # of the tables that are held at once
FEW = 5  # expected images of a cell: Cochran's rule for the chi-squared law


@dataclass(frozen=True)
class ClassBalance:
    """The class shares of two sets of images against each other.

    Attributes:
        statistic: Pearson's chi-squared. pvalue: in (0, 1]. exact: drawn from tables of the same margins, and not the
            chi-squared law's.
        total_variation: half the sum of the differences of the shares, in [0, 1]: the share of images that would have
            to change class. expected_variation: its mean over draws of one law, by the same margins.
        shares: (K, 2) of the first and of the second set. pvalues: (K,) of each class, Holm-corrected.
    """

    statistic: float
    pvalue: float
    exact: bool
    total_variation: float
    expected_variation: float
    shares: np.ndarray
    pvalues: np.ndarray


def class_balance(generated: Any, reference: Any, *, seed: int = 0) -> ClassBalance:
    """Compares the numbers of images of K classes in two sets.

    Args:
        generated, reference: (K,) counts, each set with at least one image; classes that neither has are none.
        seed: of the tables drawn.

    Raises:
        ValueError: fewer than two classes, or a set without images.
    """
    table = np.array([generated, reference], np.int64)
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any() or (table.sum(axis=0) == 0).any():
        raise ValueError("class balance needs two classes or more, and images of each class and in each set")
    totals, shares = table.sum(axis=1), table / table.sum(axis=1, keepdims=True)
    expected = np.outer(totals, table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    exact = bool((expected < FEW).any())
    statistics, variations = _drawn(table, expected, TABLES if exact else 199, seed)
    if exact:
        pvalue = (1 + int((statistics >= statistic * (1 - 1e-12)).sum())) / (1 + TABLES)
    else:
        pvalue = float(scipy.stats.chi2.sf(statistic, table.shape[1] - 1))
    single = [scipy.stats.fisher_exact([column, totals - column]).pvalue for column in table.T]
    return ClassBalance(
        statistic=statistic,
        pvalue=pvalue,
        exact=exact,
        total_variation=float(np.abs(shares[0] - shares[1]).sum() / 2),
        expected_variation=float(variations.mean()),
        shares=shares.T,
        pvalues=holm(single),
    )


def _drawn(table: np.ndarray, expected: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The statistic and the total variation of `count` tables of the same margins, (R,) each."""
    totals = table.sum(axis=1)
    law = scipy.stats.random_table(totals, table.sum(axis=0), seed=np.random.default_rng(seed))
    found, done = np.empty((2, count)), 0
    while done < count:
        some = law.rvs(min(count - done, max(1, CELLS // table.size)))
        found[0, done : done + len(some)] = ((some - expected) ** 2 / expected).sum(axis=(1, 2))
        found[1, done : done + len(some)] = np.abs(some[:, 0] / totals[0] - some[:, 1] / totals[1]).sum(axis=1) / 2
        done += len(some)
    return found[0], found[1]


@dataclass(frozen=True)
class Accuracy:
    """The share of a class's images that a classifier puts into it, with Wilson's interval, and of real images.

    `pvalue`: one-sided, Fisher's exact test that the generated images are recognised less often; None without real.
    """

    value: float
    lower: float
    upper: float
    n: int
    real: float | None = None
    pvalue: float | None = None


def accuracy(correct: int, n: int, real: tuple[int, int] | None, confidence: float) -> Accuracy:
    """Of `correct` among `n` generated images, and of (correct, n) real ones where a classifier saw them."""
    share = wilson_interval(correct, n, confidence)
    lower, upper = share.ends
    assert lower is not None
    assert upper is not None
    if real is None or real[1] == 0:
        return Accuracy(float(share), lower, upper, n)
    table = [[correct, n - correct], [real[0], real[1] - real[0]]]
    pvalue = float(scipy.stats.fisher_exact(table, alternative="less").pvalue)
    return Accuracy(float(share), lower, upper, n, real[0] / real[1], pvalue)
