"""What stands first in every report: the verdict in words, and warnings grouped by their code.

A verdict is anything with `rule`, `comparable` and `answers`, as `genaudit.verdict.answers.Verdict` has them, or
report.json's part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genaudit.reports.digits import show, show_interval

if TYPE_CHECKING:
    from genaudit.reports.report import Report, ReportWarning

QUESTIONS = {
    "quality": "Are the samples good?",
    "diversity": "Are they diverse?",
    "memorised": "Are they memorised?",
    "likelihood": "Does a density model find them likely?",
}
ANSWERS = {
    "as_real": "as real images",
    "worse": "worse than real images",
    "much_worse": "much worse than real images",
    "cannot_tell": "cannot tell",
    "yes": "yes",
    "some": "some of them",
    "no": "no",
    "caution": "with caution",
}
TONES = {"as_real": "good", "no": "good", "worse": "bad", "some": "bad", "much_worse": "worst", "yes": "worst"}
LEADS = ("As real images", "Worse than real images", "Much worse than real images", "Cannot tell", "Memorised")


@dataclass(frozen=True)
class AnswerText:
    """A question with its answer for people; `tone` is good, bad, worst or open, `link` where the page says more."""

    question: str
    answer: str
    tone: str
    sentence: str
    then: str
    link: str = ""


@dataclass(frozen=True)
class WarningGroup:
    """The warnings of one code: the metrics that they name, the first sentence of the first, each message once.

    `messages` are the metrics that a message is about (None where it names none) and the message.
    """

    code: str
    metrics: tuple[str, ...]
    lead: str
    messages: tuple[tuple[str | None, str], ...]


def answer_texts(verdict: Mapping[str, Any] | None) -> list[AnswerText]:
    """The answers of report.json's `verdict`, in the order of the questions; none where there is no verdict."""
    return [
        AnswerText(
            question=words,
            answer=ANSWERS.get(each["answer"], each["answer"]),
            tone=TONES.get(each["answer"], "open"),
            sentence=_without_lead(each["sentence"]),
            then=each.get("next") or "",
        )
        for question, words in QUESTIONS.items()
        if verdict is not None and (each := verdict.get(question)) is not None
    ]


def pair_answers(report: Report) -> list[AnswerText]:
    """How near the images are to their partners; nothing where they have none."""
    if report.partners is None:
        return []
    values = {
        name: value
        for entry in report.metrics.values()
        if entry.n.keys() <= {"generated"}  # of pairs alone
        for name, value in entry.values.items()
    }
    if not values:
        return []
    numbers = {name: show(value.value, value.lower, value.upper) for name, value in values.items()}
    told = [f"{name} {show_interval(value.lower, value.upper)} ({value.label})" for name, value in values.items()]
    answer = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return [AnswerText("How near are they to their partners?", answer, "open", f"{', '.join(told)}.", "")]


def comparable_text(verdict: Mapping[str, Any] | None) -> str:
    """Whether the sets may be compared, where that is not plain yes."""
    if verdict is None or verdict["comparable"]["answer"] == "yes":
        return ""
    codes = ", ".join(verdict["comparable"]["findings"])
    if verdict["comparable"]["answer"] == "no":
        return f"These sets cannot be compared ({codes}): what follows means nothing until that is mended."
    return f"These sets can be compared with caution: {codes}."


def grouped(warnings: Sequence[ReportWarning]) -> list[WarningGroup]:
    """One group a code, in the order in which the codes come first.

    What is true of several metrics, or of one on several networks, is said once, after their names.
    """
    by_code: dict[str, list[ReportWarning]] = {}
    for each in warnings:
        by_code.setdefault(each.code, []).append(each)
    return [
        WarningGroup(
            code=code,
            metrics=tuple(dict.fromkeys(each.metric for each in found if each.metric)),
            lead=first_sentence(found[0].message),
            messages=tuple((", ".join(names) or None, message) for message, names in _by_message(found).items()),
        )
        for code, found in by_code.items()
    ]


def _by_message(warnings: Sequence[ReportWarning]) -> dict[str, list[str]]:
    """Message => the metrics that it is about."""
    found: dict[str, list[str]] = {}
    for each in warnings:
        found.setdefault(each.message, []).extend([each.metric] if each.metric else [])
    return found


def first_sentence(message: str) -> str:
    """Up to the first full stop that ends a sentence: one with a space and a capital after it."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", message, maxsplit=1)[0]


def _without_lead(sentence: str) -> str:
    """The sentence without a beginning that repeats the answer."""
    lead, colon, rest = sentence.partition(": ")
    return rest[:1].upper() + rest[1:] if colon and lead in LEADS else sentence
