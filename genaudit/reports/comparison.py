"""Sets finished runs side by side: values with intervals, ranks, and which runs differ from the best by a test.

Runs are read from their report.json, so that runs of other machines and of earlier days compare alike. Whether a run
differs from the best is decided by a test with Holm's correction for all values and pairs of runs: where the rows can
be had by `tasks.differences`, else here, by the difference over the standard errors that the intervals imply.
Runs that are not comparable (measured differently, other reference, other numbers of images) are named, and values
that cannot be ranked have no rank: those without a better end, without an interval in some run, or with a caution that
says so. The runs' verdicts stand first; the diversity of a model that repeats training images has no rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genaudit.errors import UserError
from genaudit.metrics.result import Better, Declared, Estimate, RealFloor, declared
from genaudit.reports.decisions import class_of, decide, from_held_out, settings_of, why_unrankable
from genaudit.reports.reading import read_report, report_file
from genaudit.reports.report import ReportWarning
from genaudit.reports.values import Value, explanation, plain
from genaudit.reports.verdict_rows import VerdictRow, verdict_rows, why_not_ranked

if TYPE_CHECKING:
    from rich.console import Group

SCHEMA = "genaudit/comparison/1"
CSV_COLUMNS = (
    *("metric", "name", "better", "run", "value", "lower", "upper", "rank", "overlaps_best"),
    *("p_value", "differs_from_best", "real", "real_ratio"),
)


@dataclass(frozen=True)
class Run:
    """A finished run: `label` distinguishes it from the other runs."""

    label: str
    path: Path
    report: dict[str, Any]

    @property
    def confidence(self) -> float:
        """Of its intervals."""
        given = self.report["config"].get("confidence", 0.95)
        return float(given) if isinstance(given, (int, float)) and 0 < given < 1 else 0.95


@dataclass(frozen=True)
class RankedValue:
    """A value of one run.

    `rank` counts from 1 in the value's direction, equal values share a rank; None without a direction or a
    number, and where the row is not ranked. `overlaps_best` says whether the interval meets that of a run of rank 1;
    None where either has none. `p_value` is that of the difference from the best run, corrected for all questions, and
    `differs` whether it is below the level; None for the best itself and where nothing was tested. `from_held_out` is
    the distance to the value of held-out real images, for values whose better end that is. `unranked` says why this
    run alone has no rank; else it is empty.
    """

    value: Value
    rank: int | None = None
    overlaps_best: bool | None = None
    p_value: float | None = None
    differs: bool | None = None
    from_held_out: float | None = None
    unranked: str = ""


@dataclass(frozen=True)
class Row:
    """A value of a metric in all runs; None where a run doesn't have it.

    `test` says how differences were tested, `unranked` why there are no ranks; empty where neither holds.
    """

    metric: str
    name: str
    better: Better
    cells: tuple[RankedValue | None, ...]
    test: str = ""
    unranked: str = ""

    @property
    def real(self) -> RealFloor | None:
        """The real floor, where it is the same for all runs."""
        floors = [cell.value.real for cell in self.cells if cell is not None]
        same = {(each.value, each.n, each.source) for each in floors if each is not None}
        return floors[0] if len(same) == 1 and None not in floors else None

    @property
    def best(self) -> int | None:
        """The place of the first run of rank 1."""
        return next((place for place, cell in enumerate(self.cells) if cell is not None and cell.rank == 1), None)


@dataclass(frozen=True)
class CorrelationRow:
    """How a value goes along with a user's column over the runs: `kind` is pearson, spearman or kendall."""

    metric: str
    name: str
    column: str
    kind: str
    estimate: Estimate
    n: int

    def to_dict(self) -> dict[str, Any]:
        """One line of correlations.csv."""
        ends = {"value": self.estimate.value, "lower": self.estimate.lower, "upper": self.estimate.upper}
        names = {"metric": self.metric, "name": self.name, "column": self.column, "kind": self.kind}
        return {**names, **ends, "n": self.n}


