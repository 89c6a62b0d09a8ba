"""Shows a comparison of runs: as a table on the console and as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.reports.digits import MISSING, show, show_interval
from genaudit.reports.first_screen import QUESTIONS
from genaudit.reports.html import DIRECTIONS, Bar, bar, page, real_text, scale
from genaudit.reports.plots import scatter
from genaudit.reports.run_pictures import links_of, pictures_of

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

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
    metrics: dict[str, list[tuple[Row, list[ValueText]]]] = {}
    real = any(row.real for row in comparison.rows)
    for row in comparison.rows:
        metrics.setdefault(row.metric, []).append((row, _shown(row) + ([_floor(row)] if real else [])))
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
        "legend": LEGEND,
        "missing": MISSING,
    }
    return page("comparison.html.j2", names)


def console(comparison: Comparison, plain: bool) -> Group:
    """The table with one column per run, its legend and the warnings."""
    from rich.console import Group

    from genaudit.reports.console import STYLES, new_table, text

    table = new_table(plain)
    for header in ("metric", "value", "better"):
        table.add_column(header, no_wrap=True)
    for run in comparison.runs:
        table.add_column(text((run.label, "bold")), justify="right", overflow="fold")
    real = any(row.real for row in comparison.rows)
    if real:
        table.add_column("real images", justify="right", overflow="fold")
    previous = ""
    for answers in comparison.verdicts:
        told = (text((each.answer, STYLES[each.tone]) if each else (MISSING, "")) for each in answers.texts)
        table.add_row(text(("verdict" if not previous else "", "bold")), text((answers.question, "")), text(), *told)
        previous = "verdict"
    for row in comparison.rows:
        arrow, direction = DIRECTIONS[row.better]
        cells = (_console_cell(each) for each in _shown(row))
        metric = row.metric if row.metric != previous else ""
        better = f"{arrow} {direction.removesuffix(' is better')}".strip()
        floor = [_console_cell(_floor(row))] if real else []
        table.add_row(text((metric, "bold")), text((row.name, "")), text((better, "dim")), *cells, *floor)
        previous = row.metric
    parts: list[Any] = [table, text((LEGEND, "dim"))]
    if comparison.correlations:
        beside = new_table(plain)
        for header in ("metric", "value", "with", "correlation", "", "interval", "runs"):
            beside.add_column(header, no_wrap=True)
        for each in comparison.correlations:
            interval = show_interval(*each.estimate.ends)
            shown = (each.metric, each.name, each.column, each.kind, show(each.estimate), interval, str(each.n))
            beside.add_row(*(text((cell, "")) for cell in shown))
        parts.append(beside)
    parts += [
        text(("warning ", "yellow"), (each.message, ""), (f" [{each.code}]", "dim")) for each in comparison.warnings
    ]
    return Group(*parts)


def _console_cell(shown: ValueText) -> Text:
    """The interval stands on a line of its own."""
    from rich.text import Text

    from genaudit.reports.console import text

    mark = "≈ " if shown.near else ""
    rank = f" #{shown.rank}" if shown.rank else " \N{DAGGER}" if shown.unranked else ""
    ratio = f" {shown.ratio}" if shown.ratio else ""
    number = shown.number, "bold" if shown.best else ""
    lines = [text((mark, "dim"), number, (ratio, "dim"), (rank, "dim"))]
    if shown.interval:
        lines.append(text((shown.interval, "dim")))
    return Text("\n").join(lines)


def _floor(row: Row) -> ValueText:
    """What real images score, where that is the same for all runs."""
    real = row.real
    if real is None:
        return ValueText("")
    return ValueText(show(real.value, real.lower, real.upper), show_interval(real.lower, real.upper))


def _shown(row: Row) -> list[ValueText]:
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
