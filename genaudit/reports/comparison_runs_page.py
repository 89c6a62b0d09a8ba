"""The part of comparison.html that is of many runs: values over steps, differences to a baseline, a Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.metrics.result import Curve
from genaudit.reports.digits import MISSING, show, show_p
from genaudit.reports.html import DIRECTIONS
from genaudit.reports.plots import Plot, draw, scatter

if TYPE_CHECKING:
    from genaudit.reports.compared import Row
    from genaudit.reports.comparison import Comparison
    from genaudit.reports.comparison_runs import Difference, Front

SAID = {True: "better", False: "worse", None: "differs"}


@dataclass(frozen=True)
class DifferenceText:
    """A cell: the difference, its p-value, and whether it is more than chance (`tone` good, bad or open)."""

    number: str
    beside: str = ""
    tone: str = "open"
    title: str = ""


def names_of(comparison: Comparison) -> dict[str, Any]:
    """What comparison_runs.html.j2 shows."""
    view = comparison.view
    others = [run.label for run in comparison.runs if run.label != view.baseline]
    return {
        "baseline": view.baseline,
        "others": others,
        "differences": _differences(comparison, others),
        "steps": _over_steps(comparison),
        "front": None if view.front is None else _front(view.front),
    }


def _differences(comparison: Comparison, others: list[str]) -> list[tuple[str, str, list[DifferenceText]]]:
    """Name and direction of each value, and a cell a run."""
    known = {(each.metric, each.name, each.run): each for each in comparison.view.differences}
    rows = [row for row in comparison.rows if any((row.metric, row.name) == key[:2] for key in known)]
    return [
        (
            _name(row),
            " ".join(DIRECTIONS[row.better]),
            [_difference(known.get((row.metric, row.name, label))) for label in others],
        )
        for row in rows
    ]


def _difference(each: Difference | None) -> DifferenceText:
    if each is None:
        return DifferenceText(MISSING)
    number = f"{'+' if each.difference > 0 else ''}{show(each.difference)}"
    values = f"{show(each.value)} less {show(each.baseline_value)}"
    if each.p_value is None:
        return DifferenceText(number, "not tested", title=f"{values}; {each.reason}")
    said = SAID[each.improves] if each.differs else "within chance"
    tone = {"better": "good", "worse": "worst"}.get(said, "open")
    return DifferenceText(number, f"{show_p(each.p_value)}, {said}", tone, f"{values}; {each.test}")


def _over_steps(comparison: Comparison) -> list[Plot]:
    """Each value that has a better end against the step, with its interval."""
    steps = comparison.view.steps
    if steps is None:
        return []
    plots = []
    for row in (row for row in comparison.rows if row.better != "none"):
        cells = [cell.value if cell is not None else None for cell in row.cells]
        value, low, high = (
            np.array([np.nan if each is None or getattr(each, key) is None else getattr(each, key) for each in cells])
            for key in ("value", "lower", "upper")
        )
        if np.isfinite(value).sum() < 2:
            continue
        lines = {"generated": value}
        if row.real is not None and row.real.value is not None:
            lines["real images"] = np.full(len(value), row.real.value)
        band = (low, high) if np.isfinite(low).any() and np.isfinite(high).any() else None
        label = f"{_name(row)}, {' '.join(DIRECTIONS[row.better])}"
        plots.append(draw(Curve(_name(row), "step", label, np.array(steps), lines, band, "interval")))
    return [plot for plot in plots if plot is not None]


def _front(front: Front) -> tuple[str, Plot, list[str]]:
    """Title, plot and the runs of the front."""
    title = f"{_name(front.y)} against {_name(front.x)}"
    x, y = (f"{_name(row)}, {' '.join(DIRECTIONS[row.better])}" for row in (front.x, front.y))
    points = [(f"{run} *" if on else run, across, up) for run, across, up, on in front.points]
    return title, scatter(title, x, y, points), [run for run, _, _, on in front.points if on]


def _name(row: Row) -> str:
    return row.name if row.name == row.metric else f"{row.metric} {row.name}"
