"""`genaudit compare`: finished runs side by side."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.errors import DONE, UserError, reason_of
from genaudit.output import told
from genaudit.reading import read_text
from genaudit.reports.comparison import Against, CorrelationRow, compare
from genaudit.reports.comparison_runs import front_of, run_named, sort_by
from genaudit.reports.styled import make_console
from genaudit.tasks.run.finished import RunRows, find_runs
from genaudit.tasks.run.folder import run_folder, saving
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import Settings

if TYPE_CHECKING:
    from genaudit.reports.comparison import Comparison


def main(cfg: Any) -> int:
    """The verb: reads the runs' reports, prints the table, writes comparison.csv, .json and .html, and runs.csv."""
    from genaudit.tasks.run.differences import against_baseline, equalise, tell_apart

    settings = Settings.of(cfg)
    named = None if cfg.baseline is None else str(cfg.baseline)
    comparison = compare(find_runs([str(run) for run in cfg.runs], named))
    if cfg.sort:
        sort_by(comparison, str(cfg.sort))
    baseline = None if named is None else run_named(comparison, named, "baseline")
    rows = RunRows(settings.store)
    if cfg.equal_n:
        equalise(comparison, rows, seed=settings.seed)
    tell_apart(comparison, rows, Progress(settings.progress), repeats=cfg.relabellings, seed=settings.seed)
    if baseline is not None:
        against_baseline(
            comparison,
            baseline,
            rows,
            Progress(settings.progress),
            repeats=cfg.relabellings,
            seed=settings.seed,
        )
    if cfg.pareto:
        comparison.view.front = front_of(comparison, [str(each) for each in cfg.pareto])
    if cfg.column:
        correlate(comparison, str(cfg.column), cfg.column_name, float(cfg.confidence), int(cfg.seed))
    out = run_folder(cfg, "compare")
    show_and_save(comparison, out)
    told.result(comparison=str(out / "comparison.json"))
    return DONE


def correlate(comparison: Comparison, source: str, name: str | None, confidence: float, seed: int) -> None:
    """Adds the correlations of every value with a column, over the runs that have both.

    Raises:
        UserError: a column that cannot be read, or fewer than three runs with a number in it.
    """
    from genaudit.stats.correlation import correlations, finite_pairs

    numbers, title = read_column(source, name)
    along = [_number_of(run.label, numbers) for run in comparison.runs]
    known = sum(each is not None for each in along)
    if known < 3:
        labels = ", ".join(run.label for run in comparison.runs)
        raise UserError(
            f"column={source}: a number for three runs or more is needed, and {known} have one; the runs are called "
            f"{labels}, the column's rows {', '.join(list(numbers)[:5])}{', ...' if len(numbers) > 5 else ''}"
        )
    for row in comparison.rows:
        points = [
            (run.label, other, cell.value.value)
            for run, cell, other in zip(comparison.runs, row.cells, along, strict=True)
            if cell is not None and other is not None and cell.value.value is not None
        ]
        if len(points) < 3:
            continue
        _, numbers_of, values = zip(*points, strict=True)
        found = correlations(values, numbers_of, confidence=confidence, seed=seed)
        comparison.against.append(Against(row.metric, row.name, title, tuple(points)))
        n = len(finite_pairs(values, numbers_of)[0])
        comparison.correlations += [
            CorrelationRow(row.metric, row.name, title, kind, each, n) for kind, each in found.items()
        ]


def _number_of(label: str, numbers: dict[str, float]) -> float | None:
    """A run's number: of the row with its label, else of the only row DATASET/LABEL."""
    ends = [key for key in numbers if key.endswith(f"/{label}")]
    return numbers.get(label, numbers[ends[0]] if len(ends) == 1 else None)


def read_column(source: str, name: str | None) -> tuple[dict[str, float], str]:
    """A CSV's column by run label, and the column's name. `human_error_rates` is dgm-eval's human study.

    The run's label stands in a column `run`, or is DATASET/MODEL (MODEL where one dataset has it) of columns `dataset`
    and `model`.
    """

    study = source == "human_error_rates"
    try:
        file = files("genaudit.reports") / "human_error_rates.csv"
        text = file.read_text(encoding="utf-8") if study else read_text(Path(source).expanduser(), encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"column={source}: cannot be read ({reason_of(error)})") from None
    heads = list(rows[0]) if rows else []
    if "run" not in heads and not {"dataset", "model"} <= set(heads):
        raise UserError(f"column={source}: a CSV with a column `run` (or `dataset` and `model`) is needed")
    rest = [head for head in heads if head not in ("run", "dataset", "model")]
    name = name or ("error_rate" if "error_rate" in rest else rest[0] if len(rest) == 1 else None)
    if name not in rest:
        raise UserError(f"column={source}: column_name={name} is not among its columns; there are {', '.join(rest)}")
    numbers = {}
    for row in rows:
        label = row["run"] if "run" in heads else f"{row['dataset']}/{row['model']}"
        try:
            numbers[label] = float(row[name])
        except (TypeError, ValueError):
            raise UserError(f"column={source}: {label} has {row[name]!r} in {name}, not a number") from None
    return numbers, name


def show_and_save(comparison: Comparison, out: Path) -> None:
    """Prints the table, then writes its files and says where they are."""

    console = make_console()
    console.print(comparison.console(plain=not console.is_terminal))
    with saving("out", out):
        files = comparison.write(out)
    console.print(f"\nwritten {out}/ {', '.join(files)}", markup=False)
