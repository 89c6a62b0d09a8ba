"""Passes or fails a finished run by a user's rules, from its report.json, so that fresh and old runs are judged alike.

A rule holds or fails by its numbers. It is undecided where a number could not be computed, where the baseline run is
not comparable, and with `strict` where the numbers pass but not all that their intervals allow. For the verdict's
answers `cannot_tell` leaves a rule that asks for an answer (==) undecided; one that excludes an answer (!=) holds, and
with `strict` is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genaudit.errors import DONE, REJECTED, UNDECIDED, UserError
from genaudit.verdict.rules_arithmetic import always, compare, evaluate, margin
from genaudit.verdict.rules_grammar import Name, Rule, answer_of, names_of, wrong
from genaudit.verdict.rules_names import SUFFIXES, Quantity, Span, Unknown, resolve

WORDS = {
    ">=": "at least",
    "<=": "at most",
    ">": "above",
    "<": "below",
    "==": "equal to",
    "!=": "other than",
}


@dataclass(frozen=True)
class Difference:
    """This run's value less the baseline run's: its interval, and the p-value of a test where there was one."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    p_value: float | None = None
    test: str = ""
    level: float = 0.05

    @property
    def exceeds(self) -> bool | None:
        """Whether there is a difference, by the test or else by the interval; None where there is neither."""
        if self.p_value is not None:
            return self.p_value <= self.level
        if self.lower is None or self.upper is None:
            return None
        return not self.lower <= 0 <= self.upper

    @property
    def sentence(self) -> str:
        interval = "" if self.lower is None or self.upper is None else f" ({self.lower:.4g} to {self.upper:.4g})"
        said = f"the difference from the baseline is {self.value:+.4g}{interval}"
        if self.exceeds is None:
            return f"{said}, without an interval"
        if self.p_value is None:
            return f"{said}: it {'exceeds' if self.exceeds else 'does not exceed'} its interval"
        return f"{said}: {'more' if self.exceeds else 'no more'} than chance (p = {self.p_value:.2g}, {self.test})"


@dataclass(frozen=True)
class Judged:
    """A rule's outcome.

    `value` is the number (or answer) of the side that names the run's value, with its interval; `bound` that of the
    other side; `baseline` the baseline run's value where the rule names it.
    """

    rule: str
    value: float | str | None
    holds: bool | None
    reason: str
    lower: float | None = None
    upper: float | None = None
    bound: float | str | None = None
    baseline: float | str | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class Outcome:
    """All rules of a run; `run` and `baseline` say which runs, as the user named them."""

    rules: tuple[Judged, ...]
    run: str
    baseline: str | None = None
    strict: bool = False

    @property
    def passed(self) -> bool | None:
        """True where all rules hold, False where one fails, else None."""
        if any(each.holds is False for each in self.rules):
            return False
        return True if all(each.holds for each in self.rules) else None

    @property
    def exit_code(self) -> int:
        return {True: DONE, False: REJECTED, None: UNDECIDED}[self.passed]


@dataclass(frozen=True)
class Baseline:
    """The baseline run, and what is known about it beside this one.

    Attributes:
        report: its report.json.
        incomparable: metric's key here, and there => why their values do not compare; None where they do.
        tested: the same, and a value's name => the p-value of their difference and how it was tested, or None.
    """

    report: Mapping[str, Any]
    incomparable: Callable[[str, str], str | None] = lambda ours, theirs: None
    tested: Callable[[str, str, str], tuple[float, str] | None] = lambda ours, theirs, value: None


def judge(
    rules: Sequence[Rule],
    report: Mapping[str, Any],
    *,
    run: str = "",
    baseline: Baseline | None = None,
    baseline_name: str | None = None,
    strict: bool = False,
    possible: Mapping[str, Sequence[str]] | None = None,
) -> Outcome:
    """Judges a run by rules.

    Args:
        report: its report.json. run, baseline_name: how the outcome names the runs.
        strict: intervals must hold too.
        possible: by metric, the values that it may have beyond those that the report holds.

    Raises:
        UserError: a rule that names what is not there.
    """
    judges = [_Judge(each, report, baseline, strict, possible or {}) for each in rules]
    return Outcome(tuple(each.judged() for each in judges), run, baseline_name, strict)


