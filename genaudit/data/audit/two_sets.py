"""Do two sets differ in a fact, beyond what two random halves of one set would show?

Each answer has an effect, which must be worth a word, and a p-value, which must be below `ALPHA`: a pair of roles has
about a dozen facts, so that random halves of one set of any kind raise a false alarm in less than one of 4,000
pairs. Both tests are exact or conservative, so that this holds for small sets and for ties. Sets of fewer than ten
images never differ: their chance agreement cannot be excluded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ALPHA = 2e-5
_SUBSAMPLE = 5000  # images of a set whose numbers are compared: more add cost and no information


class Difference(NamedTuple):
    """How far two sets differ in a number: `above` is the probability that one of the first exceeds one of the second
    (ties count half), `gap` the difference of the medians, `distance` the mean distance of equal quantiles."""

    above: float
    gap: float
    distance: float
    pvalue: float


def shares_differ(first: tuple[int, int], second: tuple[int, int], least: float) -> bool:
    """Whether two shares (count, of how many) differ by `least` or more, by Fisher's exact test."""
    (k, n), (j, m) = first, second
    if min(n, m) == 0 or abs(k / n - j / m) < least:
        return False
    from scipy.stats import fisher_exact

    return bool(fisher_exact([[k, n - k], [j, m - j]]).pvalue < ALPHA)


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """How far the numbers of two sets differ; the p-value is that of the two-sample Kolmogorov-Smirnov test."""
    if min(len(first), len(second)) == 0 or np.ptp(np.concatenate([first, second])) == 0:
        return Difference(0.5, 0.0, 0.0, 1.0)
    from scipy.stats import ks_2samp, mannwhitneyu, wasserstein_distance

    x, y = _thinned(first), _thinned(second)
    method = "exact" if len(x) * len(y) <= 1_000_000 else "asymp"
    above = mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y))
    return Difference(
        float(above),
        float(np.median(x) - np.median(y)),
        float(wasserstein_distance(x, y)),
        float(ks_2samp(x, y, method=method).pvalue),
    )


def _thinned(numbers: np.ndarray) -> np.ndarray:
    """Every k-th of the sorted numbers where there are many."""
    ordered = np.sort(np.asarray(numbers, np.float64))
    return ordered[:: max(1, len(ordered) // _SUBSAMPLE)]