@dataclass(frozen=True)
class Against:
    """A value of the runs against the numbers of a user's column: (label, number of the column, value) a run."""

    metric: str
    name: str
    column: str
    points: tuple[tuple[str, float, float], ...]


@dataclass
class Comparison:
    """Runs in the order given, one row for each value of a metric, and what makes the runs not comparable.

    `correlations` with a column of the user's, where one was given, and the points that they are of.
    """

    runs: list[Run]
    rows: list[Row]
    warnings: list[ReportWarning] = field(default_factory=list)
    correlations: list[CorrelationRow] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)

    @property
    def verdicts(self) -> list[VerdictRow]:
        """The answers of the runs' verdicts, one row a question."""
        return verdict_rows(self.runs)

    def explanation(self, metric: str) -> str:
        """What a metric tells a reader; empty where none of the runs says which function of genaudit's it is."""
        classes = (class_of(run, metric) for run in self.runs if metric in run.report["metrics"])
        return next((explanation(each) for each in classes if each is not None), "")

    def to_dict(self) -> dict[str, Any]:
        """comparison.json: schema, runs, verdicts, rows with one cell per run that has the value, warnings."""
        return {
            "schema": SCHEMA,
            "runs": [
                {
                    "label": run.label,
                    "path": str(run.path),
                    "created": run.report["created"],
                    "images": {
                        role: {key: images[key] for key in ("source", "count", "digest")}
                        for role, images in run.report["images"].items()
                    },
                    "warnings": len(run.report["warnings"]),
                }
                for run in self.runs
            ],
            "verdicts": [
                {
                    "question": row.question,
                    "cells": [
                        {"run": run.label, **{key: each[key] for key in ("answer", "sentence", "next")}}
                        for run, each in zip(self.runs, row.answers, strict=True)
                        if each is not None
                    ],
                }
                for row in self.verdicts
            ],
            "rows": [
                {
                    "metric": row.metric,
                    "name": row.name,
                    "better": row.better,
                    "test": row.test or None,
                    "unranked": row.unranked or None,
                    "cells": [
                        {
                            "run": run.label,
                            "value": cell.value.value,
                            "lower": cell.value.lower,
                            "upper": cell.value.upper,
                            "rank": cell.rank,
                            "overlaps_best": cell.overlaps_best,
                            "p_value": cell.p_value,
                            "differs_from_best": cell.differs,
                            "real": None if cell.value.real is None else plain(cell.value.real, []),
                            "real_ratio": cell.value.real_ratio,
                            "unranked": cell.unranked or None,
                        }
                        | ({} if cell.from_held_out is None else {"from_held_out": cell.from_held_out})
                        for run, cell in zip(self.runs, row.cells, strict=True)
                        if cell is not None
                    ],
                }
                for row in self.rows
            ],
            "correlations": [plain(each.to_dict(), []) for each in self.correlations],
            "warnings": [{"code": each.code, "metric": each.metric, "message": each.message} for each in self.warnings],
        }

    def write(self, out: str | Path) -> dict[str, Path]:
        """Writes comparison.csv (one line a cell, verdicts first), comparison.html and .json; returns their paths.

        Where there are correlations, correlations.csv too.
        """
        from genaudit.reports.comparison_views import html
        from genaudit.reports.files import json_text, write_csv, write_together

        document = self.to_dict()
        empty = [""] * (len(CSV_COLUMNS) - 5)
        lines = [
            ["verdict", row["question"], "", cell["run"], cell["answer"], *empty]
            for row in document["verdicts"]
            for cell in row["cells"]
        ]
        lines += [
            [row["metric"], row["name"], row["better"], *(_flat(cell[key]) for key in CSV_COLUMNS[3:])]
            for row in document["rows"]
            for cell in row["cells"]
        ]

        def text(content: str, stream: TextIO) -> None:
            stream.write(content)

        files = {
            "comparison.csv": lambda stream: write_csv(CSV_COLUMNS, lines, stream),
            "comparison.html": lambda stream: text(html(self), stream),
            "comparison.json": lambda stream: text(json_text(document), stream),
        }
        if self.correlations:
            columns = list(document["correlations"][0])
            rows = [[each[column] for column in columns] for each in document["correlations"]]
            files["correlations.csv"] = lambda stream: write_csv(columns, rows, stream)
        return write_together(Path(out), files)

    def console(self, *, plain: bool = False) -> Group:
        """A rich renderable of the table with its warnings; `plain` without lines."""
        from genaudit.reports.comparison_views import console

        return console(self, plain)


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Reads runs and compares them.

    Args:
        paths: two or more run folders or report.json files.

    Raises:
        UserError: fewer than two, or one that is missing, not JSON, or of another schema; the message names it.
    """
    if len(paths) < 2:
        raise UserError("compare needs two runs or more: give their run folders or report.json files.")
    files = [report_file(Path(path)) for path in paths]
    reports = [read_report(file) for file in files]
    runs = [Run(*each) for each in zip(_labels(files, reports), files, reports, strict=True)]
    names = dict.fromkeys(
        (metric, name, value["better"])
        for run in runs
        for metric, entry in run.report["metrics"].items()
        for name, value in entry["values"].items()
    )
    first = {(metric, name): better for metric, name, better in reversed(names)}
    unrankable = why_unrankable(runs)
    rows = [
        make_row(metric, name, better, [_value(run, metric, name) for run in runs], runs, unrankable.get(metric, ""))
        for metric, name, better in names
        if first[metric, name] == better
    ]
    order = {metric: place for place, metric in enumerate(dict.fromkeys(row.metric for row in rows))}
    ordered = sorted(rows, key=lambda row: order[row.metric])
    found = Comparison(runs, ordered, list(_incomparable(runs)))
    decide(found, {})
    return found


def _labels(files: Sequence[Path], reports: Sequence[dict[str, Any]]) -> list[str]:
    """The shortest ends that differ of the generated images' sources, or where those are alike of the runs' paths."""
    sources = [Path(report["images"].get("generated", {}).get("source", "")) for report in reports]
    if len(set(sources)) == len(sources):
        paths = sources
    else:
        paths = [file.absolute().parent if file.name == "report.json" else file.absolute() for file in files]
    parts = [path.parts for path in paths]
    depth = 1
    while len({each[-depth:] for each in parts}) < len(set(parts)):
        depth += 1
    labels = ["/".join(each[-depth:]) for each in parts]
    times = [labels[:place].count(label) for place, label in enumerate(labels)]  # the same run twice is numbered
    return [f"{label} ({time + 1})" if time else label for label, time in zip(labels, times, strict=True)]


def _flat(item: Any) -> Any:
    """The floor's value where a cell of the CSV is a floor."""
    return item["value"] if isinstance(item, dict) else item


