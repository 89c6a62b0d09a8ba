"""What the names of rules stand for in a finished run: numbers of report.json, with their intervals.

A name is a value's (`recall`), with its metric where two metrics have it (`prdc.recall`, `fd@dinov2_l14.fd`), or a
metric's that has one value (`fd@dinov2_l14`); behind it may stand what of the value is meant (`SUFFIXES`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genaudit.errors import UserError
from genaudit.metrics.result import base_name
from genaudit.verdict.rules_grammar import Name, near

# What may stand behind a value's name. A number without an interval of its own asks nothing more with strict=true.
SUFFIXES: dict[tuple[str, ...], str] = {
    (): "the value, with its interval",
    ("value",): "the value alone",
    ("lower",): "the lower end of its interval",
    ("upper",): "the upper end of its interval",
    ("real",): "what fresh real images of the same count score, with its interval",
    ("real", "value"): "that alone",
    ("real", "lower"): "the lower end of that interval",
    ("real", "upper"): "the upper end of that interval",
    ("at_real_n",): "the value of as many generated images as the real ones that those are",
    ("real_ratio",): "that divided by what real images score, with an interval",
}
SHOWN = (".value", ".lower", ".upper", ".real", ".real_ratio")


@dataclass(frozen=True)
class Span:
    """A number and what it may be: `value` is None where it could not be computed, for the `reason`.

    `lower` and `upper` are its interval, or the number itself where it is exact; None where it has no interval.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None
    reason: str = ""

    @classmethod
    def exact(cls, value: float) -> Span:
        return cls(value, value, value)


@dataclass(frozen=True)
class Quantity:
    """A name found in a run: which value of which entry of `metrics`, and what of it."""

    metric: str
    value: str
    suffix: tuple[str, ...]
    span: Span

    @property
    def label(self) -> str:
        first = self.value if self.value == self.metric else f"{self.metric}.{self.value}"
        return ".".join([first, *self.suffix])


class Unknown(UserError):
    """A name that stands for nothing in a run, or for several values."""


def resolve(name: Name, report: Mapping[str, Any], possible: Mapping[str, Sequence[str]]) -> Quantity:
    """The quantity that a name (without `baseline`) stands for.

    Args:
        report: report.json. possible: by metric, values that it may have beyond those that the report holds.

    Raises:
        Unknown: there is none of that name, or several; names those that were likely meant.
    """
    there = {key: list(entry["values"]) for key, entry in report["metrics"].items()}
    absent = {key: list(possible.get(base_name(key), ())) for key in there}
    absent |= {key: list(possible.get(base_name(key), (base_name(key),))) for key in report["skipped_metrics"]}
    metric, value, suffix = find(name, there, absent)
    return Quantity(metric, value, suffix, _span(report, metric, value, suffix))


def find(
    name: Name, there: Mapping[str, Sequence[str]], absent: Mapping[str, Sequence[str]]
) -> tuple[str, str, tuple[str, ...]]:
    """Metric, value and suffix of a name among values that are there, else among those that might have been.

    Args:
        there, absent: the names of values by the metric's key.

    Raises:
        Unknown: as `resolve`.
    """
    for values in (there, absent):
        for suffix in sorted(SUFFIXES, key=len):
            body = name.parts[: len(name.parts) - len(suffix)]
            if not body or name.parts[len(body) :] != suffix:
                continue
            hits = _hits(".".join(body), values)
            if len(hits) > 1:
                listed = ", ".join(".".join([f"{metric}.{value}", *suffix]) for metric, value in hits)
                raise Unknown(f"{name} stands for several values: write {listed}")
            if hits:
                return (*hits[0], suffix)
    raise Unknown(_unknown(name, there, absent))


