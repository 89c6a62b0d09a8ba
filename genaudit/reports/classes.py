"""The classes of a run (`by=class`): what report.json, classes.csv, the page and the console show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.reports.digits import show_p
from genaudit.reports.entries import COUNTED, by_role

if TYPE_CHECKING:
    from genaudit.reports.report import MetricEntry
    from genaudit.reports.values import Value


@dataclass(frozen=True)
class OneClass:
    """A class.

    Attributes:
        n: images by role. members: the places of its images by role.
        metrics: entries by name. skipped: why a metric has none.
        verdict: as that of a run, corrected for the number of classes; None with too few images.
        pvalues: by question, corrected.
        share, real_share: of the generated images and of the real ones; balance_pvalue: corrected.
        accuracy: of a classifier (`genaudit.stats.class_balance.Accuracy`); None where none was asked.
    """

    name: str
    n: Mapping[str, int]
    members: Mapping[str, np.ndarray]
    metrics: Mapping[str, MetricEntry] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    verdict: Any = None
    pvalues: Mapping[str, float] = field(default_factory=dict)
    share: float | None = None
    real_share: float | None = None
    balance_pvalue: float | None = None
    accuracy: Any = None

    @property
    def values(self) -> dict[str, Value]:
        """By name; with several networks, or where two metrics have a value of a name, by METRIC.NAME."""
        names = [name for entry in self.metrics.values() for name in entry.values]
        found = {}
        for metric, entry in self.metrics.items():
            for name, value in entry.values.items():
                plain = names.count(name) == 1 and "@" not in metric
                found[name if plain else f"{metric}.{name}"] = value
        return found

    @property
    def worse(self) -> bool:
        """Whether an answer of its verdict is worse than that of real images."""
        answers = {} if self.verdict is None else self.verdict.answers
        return any(answer.answer in ("worse", "much_worse", "some", "yes") for answer in answers.values())

    def to_dict(self) -> dict[str, Any]:
        accuracy = self.accuracy
        return {
            "name": self.name,
            "n": by_role(self.n),
            "share": self.share,
            "real_share": self.real_share,
            "balance_p_value": self.balance_pvalue,
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "p_values": dict(self.pvalues),
            "metrics": {
                name: {key: part for key, part in entry.to_dict().items() if key not in ("citation", "details")}
                for name, entry in self.metrics.items()
            },
            "skipped_metrics": dict(self.skipped),
            "accuracy": None
            if accuracy is None
            else {
                "value": accuracy.value,
                "lower": accuracy.lower,
                "upper": accuracy.upper,
                "real": accuracy.real,
                "p_value": accuracy.pvalue,
            },
        }


@dataclass(frozen=True)
class Classes:
    """The classes of a run, the worst first.

    Attributes:
        least: images of generated and reference that a class needs to be judged; `few` have fewer, and are not.
        against: the role whose class shares the generated ones are compared with. balance:
            `genaudit.stats.class_balance.ClassBalance`; None where there is none.
        unlabelled: images without a class, by role. remarks: sentences.
        classifier: what says which images are recognised, for people; "" where nothing does.
    """

    classes: Sequence[OneClass]
    few: Sequence[OneClass]
    least: int
    against: str
    balance: Any = None
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    classifier: str = ""

    def to_dict(self) -> dict[str, Any]:
        """`by_class` of report.json."""
        balance = self.balance
        return {
            "least": self.least,
            "correction": "holm",
            "classifier": self.classifier,
            "unlabelled": by_role(self.unlabelled),
            "remarks": list(self.remarks),
            "balance": None
            if balance is None
            else {
                "against": self.against,
                "chi2": balance.statistic,
                "p_value": balance.pvalue,
                "total_variation": balance.total_variation,
                "expected_total_variation": balance.expected_variation,
            },
            "classes": [each.to_dict() for each in (*self.classes, *self.few)],
        }

    def summary(self) -> list[str]:
        """What the console and the page say of the classes, in sentences."""
        lines = []
        worse = [each for each in self.classes if each.worse]
        if self.classes:
            told = ", ".join(f"{each.name} ({_worst_answers(each)})" for each in worse[:5])
            more = f" and {len(worse) - 5:,} more" if len(worse) > 5 else ""
            lines.append(
                f"{len(worse):,} of {len(self.classes):,} classes {'is' if len(worse) == 1 else 'are'} worse than real "
                f"images, corrected for their number: {told}{more}."
                if worse
                else f"None of {len(self.classes):,} classes is worse than real images beyond chance."
            )
        if self.few:
            names = ", ".join(each.name for each in self.few[:5])
            more = f" and {len(self.few) - 5:,} more" if len(self.few) > 5 else ""
            lines.append(f"Not judged, with fewer than {self.least} generated or {self.against} images: {names}{more}.")
        if self.balance is not None:
            lines.append(self._balance_text())
        lines += [
            f"{count:,} {role} image{'s have' if count > 1 else ' has'} no class."
            for role, count in by_role(self.unlabelled).items()
            if count
        ]
        return [*lines, *self.remarks]

    def _balance_text(self) -> str:
        balance = self.balance
        off = [each for each in (*self.classes, *self.few) if (each.balance_pvalue or 1.0) < 0.05]
        off.sort(key=lambda each: -abs((each.share or 0.0) - (each.real_share or 0.0)))
        told = ", ".join(f"{each.name} {percent(each.share)} of {percent(each.real_share)}" for each in off[:3])
        differs = "differ from" if balance.pvalue < 0.05 else "do not differ beyond chance from"
        return (
            f"The class shares {differs} those of the {self.against} images ({show_p(balance.pvalue)}; "
            f"{percent(balance.total_variation)} of the images would have to change class, "
            f"{percent(balance.expected_variation)} by chance alone)" + (f": {told}." if told else ".")
        )


def _worst_answers(each: OneClass) -> str:
    bad = {"quality": "quality", "diversity": "diversity", "memorised": "memorised"}
    answers = each.verdict.answers
    return ", ".join(
        words for key, words in bad.items() if answers[key].answer in ("worse", "much_worse", "some", "yes")
    )


def percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g} %"


def classes_table(classes: Classes) -> tuple[tuple[str, ...], list[list[Any]]]:
    """classes.csv: its header, and one row a class, the worst first; None where there is no number."""
    every = [*classes.classes, *classes.few]
    names = list(dict.fromkeys(name for each in every for name in each.values))
    questions = list(dict.fromkeys(q for each in every if each.verdict is not None for q in each.verdict.answers))
    header = [
        *("class", *(f"n_{role}" for role in COUNTED), "share", "real_share", "balance_p"),
        *(text for question in questions for text in (question, f"{question}_p")),
        *("accuracy", "accuracy_lower", "accuracy_upper", "accuracy_real", "accuracy_p"),
        *(f"{name}{end}" for name in names for end in ("", "_lower", "_upper", "_real")),
    ]
    return tuple(header), [_row(each, names, questions) for each in every]


def _row(each: OneClass, names: Sequence[str], questions: Sequence[str]) -> list[Any]:
    answers = {} if each.verdict is None else each.verdict.answers
    row: list[Any] = [each.name, *map(each.n.get, COUNTED), each.share, each.real_share, each.balance_pvalue]
    for question in questions:
        row += [answers[question].answer if question in answers else None, each.pvalues.get(question)]
    accuracy = each.accuracy
    row += [None] * 5 if accuracy is None else [
        accuracy.value, accuracy.lower, accuracy.upper, accuracy.real, accuracy.pvalue
    ]  # fmt: skip
    values = each.values
    for name in names:
        value = values.get(name)
        real = None if value is None or value.real is None else value.real.value
        row += [None] * 4 if value is None else [value.value, value.lower, value.upper, real]
    return row