def _value(run: Run, metric: str, name: str) -> Value | None:
    found = run.report["metrics"].get(metric, {"values": {}})["values"].get(name)
    if not found:
        return None
    said = declared(class_of(run, metric)).get(name, Declared())
    real = found.get("real")
    return Value(
        found["value"],
        found["lower"],
        found["upper"],
        found["better"],
        label=said.label,
        range=said.range,
        real=RealFloor(**real) if real else None,
    )


def make_row(
    metric: str, name: str, better: Better, values: Sequence[Value | None], runs: Sequence[Run], unrankable: str
) -> Row:
    """A row with its ranks; `unrankable` says why it has none, else it is empty."""
    if better == "none":
        pairs = zip(runs, values, strict=True)
        cells = (
            RankedValue(value, from_held_out=from_held_out(run, metric, name, value)) if value else None
            for run, value in pairs
        )
        return Row(metric, name, better, tuple(cells), unranked="neither end is better")
    alone = [why_not_ranked(run, metric, name) for run in runs]
    ranked = [None if why else value for value, why in zip(values, alone, strict=True)]
    if not unrankable and any(v and v.value is not None and (v.lower is None or v.upper is None) for v in ranked):
        unrankable = "there is no interval"
    if unrankable:
        return Row(
            metric, name, better, tuple(RankedValue(value) if value else None for value in values), unranked=unrankable
        )
    sign = -1 if better == "higher" else 1
    scores = [sign * value.value if value and value.value is not None else None for value in ranked]
    order = sorted(score for score in scores if score is not None)
    ranks = [None if score is None else order.index(score) + 1 for score in scores]
    best = [value for value, rank in zip(values, ranks, strict=True) if value and rank == 1]
    cells = (
        RankedValue(value, rank, _overlaps_any(value, best) if rank else None, unranked=why) if value else None
        for value, rank, why in zip(values, ranks, alone, strict=True)
    )
    return Row(metric, name, better, tuple(cells))


