"""The page's section of classes: a table, the worst classes first, these with some of their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genaudit.reports.classes import Classes, OneClass, percent
from genaudit.reports.digits import show, show_interval
from genaudit.reports.entries import by_role
from genaudit.reports.first_screen import AnswerText, answer_texts

if TYPE_CHECKING:
    from genaudit.reports.gallery import Gallery, Picture
    from genaudit.reports.values import Value

SHORT = {"generated": "gen", "reference": "ref"}
SHOWN = 20  # classes in the page's table; the others are folded
WITH_PICTURES = 6  # classes
PICTURES = 8  # of a class and role
# The values of the page's table, in its order, and what stands above them.
COLUMNS = {
    "kd": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "irs_relative": "retrieval against real",
    "authpct": "AuthPct",
    "as": "anomaly score",
}


@dataclass(frozen=True)
class Cell:
    """A value of a class in the page's table."""

    number: str
    interval: str
    real: str


@dataclass(frozen=True)
class ClassAnswer:
    """A question in a word, its answer in two, and why."""

    question: str
    answer: str
    tone: str
    why: str


@dataclass(frozen=True)
class ClassLine:
    """A class in the page."""

    name: str
    n: str
    answers: Sequence[ClassAnswer]
    cells: Sequence[Cell]
    share: str
    real_share: str
    accuracy: str
    real_accuracy: str
    pictures: Sequence[tuple[str, Sequence[Picture]]]
    worse: bool


@dataclass(frozen=True)
class ClassSection:
    """The page's section."""

    summary: Sequence[str]
    heads: Sequence[str]
    lines: Sequence[ClassLine]
    folded: Sequence[ClassLine]
    accurate: bool
    least: int


NAMED = 3  # classes on the first screen


def answers(classes: Classes | None) -> list[AnswerText]:
    """What the first screen says of the classes; nothing where none could be judged."""
    if classes is None or not classes.classes:
        return []
    count, worse = len(classes.classes), [each.name for each in classes.classes if each.worse]
    judged = f"of {count:,} class{'es' if count > 1 else ''}"
    question = "Are some classes worse than real images?"
    if not worse:
        return [AnswerText(question, f"none {judged}", "good", "None is worse beyond chance.", "", "#classes")]
    more = f" and {len(worse) - NAMED:,} more" if len(worse) > NAMED else ""
    told = f"{', '.join(worse[:NAMED])}{more}, corrected for the number of classes."
    return [AnswerText(question, f"{len(worse):,} {judged}", "worst", told, "", "#classes")]


def section(classes: Classes, gallery: Gallery) -> ClassSection:
    """What the page shows: the worst classes first, these with pictures."""
    every = [*classes.classes, *classes.few]
    shown = [key for key in _columns(every)]
    lines = [
        _line(each, shown, gallery if place < WITH_PICTURES and each.verdict is not None else None)
        for place, each in enumerate(every)
    ]
    heads = [COLUMNS.get(key.rpartition(".")[2], key) + _network(key) for key in shown]
    accurate = any(each.accuracy is not None for each in every)
    return ClassSection(classes.summary(), heads, lines[:SHOWN], lines[SHOWN:], accurate, classes.least)


def _columns(classes: Sequence[OneClass]) -> Iterator[str]:
    there = dict.fromkeys(name for each in classes for name in each.values)
    for wanted in COLUMNS:
        yield from (name for name in there if name.rpartition(".")[2] == wanted)


def _network(key: str) -> str:
    metric = key.rpartition(".")[0]
    return f" ({metric.partition('@')[2]})" if "@" in metric else ""


def _line(each: OneClass, shown: Sequence[str], gallery: Gallery | None) -> ClassLine:
    values = each.values
    accuracy = each.accuracy
    return ClassLine(
        name=each.name,
        n=" \N{MIDDLE DOT} ".join(f"{count:,} {SHORT.get(role, role)}" for role, count in by_role(each.n).items()),
        answers=_answers(each),
        cells=[_cell(values.get(key)) for key in shown],
        share=percent(each.share),
        real_share=percent(each.real_share),
        accuracy="" if accuracy is None else percent(accuracy.value),
        real_accuracy="" if accuracy is None or accuracy.real is None else percent(accuracy.real),
        pictures=[] if gallery is None else _pictures(each, gallery),
        worse=each.worse,
    )


def _answers(each: OneClass) -> list[ClassAnswer]:
    if each.verdict is None:
        return []
    document = each.verdict.to_dict()
    words = {question: answer.answer.replace("_", " ") for question, answer in each.verdict.answers.items()}
    texts = answer_texts(document)
    return [
        ClassAnswer(question, words[question], text.tone, f"{text.sentence} {text.then}".strip())
        for question, text in zip(words, texts, strict=True)
    ]


def _cell(value: Value | None) -> Cell:
    if value is None:
        return Cell("\N{EN DASH}", "", "")
    real = "" if value.real is None else show(value.real.value, value.real.lower, value.real.upper)
    return Cell(show(value.value, value.lower, value.upper), show_interval(value.lower, value.upper), real)


def _pictures(each: OneClass, gallery: Gallery) -> list[tuple[str, list[Picture]]]:
    """Some images of the class, evenly over its images in their order, generated ones and real ones."""
    rows = []
    for role in ("generated", "reference"):
        members = each.members.get(role)
        if members is not None and len(members) and role in gallery.report.pictures:
            some = members[np.unique(np.linspace(0, len(members) - 1, PICTURES).round().astype(int))]
            rows.append((role, [gallery.picture(role, int(index), "") for index in some]))
    return rows
