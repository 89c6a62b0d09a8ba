"""The part of comparison.html that is of many runs: values over steps, differences to a baseline, a Pareto front."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
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
    others = [(at, run.label) for at, run in enumerate(comparison.runs) if run.label != view.baseline]
    return {
        "baseline": view.baseline,
        "others": others,
        "differences": _differences(comparison, others),
        "steps": _over_steps(comparison),
        "front": None if view.front is None else _front(view.front),
    }


@dataclass(frozen=True)
class DifferenceRow:
    """A value's differences: `cells` with the places of their runs, `order` what the page's script orders runs by."""

    name: str
    direction: str
    better: str
    cells: list[tuple[int, DifferenceText]]
    order: str


def _differences(comparison: Comparison, others: list[tuple[int, str]]) -> list[DifferenceRow]:
    known = {(each.metric, each.name, each.run): each for each in comparison.view.differences}
    rows = [row for row in comparison.rows if any((row.metric, row.name) == key[:2] for key in known)]
    found = []
    for row in rows:
        each = {at: known.get((row.metric, row.name, label)) for at, label in others}
        keys: list[float | str | None] = [0.0] * len(comparison.runs)  # the baseline's own difference is none
        for at, difference in each.items():
            keys[at] = None if difference is None else difference.difference
        direction = " ".join(DIRECTIONS[row.better])
        cells = [(at, _difference(difference)) for at, difference in each.items()]
        found.append(DifferenceRow(_name(row), direction, row.better, cells, order_of(keys)))
    return found


def order_of(keys: Sequence[float | str | None]) -> str:
    """What a head of a table orders the runs by, as the page's script reads it: a number or text a run, or null."""
    return json.dumps([None if isinstance(key, float) and not math.isfinite(key) else key for key in keys])


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