class _Judge:
    """One rule on one run."""

    def __init__(
        self,
        rule: Rule,
        report: Mapping[str, Any],
        baseline: Baseline | None,
        strict: bool,
        possible: Mapping[str, Sequence[str]],
    ) -> None:
        self.rule, self.report, self.strict, self.possible = rule, report, strict, possible
        if rule.needs_baseline and baseline is None:
            raise UserError(f"rule {rule.text!r} names a baseline: give baseline=RUN, the folder of a finished run")
        self.baseline = baseline

    def judged(self) -> Judged:
        return self._answer() if self.rule.answer else self._numbers()

    # answers of the verdict

    def _answer(self) -> Judged:
        rule, question = self.rule, str(self.rule.answer)
        (word,) = (name for name in rule.names if not name.of_verdict)
        ours = self._answer_of(self.report, question, "this run")
        theirs = None
        if word.of_baseline:
            assert self.baseline is not None
            theirs = self._answer_of(self.baseline.report, question, "the baseline run")
        wanted = theirs or answer_of(word)
        holds: bool | None = (ours == wanted) is (rule.comparison == "==")
        said = f"the verdict on {question} is {ours}"
        reason = said if holds or rule.comparison == "!=" else f"{said}, not {wanted}"
        if ours == "cannot_tell" and wanted != "cannot_tell":
            if rule.comparison == "==" or self.strict:
                holds = None
            reason = f"{said}{self._next(question)}"
        return Judged(rule.text, ours, holds, reason, bound=wanted, baseline=theirs)

    def _answer_of(self, report: Mapping[str, Any], question: str, whose: str) -> str:
        entry = (report.get("verdict") or {}).get(question)
        if not isinstance(entry, Mapping) or "answer" not in entry:
            raise wrong(self.rule.text, self._place("verdict"), f"{whose} has no verdict on {question}")
        return str(entry["answer"])

    def _next(self, question: str) -> str:
        advice = self.report["verdict"][question].get("next")
        return f"; {advice}" if isinstance(advice, str) and advice else ""

    def _place(self, first: str) -> int:
        return next((name.at for name in self.rule.names if name.parts[0] == first), 0)

    # numbers

    def _numbers(self) -> Judged:
        rule = self.rule
        left, right = evaluate(rule.left, self._lookup), evaluate(rule.right, self._lookup)
        ours = [name for name in rule.names if not name.of_baseline]
        flipped = not any(name in ours for name in names_of(rule.left))
        shown, bound = (right, left) if flipped else (left, right)
        base = next((name for name in rule.names if name.of_baseline), None)
        judged = Judged(rule.text, shown.value, None, "", _finite(shown.lower), _finite(shown.upper), bound.value)
        if base is not None:
            judged = replace(judged, baseline=self._lookup(base).value)
        for each in (left, right):
            if each.value is None:
                return replace(judged, reason=each.reason)
        if base is not None:
            if why := self._incomparable():
                return replace(judged, reason=f"not comparable with the baseline: {why}")
            judged = replace(judged, difference=self._difference(base))
        assert left.value is not None
        assert right.value is not None
        holds = compare(rule.comparison, left.value, right.value)
        number = f"{left.value:.6g}{_ends(left)}"
        against = f"{WORDS[rule.comparison]} {right.value:.6g}{_ends(right)}"
        reason = f"{number} is {'' if holds else 'not '}{against}"
        verdict: bool | None = holds
        if holds and self.strict and not self._surely(left, right):
            verdict = None
            lacking = [str(name) for name in rule.names if self._lookup(name).lower is None]
            reason = (
                f"{reason}, and {' and '.join(dict.fromkeys(lacking))} has no interval"
                if lacking
                else f"{reason}, and not all that the intervals allow is"
            )
        if judged.difference is not None:
            reason = f"{reason}; {judged.difference.sentence}"
        return replace(judged, holds=verdict, reason=reason)

    def _surely(self, left: Span, right: Span) -> bool:
        between = margin(self.rule.left, self.rule.right, self._lookup) if self.rule.needs_baseline else None
        if between is not None:
            return always(self.rule.comparison, between, Span.exact(0.0))
        return always(self.rule.comparison, left, right)

    def _lookup(self, name: Name) -> Span:
        return self._found(name).span

    def _found(self, name: Name) -> Quantity:
        """The quantity of a name; `baseline` alone, or with a suffix, is the rule's other name in the baseline run."""
        if not name.of_baseline:
            return self._resolved(name, name, self.report, self.possible)
        assert self.baseline is not None
        meant = self._meant(name)
        found = self._resolved(meant, name, self.baseline.report, {})
        reason = f"in the baseline run {found.span.reason}" if found.span.reason else ""
        return replace(found, span=replace(found.span, reason=reason))

    def _meant(self, name: Name) -> Name:
        """The name without `baseline` that a name of the baseline run stands for there."""
        behind = name.parts[1:]
        if behind not in SUFFIXES:
            return Name(behind, bare=False, at=name.at)
        others = {each: None for each in self.rule.names if not each.of_baseline}
        if len(others) != 1:
            listed = " or ".join(f"baseline.{each}" for each in others)
            raise wrong(self.rule.text, name.at, f"the rule names several values: write {listed}")
        (other,) = others
        if not behind:
            return other
        found = self._found(other)
        return Name((*other.parts[: len(other.parts) - len(found.suffix)], *behind), other.bare, name.at)

    def _resolved(
        self, name: Name, written: Name, report: Mapping[str, Any], possible: Mapping[str, Sequence[str]]
    ) -> Quantity:
        try:
            return resolve(name, report, possible)
        except Unknown as error:
            where = "in the baseline run " if written.of_baseline else ""
            raise Unknown(str(wrong(self.rule.text, written.at, f"{where}{error}"))) from None

    # the baseline run

    def _pairs(self) -> list[tuple[Quantity, Quantity]]:
        """What is compared: quantities of this run beside those of the same value in the baseline run."""
        ours = [self._found(each) for each in self.rule.names if not each.of_baseline]
        theirs = [self._found(each) for each in self.rule.names if each.of_baseline]
        return [(a, b) for b in theirs for a in ours if a.value == b.value]

    def _incomparable(self) -> str | None:
        assert self.baseline is not None
        reasons = (self.baseline.incomparable(a.metric, b.metric) for a, b in self._pairs())
        return next((reason for reason in reasons if reason), None)

    def _difference(self, base: Name) -> Difference | None:
        assert self.baseline is not None
        theirs = self._found(base)
        pairs = [a for a, b in self._pairs() if b == theirs and a.suffix == b.suffix]
        if not pairs:
            return None
        assert pairs[0].span.value is not None
        assert theirs.span.value is not None
        ours = next(each for each in self.rule.names if not each.of_baseline and self._found(each) == pairs[0])
        exact = pairs[0].span.lower == pairs[0].span.upper and theirs.span.lower == theirs.span.upper
        between = None if exact else margin(ours, base, self._lookup)
        tested = None if pairs[0].suffix else self.baseline.tested(pairs[0].metric, theirs.metric, theirs.value)
        p_value, test = tested or (None, "")
        return Difference(
            pairs[0].label,
            pairs[0].span.value - theirs.span.value,
            None if between is None else between.lower,
            None if between is None else between.upper,
            p_value,
            test,
            1 - _confidence(self.report),
        )


def _confidence(report: Mapping[str, Any]) -> float:
    given = report.get("config", {}).get("confidence", 0.95)
    return float(given) if isinstance(given, (int, float)) and 0 < given < 1 else 0.95


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _ends(span: Span) -> str:
    if span.lower is None or span.upper is None or span.lower == span.upper:
        return ""
    return f" ({span.lower:.4g} to {span.upper:.4g})"
