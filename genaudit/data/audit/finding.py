"""A finding of the audit: its code and sentence, the tests of whether two sets differ beyond chance, and its wording.

A pair of roles has about a dozen facts. Each answer has an effect, which must be worth a word, and a p-value, which
must be below `ALPHA`, so that random halves of one set of any kind raise a false alarm in less than one of 4,000 pairs.
Both tests are exact or conservative, so that this holds for small sets and for ties. Sets of fewer than ten images
never differ: their chance agreement cannot be excluded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from genaudit.data.audit.facts import SetFacts

CODES = (
    "formats-differ",
    "jpeg-quality-differs",
    "jpeg-traces",
    "sizes-differ",
    "aspect-differs",
    "upscaled",
    "colour-differs",
    "bit-depth-differs",
    "alpha-differs",
    "orientation-differs",
    "counts-differ",
    "same-images",
    "duplicates",
    "near-copies",
)
ALPHA = 2e-5
_SUBSAMPLE = 5000  # images of a set whose numbers are compared: more add cost and no information
SHARE = 0.1  # of a role's images: a difference of shares below this is not worth a word
DISTANCES = "FD, KD and the other distances rise, and precision, recall, density and coverage fall,"
Roles = Mapping[str, SetFacts]


@dataclass(frozen=True)
class Finding:
    """A difference between the roles, or within one, that moves metrics without any image being better or worse.

    Attributes:
        code: one of `CODES`; the warning of a report that says the same has this code too.
        roles: the roles concerned, in the order generated, reference, train.
        message: what was seen, what it does to which metrics, and what to do, in sentences for people.
        metrics: the names of the metrics concerned, those of the run where there is one.
        breaks: the comparison means nothing; else it needs caution.
    """

    code: str
    roles: tuple[str, ...]
    message: str
    metrics: tuple[str, ...] = ()
    breaks: bool = False

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"code must be one of {', '.join(CODES)}, got {self.code!r}")
        if not self.roles or not self.message:
            raise ValueError(f"{self.code}: a finding needs roles and a message")


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
    return bool(scipy.stats.fisher_exact([[k, n - k], [j, m - j]]).pvalue < ALPHA)


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """How far the numbers of two sets differ; the p-value is that of the two-sample Kolmogorov-Smirnov test."""
    if min(len(first), len(second)) == 0 or np.ptp(np.concatenate([first, second])) == 0:
        return Difference(0.5, 0.0, 0.0, 1.0)
    x, y = _thinned(first), _thinned(second)
    method = "exact" if len(x) * len(y) <= 1_000_000 else "asymp"
    above = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y))
    return Difference(
        float(above),
        float(np.median(x) - np.median(y)),
        float(scipy.stats.wasserstein_distance(x, y)),
        float(scipy.stats.ks_2samp(x, y, method=method).pvalue),
    )


def _thinned(numbers: np.ndarray) -> np.ndarray:
    """Every k-th of the sorted numbers where there are many."""
    ordered = np.sort(np.asarray(numbers, np.float64))
    return ordered[:: max(1, len(ordered) // _SUBSAMPLE)]


class Differing(NamedTuple):
    """The roles that differ from another one, in their order, and the pairs that do."""

    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


class Told(NamedTuple):
    """A finding without its metrics, and the pairs of roles that differ."""

    finding: Finding
    pairs: tuple[tuple[str, str], ...]


def told(code: str, found: Differing, message: str, *, breaks: bool = False) -> Told:
    """What a rule found."""
    return Told(Finding(code, found.names, message, breaks=breaks), found.pairs)


def differing(roles: Roles, differ: Callable[[SetFacts, SetFacts], bool]) -> Differing | None:
    """Which roles differ, None where no pair does."""
    pairs = tuple(pair for pair in itertools.combinations(roles, 2) if differ(roles[pair[0]], roles[pair[1]]))
    return Differing(tuple(role for role in roles if any(role in pair for pair in pairs)), pairs) if pairs else None


def listed(roles: Roles, found: Differing, text: Callable[[SetFacts], str]) -> str:
    """What each role that differs is: "generated: 100 % JPEG; reference: lossless"."""
    return "; ".join(f"{name}: {text(roles[name])}" for name in found.names)


def percent(share: float) -> str:
    """A share for people: "12 %", "below 1 %"."""
    if 0 < share < 0.01:
        return "below 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def shares(counts: Mapping[str, int]) -> str:
    """The classes with their shares, the most frequent first: "80 % JPEG, 20 % lossless"."""
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{percent(n / total)} {name}" if len(ranked) > 1 else name for name, n in ranked[:4])


def classes_differ(first: Mapping[str, int], second: Mapping[str, int]) -> bool:
    """Whether any class has different shares in two sets."""
    n, m = sum(first.values()), sum(second.values())
    return any(shares_differ((first.get(name, 0), n), (second.get(name, 0), m), SHARE) for name in {**first, **second})