def _hits(body: str, values: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(metric, value) pairs that a name without suffix may mean: a value's name is preferred to a metric's."""
    pairs = [(metric, value) for metric, of in values.items() for value in of]
    full = [(m, v) for m, v in pairs if body in (f"{m}.{v}", f"{base_name(m)}.{v}")]
    short = [(m, v) for m, v in pairs if body == v]
    alone = [(m, v) for m, v in pairs if body in (m, base_name(m)) and (v == base_name(m) or len(values[m]) == 1)]
    exact = [(m, v) for m, v in full if body == f"{m}.{v}"]
    return exact or full or short or alone


def _unknown(name: Name, there: Mapping[str, Sequence[str]], absent: Mapping[str, Sequence[str]]) -> str:
    text = ".".join(name.parts)
    everything = {**absent, **there}
    for length in range(len(name.parts) - 1, 0, -1):  # a known value with an unknown suffix
        body = ".".join(name.parts[:length])
        if _hits(body, everything):
            value = _hits(body, everything)[0][1]
            rest = ".".join(name.parts[length:])
            if body in everything and body != value:
                return f"metric {body} has no value {rest!r}: {near(rest, everything[body], _listed(everything[body]))}"
            return f"{body} has no .{rest}: {near(f'.{rest}', SHOWN, 'there are ' + ', '.join(SHOWN))}"
        if body in everything:
            return f"metric {body} has no value {'.'.join(name.parts[length:])!r}: {_listed(everything[body])}"
    known = [value for of in there.values() for value in of]
    full = [f"{metric}.{value}" for metric, of in there.items() for value in of]
    short = [each if known.count(each) == 1 else longer for each, longer in zip(known, full, strict=True)]
    hint = near(text, short, "") or near(text, [*there, *(value for of in absent.values() for value in of)], "")
    return f"there is no value {text!r}: {hint or _listed(short)}"


def _listed(names: Sequence[str]) -> str:
    return f"there are {', '.join(names)}" if names else "the run has no values"


def _span(report: Mapping[str, Any], metric: str, value: str, suffix: tuple[str, ...]) -> Span:
    """The number; its reason where there is none."""
    if metric not in report["metrics"]:
        return Span(None, reason=f"{metric} was not computed: {report['skipped_metrics'][metric]}")
    entry = report["metrics"][metric]["values"].get(value)
    if entry is None:
        return Span(None, reason=f"{metric} has no {value} in this run")
    number = _interval(entry)
    if number.value is None:
        return Span(None, reason=f"{value} is not a finite number")
    if not suffix:
        return number
    if suffix[0] in ("value", "lower", "upper"):
        return _end(number, suffix[0], value)
    real = entry.get("real")
    if not isinstance(real, Mapping) or real.get("value") is None:
        return Span(None, reason=f"this run has no real floor for {value}")
    floor = _interval(real)
    if suffix == ("real",):
        return floor
    if suffix[0] == "real":
        return _end(floor, suffix[1], f"the real floor of {value}")
    at_real_n = number if real.get("generated") is None else Span(float(real["generated"]))
    return at_real_n if suffix == ("at_real_n",) else ratio(at_real_n, floor, value)


def _interval(entry: Mapping[str, Any]) -> Span:
    lower, upper = entry.get("lower"), entry.get("upper")
    return Span(entry["value"], lower, upper)


def _end(number: Span, which: str, what: str) -> Span:
    end = getattr(number, which)
    return Span(None, reason=f"{what} has no interval") if end is None else Span.exact(end)


def ratio(number: Span, floor: Span, value: str) -> Span:
    """A value over that of real images, as reports give it; its interval holds for all of both intervals.

    There is none where one of the two is not positive, or the real floor cannot be distinguished from 0.
    """
    assert number.value is not None
    assert floor.value is not None
    low = floor.value if floor.lower is None else floor.lower
    if low <= 0 or floor.value <= 0:
        why = f"what real images score ({floor.value:.4g}) cannot be distinguished from 0"
        return Span(None, reason=f"{value} has no ratio: {why}")
    if number.value <= 0:
        return Span(None, reason=f"{value} has no ratio: {number.value:.4g} is not positive")
    ends = (number.lower, number.upper, floor.lower, floor.upper)
    if any(end is None for end in ends):
        return Span(number.value / floor.value)
    lower, upper, low, high = (float(end) for end in ends if end is not None)
    candidates = [end / divisor for end in (lower, upper) for divisor in (low, high)]
    return Span(number.value / floor.value, min(candidates), max(candidates))
