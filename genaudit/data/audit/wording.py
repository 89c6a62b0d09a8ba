"""What the rules of the audit share: which roles differ, and how a sentence lists what each role is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.finding import Finding
from genaudit.data.audit.two_sets import shares_differ

SHARE = 0.1  # of a role's images: a difference of shares below this is not worth a word
DISTANCES = "FD, KD and the other distances rise, and precision, recall, density and coverage fall,"

Roles = Mapping[str, SetFacts]


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
