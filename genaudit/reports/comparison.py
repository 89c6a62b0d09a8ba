"""Sets finished runs side by side: values with intervals, ranks, and which runs differ from the best by a test.

Runs are read from their report.json, so that runs of other machines and of earlier days compare alike. Whether a run
differs from the best is decided by a test with Holm's correction for all values and pairs of runs: where the rows can
be had by `tasks.differences`, else here, by the difference over the standard errors that the intervals imply.
Runs that are not comparable (measured differently, other reference, other numbers of images) are named, and values
that cannot be ranked have no rank: those without a better end, without an interval in some run, or with a caution that
says so. The runs' verdicts stand first; the diversity of a model that repeats training images has no rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genaudit.errors import UserError
from genaudit.metrics.result import Declared, RealFloor, declared
from genaudit.reports.comparability import incomparable
from genaudit.reports.compared import Against as Against
from genaudit.reports.compared import CorrelationRow as CorrelationRow
from genaudit.reports.compared import RankedValue as RankedValue
from genaudit.reports.compared import Row as Row
from genaudit.reports.compared import Run as Run
from genaudit.reports.compared import make_row as make_row
from genaudit.reports.comparison_runs import View, find_steps, run_lines
from genaudit.reports.decisions import class_of, decide, why_unrankable
from genaudit.reports.reading import read_report, report_file
from genaudit.reports.report import ReportWarning
from genaudit.reports.swept import labels_of_swept, swept
from genaudit.reports.values import Value, explanation, plain
from genaudit.reports.verdict_rows import VerdictRow, verdict_rows

if TYPE_CHECKING:
    from rich.console import Group

SCHEMA = "genaudit/comparison/1"
CSV_COLUMNS = (
    *("metric", "name", "better", "run", "value", "lower", "upper", "rank", "overlaps_best"),
    *("p_value", "differs_from_best", "real", "real_ratio"),
)


@dataclass
class Comparison:
    """Runs in the order given, one row for each value of a metric, and what makes the runs not comparable.

    `correlations` with a column of the user's, where one was given, and the points that they are of. `view` holds what
    was swept, steps, differences to a baseline and a Pareto front.
    """

    runs: list[Run]
    rows: list[Row]
    warnings: list[ReportWarning] = field(default_factory=list)
    correlations: list[CorrelationRow] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)
    view: View = field(default_factory=View)

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
            **self.view.to_dict(),
            "correlations": [plain(each.to_dict(), []) for each in self.correlations],
            "warnings": [{"code": each.code, "metric": each.metric, "message": each.message} for each in self.warnings],
        }

    def write(self, out: str | Path) -> dict[str, Path]:
        """Writes comparison.csv (one line a cell, verdicts first), runs.csv (one a run), comparison.html and .json.

        Where there are differences to a baseline or correlations, differences.csv and correlations.csv too. Returns the
        paths.
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
            "comparison.html": lambda stream: text(html(self, Path(out)), stream),
            "comparison.json": lambda stream: text(json_text(document), stream),
        }
        files["runs.csv"] = lambda stream: write_csv(*run_lines(self), stream)
        if self.view.differences:
            told = [each.to_dict() for each in self.view.differences]
            files["differences.csv"] = lambda stream: write_csv(list(told[0]), [each.values() for each in told], stream)
        if self.correlations:
            columns = list(document["correlations"][0])
            rows = [[each[column] for column in columns] for each in document["correlations"]]
            files["correlations.csv"] = lambda stream: write_csv(columns, rows, stream)
        return write_together(Path(out), files)

    def console(self, *, plain: bool = False) -> Group:
        """A rich renderable of the table with its warnings; `plain` without lines."""
        from genaudit.reports.comparison_console import console

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
    keys = swept([report["config"] for report in reports])
    runs = [Run(*each) for each in zip(_labels(files, reports, keys), files, reports, strict=True)]
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
    found = Comparison(runs, ordered, list(incomparable(runs)), view=View(keys))
    find_steps(found)
    decide(found, {})
    return found


def _labels(files: Sequence[Path], reports: Sequence[dict[str, Any]], keys: Mapping[str, Sequence[str]]) -> list[str]:
    """The shortest ends that differ of the generated images' sources, else what was swept, else of the runs' paths."""
    sources = [Path(report["images"].get("generated", {}).get("source", "")) for report in reports]
    settings = labels_of_swept(keys, len(reports))
    told = [f"{source.name}, {each}" for source, each in zip(sources, settings, strict=True)]
    if len(set(sources)) == len(sources):
        paths = sources
    elif keys and len(set(told)) == len(told):
        return settings if len(set(settings)) == len(settings) else told
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
