"""Shows a comparison of runs on the console: no number is folded, however narrow it is or however many runs there are.

Few runs are columns and many are rows; columns that do not fit stand in a further table (`genaudit.reports.styled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genaudit.reports.comparison_views import LEGEND, ValueText, floor_text, shown
from genaudit.reports.digits import MISSING, show, show_interval, show_p
from genaudit.reports.first_screen import QUESTIONS
from genaudit.reports.html import DIRECTIONS
from genaudit.reports.styled import Column, Fitted, shortened

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from genaudit.reports.compared import Row
    from genaudit.reports.comparison import Comparison
    from genaudit.reports.comparison_runs import Difference

MANY = 5  # with more runs each is a row
MARKS = {True: "better", False: "worse", None: "differs"}


def console(comparison: Comparison, plain: bool) -> Group:
    """The values of all runs, differences to the baseline, the front of two values, legend and warnings."""
    from rich.console import Group

    from genaudit.reports.styled import text

    lines = _of_runs(comparison) if len(comparison.runs) > MANY else _of_values(comparison)
    parts: list[Any] = [Fitted(*lines, plain), text((LEGEND, "dim"))]
    view = comparison.view
    if view.differences:
        parts += [text(), text((f"less {view.baseline}", "bold")), Fitted(*_differences(comparison), plain)]
        parts.append(text((f"p-values are corrected for all differences from {view.baseline} at once.", "dim")))
    if view.front is not None:
        parts += [text(), _front(comparison)]
    if comparison.correlations:
        parts.append(_correlations(comparison, plain))
    parts += [
        text(("warning ", "yellow"), (each.message, ""), (f" [{each.code}]", "dim")) for each in comparison.warnings
    ]
    return Group(*parts)


def _of_values(comparison: Comparison) -> tuple[list[Column], list[Column]]:
    """A row a value, a column a run."""
    from genaudit.reports.console import STYLES
    from genaudit.reports.styled import text

    verdicts, rows = comparison.verdicts, comparison.rows
    metrics = ["verdict"] * len(verdicts) + [row.metric for row in rows]
    fresh = [place == 0 or metrics[place - 1] != each for place, each in enumerate(metrics)]
    names = [
        Column(
            text(("metric", "")),
            [text((each if new else "", "bold")) for each, new in zip(metrics, fresh, strict=True)],
        ),
        Column(
            text(("value", "")), [text((row.question, "")) for row in verdicts] + [text((row.name, "")) for row in rows]
        ),
        Column(text(("better", "")), [text()] * len(verdicts) + [text((_better(row), "dim")) for row in rows]),
    ]
    cells = [shown(row) for row in rows]
    columns = []
    for place, run in enumerate(comparison.runs):
        answers = [row.texts[place] for row in verdicts]
        told = [text((each.answer, STYLES[each.tone]) if each else (MISSING, "")) for each in answers]
        heading = text((shortened(run.label), "bold"))
        columns.append(Column(heading, [*told, *(_cell(of_row[place]) for of_row in cells)], right=True))
    if any(row.real for row in rows):
        floors = [_cell(floor_text(row)) for row in rows]
        columns.append(Column(text(("real images", "")), [text()] * len(verdicts) + floors, right=True))
    return names, columns


def _of_runs(comparison: Comparison) -> tuple[list[Column], list[Column]]:
    """A row a run, a column a value."""
    from rich.text import Text

    from genaudit.reports.console import STYLES
    from genaudit.reports.styled import text

    runs = comparison.runs
    real = any(row.real for row in comparison.rows)
    labels = [text((shortened(run.label), "bold")) for run in runs] + [text(("real images", ""))] * real
    columns = []
    for answers in comparison.verdicts:
        told = [text((each.answer, STYLES[each.tone]) if each else (MISSING, "")) for each in answers.texts]
        heading = Text("\n").join([text((QUESTIONS.get(answers.question, answers.question), "bold"))])
        columns.append(Column(heading, told + [text()] * real))
    for row in comparison.rows:
        heading = _heading(row)
        cells = [_cell(each) for each in shown(row)] + ([_cell(floor_text(row))] if real else [])
        columns.append(Column(heading, cells, right=True))
    return [Column(text(("run", "")), labels)], columns


def _differences(comparison: Comparison) -> tuple[list[Column], list[Column]]:
    """A row a value, a column a run that is not the baseline; many runs are rows."""

    from genaudit.reports.styled import text

    view = comparison.view
    known = {(each.metric, each.name, each.run): each for each in view.differences}
    rows = [row for row in comparison.rows if any((row.metric, row.name) == key[:2] for key in known)]
    others = [run for run in comparison.runs if run.label != view.baseline]

    def cell(row: Row, label: str) -> Text:
        return _difference(known.get((row.metric, row.name, label)))

    if len(others) > MANY:
        columns = [
            Column(
                _heading(row),
                [cell(row, run.label) for run in others],
                right=True,
            )
            for row in rows
        ]
        return [Column(text(("run", "")), [text((shortened(run.label), "bold")) for run in others])], columns
    names = [
        Column(text(("value", "")), [text((_name(row), "")) for row in rows]),
        Column(text(("better", "")), [text((_better(row), "dim")) for row in rows]),
    ]
    return names, [
        Column(text((shortened(run.label), "bold")), [cell(row, run.label) for row in rows], right=True)
        for run in others
    ]


def _difference(each: Difference | None) -> Text:
    """The difference, and below it whether it is more than chance."""
    from rich.text import Text

    from genaudit.reports.styled import text

    if each is None:
        return text((MISSING, ""))
    number = f"{'+' if each.difference > 0 else ''}{show(each.difference)}"
    if each.p_value is None:
        return Text("\n").join([text((number, "")), text(("not tested", "dim"))])
    said = MARKS[each.improves] if each.differs else "within chance"
    style = {"better": "green", "worse": "red"}.get(said, "dim")
    return Text("\n").join(
        [text((number, "bold" if each.differs else "")), text((f"{show_p(each.p_value)} {said}", style))]
    )


def _front(comparison: Comparison) -> Text:
    from genaudit.reports.styled import text

    front = comparison.view.front
    assert front is not None
    on = [f"{run} ({show(x)}, {show(y)})" for run, x, y, is_on in front.points if is_on]
    head = f"Pareto front of {_name(front.x)} and {_name(front.y)}: "
    return text((head, "bold"), ("; ".join(on), ""), (f" (of {len(front.points)} runs)", "dim"))


def _correlations(comparison: Comparison, plain: bool) -> Any:
    from genaudit.reports.styled import new_table, text

    beside = new_table(plain)
    for header in ("metric", "value", "with", "correlation", "", "interval", "runs"):
        beside.add_column(header, no_wrap=True)
    for each in comparison.correlations:
        interval = show_interval(*each.estimate.ends)
        cells: Sequence[str] = (
            each.metric,
            each.name,
            each.column,
            each.kind,
            show(each.estimate),
            interval,
            str(each.n),
        )
        beside.add_row(*(text((cell, "")) for cell in cells))
    return beside


def _heading(row: Row) -> Text:
    from rich.text import Text

    from genaudit.reports.styled import text

    metric = row.metric if row.name != row.metric else ""
    return Text("\n").join([text((metric, "bold")), text((row.name, "bold")), text((_better(row), "dim"))])


def _name(row: Row) -> str:
    return row.name if row.name == row.metric else f"{row.metric}.{row.name}"


def _better(row: Row) -> str:
    arrow, direction = DIRECTIONS[row.better]
    return f"{arrow} {direction.removesuffix(' is better')}".strip()


def _cell(value: ValueText) -> Text:
    """The interval stands on a line of its own."""
    from rich.text import Text

    from genaudit.reports.styled import text

    mark = "≈ " if value.near else ""
    rank = f" #{value.rank}" if value.rank else " \N{DAGGER}" if value.unranked else ""
    ratio = f" {value.ratio}" if value.ratio else ""
    number = value.number, "bold" if value.best else ""
    lines = [text((mark, "dim"), number, (ratio, "dim"), (rank, "dim"))]
    if value.interval:
        lines.append(text((value.interval, "dim")))
    return Text("\n").join(lines)
