"""Arithmetic of numbers with intervals, for rules.

Each operation gives all that its operands' intervals allow (Moore 1966), so that bounds add up: right for values of one
run, which were computed from the same images. A difference from a baseline run is that of two independent sets of
generated images; there the distances to the ends add in squares, as by Zou and Donner 2008 (the method of variance
estimates recovery), which keeps each interval's asymmetry. What the two runs share, such as the reference, moves both
alike and makes the difference vary less than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from genaudit.verdict.rules_grammar import Binary, Name, Negative, Number, Side
from genaudit.verdict.rules_names import Span

Lookup = Callable[[Name], Span]
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def compare(comparison: str, left: float, right: float) -> bool:
    """Whether two numbers compare so."""
    return _HOLDS[comparison](left, right)


def always(comparison: str, left: Span, right: Span) -> bool:
    """Whether a comparison holds for all that the intervals of both sides allow."""
    ends = (left.lower, left.upper, right.lower, right.upper)
    if any(end is None for end in ends):
        return False
    l_low, l_high, r_low, r_high = (float(end) for end in ends if end is not None)
    if comparison in (">=", ">"):
        return compare(comparison, l_low, r_high)
    if comparison in ("<=", "<"):
        return compare(comparison, l_high, r_low)
    if comparison == "==":
        return l_low == l_high == r_low == r_high
    return l_high < r_low or r_high < l_low


def evaluate(side: Side, lookup: Lookup) -> Span:
    """A side's number with its interval; without one where any of its values has none."""
    if isinstance(side, Number):
        return Span.exact(side.value)
    if isinstance(side, Name):
        return lookup(side)
    if isinstance(side, Negative):
        return _combined("-", Span.exact(0.0), evaluate(side.of, lookup))
    return _combined(side.sign, evaluate(side.left, lookup), evaluate(side.right, lookup))


def _combined(sign: str, left: Span, right: Span) -> Span:
    for each in (left, right):
        if each.value is None:
            return each
    assert left.value is not None
    assert right.value is not None
    value = _number(sign, left.value, right.value)
    if value is None or not math.isfinite(value):
        return Span(None, reason="it divides by zero" if value is None else "it is too large a number")
    ends = (left.lower, left.upper, right.lower, right.upper)
    if any(end is None for end in ends):
        return Span(value)
    l_low, l_high, r_low, r_high = (float(end) for end in ends if end is not None)
    if sign == "+":
        return Span(value, l_low + r_low, l_high + r_high)
    if sign == "-":
        return Span(value, l_low - r_high, l_high - r_low)
    if not all(math.isfinite(each) for each in (l_low, l_high, r_low, r_high)) or (
        sign == "/" and r_low <= 0 <= r_high
    ):
        return Span(value, -math.inf, math.inf)
    corners = [_number(sign, a, b) for a in (l_low, l_high) for b in (r_low, r_high)]
    finite = [each for each in corners if each is not None]
    return Span(value, min(finite), max(finite))


def _number(sign: str, left: float, right: float) -> float | None:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    return None if right == 0 else left / right


def affine(side: Side, lookup: Lookup) -> tuple[dict[Name, float], float] | None:
    """The coefficients of a side's names and its constant, where it is a sum of multiples; else None."""
    if isinstance(side, Number):
        return {}, side.value
    if isinstance(side, Name):
        return {side: 1.0}, 0.0
    if isinstance(side, Negative):
        return _scaled(affine(side.of, lookup), -1.0)
    left, right = affine(side.left, lookup), affine(side.right, lookup)
    if left is None or right is None:
        return None
    if side.sign in "+-":
        factor = 1.0 if side.sign == "+" else -1.0
        names = dict(left[0])
        for name, coefficient in right[0].items():
            names[name] = names.get(name, 0.0) + factor * coefficient
        return names, left[1] + factor * right[1]
    if side.sign == "*" and not left[0]:
        return _scaled(right, left[1])
    if side.sign == "*" and not right[0]:
        return _scaled(left, right[1])
    if side.sign == "/" and not right[0] and right[1] != 0:
        return _scaled(left, 1 / right[1])
    return None


def _scaled(form: tuple[dict[Name, float], float] | None, factor: float) -> tuple[dict[Name, float], float] | None:
    return None if form is None else ({name: each * factor for name, each in form[0].items()}, form[1] * factor)


def margin(left: Side, right: Side, lookup: Lookup) -> Span | None:
    """Left minus right, of this run and a baseline run, by their squares (see above); None where that does not apply.

    It applies to sums of multiples in which names of the baseline have the sign opposite to that of names of this run.
    """
    form = affine(Binary("-", left, right), lookup)
    if form is None:
        return None
    spans = {name: lookup(name) for name in form[0]}
    signs = {of: {coefficient > 0 for name, coefficient in form[0].items() if name.of_baseline is of and coefficient}
             for of in (True, False)}  # fmt: skip
    if any(len(each) != 1 for each in signs.values()) or signs[True] == signs[False]:
        return None
    total, below, above = form[1], {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for name, coefficient in form[0].items():
        span = spans[name]
        if span.value is None or span.lower is None or span.upper is None:
            return None
        ends = (coefficient * (span.lower - span.value), coefficient * (span.upper - span.value))
        total += coefficient * span.value
        below[name.of_baseline] += max(0.0, -min(ends))
        above[name.of_baseline] += max(0.0, max(ends))
    return Span(total, total - math.hypot(*below.values()), total + math.hypot(*above.values()))
