"""What runs' verdicts say to a comparison of them: its first rows, and which values they forbid to rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genaudit.metrics.result import base_name
from genaudit.reports.first_screen import QUESTIONS, AnswerText, answer_texts

if TYPE_CHECKING:
    from genaudit.reports.comparison import Run

# Values that a model raises by repeating training images: their diversity is that of the data. None: all of the metric.
DIVERSITY: Mapping[str, frozenset[str] | None] = {
    "prdc": frozenset({"recall", "coverage"}),
    **dict.fromkeys(("irs", "vendi", "fkea"), None),
}
MEMORISED = "it repeats training images, whose diversity is not its own"


@dataclass(frozen=True)
class VerdictRow:
    """The answers of all runs to a question; None where a run's report has none."""

    question: str
    answers: tuple[Mapping[str, Any] | None, ...]

    @property
    def texts(self) -> tuple[AnswerText | None, ...]:
        """The answers for people."""
        return tuple(None if each is None else answer_texts({self.question: each})[0] for each in self.answers)


def verdict_rows(runs: Sequence[Run]) -> list[VerdictRow]:
    """One row for each question that some run answers, in the order of the reports."""
    found = [(run.report.get("verdict") or {}) for run in runs]
    rows = [VerdictRow(question, tuple(each.get(question) for each in found)) for question in QUESTIONS]
    return [row for row in rows if any(row.answers)]


def why_not_ranked(run: Run, metric: str, name: str) -> str:
    """Why this run's value has no rank among those of other runs, by its verdict; empty where it may have one."""
    values = DIVERSITY.get(base_name(metric), frozenset())
    if values is not None and name not in values:
        return ""
    answer = ((run.report.get("verdict") or {}).get("memorised") or {}).get("answer")
    return MEMORISED if answer in ("some", "yes") else ""