def _overlaps_any(value: Value, best: Iterable[Value]) -> bool | None:
    if value.lower is None or value.upper is None:
        return None
    ends = [(each.lower, each.upper) for each in best]
    known = [
        value.lower <= upper and lower <= value.upper
        for lower, upper in ends
        if lower is not None and upper is not None
    ]
    return any(known) if known else None


def _incomparable(runs: Sequence[Run]) -> Iterable[ReportWarning]:
    """What makes values of different runs not comparable, one warning for all metrics that it concerns alike."""
    metrics = list(dict.fromkeys(metric for run in runs for metric in run.report["metrics"]))

    def entries(metric: str) -> list[tuple[str, dict[str, Any], Run]]:
        return [(run.label, run.report["metrics"][metric], run) for run in runs if metric in run.report["metrics"]]

    fingerprints: dict[str, list[str]] = {}
    numbers: dict[str, list[str]] = {}
    for metric in metrics:
        prints = {
            label: run.report["measures"].get(entry["measure"], {}).get("fingerprint")
            for label, entry, run in entries(metric)
        }
        counts = {label: _count_text(entry["n"]) for label, entry, _ in entries(metric)}
        if len(set(prints.values())) > 1:
            groups = _groups({label: str(each)[:12] for label, each in prints.items()})
            fingerprints.setdefault(groups, []).append(metric)
        if len(set(counts.values())) > 1:
            numbers.setdefault(_groups(counts), []).append(metric)
    for groups, concerned in fingerprints.items():
        yield ReportWarning(
            "different-measure",
            concerned[0] if len(concerned) == 1 else None,
            f"{', '.join(concerned)}: measured differently (feature model, weights, preprocessing or precision), so "
            f"the values of these runs cannot be ranked against each other: {groups}.",
        )
    for metric in metrics:
        settings = {label: settings_of(run, metric) for label, _, run in entries(metric)}
        if any(each != settings[label] for label in settings for each in settings.values()):
            yield ReportWarning(
                "different-settings",
                metric,
                f"{metric}: computed with other settings of its own (metric.{metric}.fn in the configuration), "
                "so the values of these runs cannot be ranked against each other.",
            )
    for role in ("reference", "train"):
        digests = {run.label: run.report["images"][role]["digest"] for run in runs if role in run.report["images"]}
        if len(set(digests.values())) > 1:
            groups = _groups({label: digest[:12] for label, digest in digests.items()})
            yield ReportWarning(f"different-{role}", None, f"The {role} images differ between the runs: {groups}.")
    for groups, concerned in numbers.items():
        yield ReportWarning(
            "different-n",
            concerned[0] if len(concerned) == 1 else None,
            f"{', '.join(concerned)}: judged on different numbers of images, on which the values depend: {groups}.",
        )


def _count_text(n: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {role}" for role, count in sorted(n.items()))


def _groups(kinds: dict[str, str]) -> str:
    """`kind (run, run); kind (run)`."""
    by_kind: dict[str, list[str]] = {}
    for label, kind in kinds.items():
        by_kind.setdefault(kind, []).append(label)
    return "; ".join(f"{kind} ({', '.join(labels)})" for kind, labels in by_kind.items())
