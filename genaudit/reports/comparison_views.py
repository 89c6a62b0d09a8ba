"""A comparison of runs as one self-contained HTML page, and its cells as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genaudit.errors import visible
from genaudit.reports.bars import Bar, bar, scale
from genaudit.reports.comparison_runs_page import names_of, order_of
from genaudit.reports.digits import MISSING, show, show_interval
from genaudit.reports.first_screen import QUESTIONS
from genaudit.reports.html import DIRECTIONS, page, real_text
from genaudit.reports.plots import scatter
from genaudit.reports.run_pictures import links_of, pictures_of

if TYPE_CHECKING:
    from pathlib import Path

    from genaudit.reports.comparison import Comparison, RankedValue, Row

LEGEND = (
    "Best in bold; ≈ marks a run whose difference from the best is within chance, by a test corrected for all values "
    "and pairs of runs; × is the ratio to what real images score. No rank: neither end is better, no interval, "
    "or a caution speaks against ranking; † marks a model that repeats training images, whose diversity is not its own."
)


@dataclass(frozen=True)
class ValueText:
    """A cell as text."""

    number: str
    interval: str = ""
    rank: int | None = None
    best: bool = False
    near: bool = False
    ratio: str = ""
    bar: Bar | None = None
    unranked: str = ""


def html(comparison: Comparison, out: Path | None = None) -> str:
    """The page as text; `out` is the folder that it will stand in, from which the runs' pages are linked."""
    metrics: dict[str, list[tuple[Row, list[ValueText], str]]] = {}
    real = any(row.real for row in comparison.rows)
    for row in comparison.rows:
        order = order_of([None if cell is None else cell.value.value for cell in row.cells])
        metrics.setdefault(row.metric, []).append((row, shown(row) + ([floor_text(row)] if real else []), order))
    names = {
        "runs": comparison.runs,
        "pictures": pictures_of(comparison.runs),
        "links": links_of(comparison.runs, out),
        "verdicts": [(QUESTIONS[row.question], row.texts) for row in comparison.verdicts],
        "metrics": metrics,
        "real": real,
        "explanations": {metric: comparison.explanation(metric) for metric in metrics},
        "directions": DIRECTIONS,
        "warnings": comparison.warnings,
        "correlations": [
            (each, show(each.estimate), show_interval(*each.estimate.ends)) for each in comparison.correlations
        ],
        "scatters": [
            scatter(f"{each.metric} \N{MIDDLE DOT} {each.name}", each.column, each.name, each.points)
            for each in comparison.against
            if len({value for _, _, value in each.points}) > 1
        ],
        "orders": {name: order_of(keys) for name, keys in _facts(comparison).items()},
        "many": names_of(comparison),
        "legend": LEGEND,
        "missing": MISSING,
    }
    return page("comparison.html.j2", names, script="comparison.js")


def _facts(comparison: Comparison) -> dict[str, list[float | str | None]]:
    """The columns of the table of runs."""
    generated = [run.report["images"].get("generated") for run in comparison.runs]
    return {
        "run": [visible(run.label) for run in comparison.runs],
        "generated": [each and visible(each["source"]) for each in generated],
        "images": [each and each["count"] for each in generated],
        "created": [visible(run.report["created"]) for run in comparison.runs],
        "warnings": [len(run.report["warnings"]) for run in comparison.runs],
        "file": [visible(run.path) for run in comparison.runs],
    }


def floor_text(row: Row) -> ValueText:
    """What real images score, where that is the same for all runs."""
    real = row.real
    if real is None:
        return ValueText("")
    return ValueText(show(real.value, real.lower, real.upper), show_interval(real.lower, real.upper))


def shown(row: Row) -> list[ValueText]:
    """The cells of a row as text, one a run."""
    between = scale([cell.value for cell in row.cells if cell and cell.value.value is not None])
    return [_show(cell, between) for cell in row.cells]


def _show(cell: RankedValue | None, between: tuple[float, float]) -> ValueText:
    if cell is None or cell.value.value is None:
        return ValueText(MISSING)
    value = cell.value
    return ValueText(
        number=show(value.value, value.lower, value.upper),
        interval=show_interval(value.lower, value.upper),
        rank=cell.rank,
        best=cell.rank == 1,
        near=cell.rank is not None and cell.rank != 1 and not cell.differs,
        ratio=real.ratio if (real := real_text(value)) is not None else "",
        bar=bar(value, between),
        unranked=cell.unranked,
    )
