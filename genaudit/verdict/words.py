"""The verdict's sentences: numbers beside those of real images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import scipy

from genaudit.verdict.evidence import Vote

NEEDS = {
    "reference": "reference= (real images that the model did not learn from)",
    "train": "train= (the images that the model learned from)",
}

WHERE_IN_DOUBT = "The warning of that code says what to mend."
WHERE_NOT_KNOWN = "More real images, as reference= or train=, would say what real images score."


def listed(found: Sequence[Vote]) -> str:
    """`precision 0.58 (real images 0.87 to 0.95)`, joined by commas; at how many images, where not at all of them."""
    told = [f"{each.says} {number(each.ours)} (real images {_real(each)})" for each in found]
    parts = [f", from parts of {each.n:,} images" if each.from_parts else "" for each in found]
    if len(set(parts)) == 1:
        return ", ".join(told) + parts[0]
    return ", ".join(text + part for text, part in zip(told, parts, strict=True))


def _real(vote: Vote) -> str:
    """What real images score; at how many images, where the table's number is of more."""
    fewer = f", both at {vote.n:,} images" if vote.fewer and not vote.from_parts else ""
    return _span(vote.lower, vote.upper) + fewer


def _span(lower: float, upper: float) -> str:
    return number(lower) if lower == upper else f"{number(lower)} to {number(upper)}"


def number(value: float) -> str:
    """Three digits, thousands with separators, a true minus sign, no exponent in between."""
    if value == 0 or abs(value) < 1e-4:
        text = f"{value:.1g}" if abs(value) >= 5e-7 else "0"
    else:
        text = f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return text.replace("-", "\N{MINUS SIGN}") if value < 0 else text


def silent(values: Mapping[str, str]) -> str:
    """Which values have no vote, and why."""
    reasons: dict[str, list[str]] = {}
    for name, why in values.items():
        reasons.setdefault(why, []).append(name)
    return "".join(f" No vote of {', '.join(names)}: {why}." for why, names in reasons.items())


def cannot(what: str, values: Mapping[str, str], graded: Sequence[str], then: str) -> tuple[str, str | None]:
    """No vote that grades: because the values are not there, or because none of those that are there votes.

    Args:
        what: the values, in words. values: those without a vote, and why. graded: names of values that would grade.
        then: what to do where they are not there.
    """
    there = [why for name, why in values.items() if name.rpartition(".")[2] in graded]
    if not there:
        return f"Cannot tell: {what} are not there to compare with real images.{silent(values)}", then
    doubted = any("doubt" in why for why in there)
    return f"Cannot tell.{silent(values)}", WHERE_IN_DOUBT if doubted else WHERE_NOT_KNOWN


def missing(report: Mapping[str, Any], roles: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong and what to give where a role is not played by images."""
    absent = [role for role in roles if not report["images"].get(role, {}).get("count")]
    if not absent:
        return None
    needed = " and ".join(NEEDS[role] for role in absent)
    return f"Cannot tell without {needed}.", f"Give {' and '.join(f'{role}=' for role in absent)}."


def more_images(count: float) -> str:
    """An estimate, to two digits."""
    if count == math.inf:
        return "No number of images would tell with these metrics: real images themselves score 0."
    step = 10 ** (math.floor(math.log10(max(count, 10))) - 1)
    return f"About {math.ceil(count / step) * step:,} images of each role would tell."


def copies_told(copies: int, count: int) -> str:
    return f"{copies:,} of {count:,} generated images are exact copies of training images"


def more_copies(copies: int, count: int, known: int, held_out: int) -> float:
    """P(so many of the exact copies of training images among the generated ones), were these real images (Fisher)."""
    return float(scipy.stats.hypergeom.sf(copies - 1, count + held_out, copies + known, count))
