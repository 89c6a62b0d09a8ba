"""What many runs ask of a comparison: an order, steps of training, differences to a baseline, a Pareto front.

A comparison of runs (`genaudit.reports.comparison`) carries one of these, `view`. Which run is the baseline, by what
runs are sorted and of which two values a front is wanted is the user's; the rest is read off the runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from genaudit.errors import UserError
from genaudit.metrics.result import base_name
from genaudit.reports.compared import Row
from genaudit.reports.swept import steps_of

if TYPE_CHECKING:
    from genaudit.reports.comparison import Comparison

DIFFERENCE_COLUMNS = (
    *("metric", "name", "better", "run", "baseline", "value", "baseline_value", "difference"),
    *("p_value", "differs", "improves", "test", "reason"),
)


@dataclass(frozen=True)
class Difference:
    """A value of a run less that of the baseline.

    `p_value` is corrected for all differences at once, `differs` whether it is below the level; both None where it was
    not tested, for the `reason`. `improves`: whether the difference is in the value's better direction; None without
    one.
    """

    metric: str
    name: str
    better: str
    run: str
    baseline: str
    value: float
    baseline_value: float
    p_value: float | None = None
    differs: bool | None = None
    test: str = ""
    reason: str = ""

    @property
    def difference(self) -> float:
        return self.value - self.baseline_value

    @property
    def improves(self) -> bool | None:
        if self.better == "none" or self.difference == 0:
            return None
        return (self.difference > 0) == (self.better == "higher")

    def to_dict(self) -> dict[str, Any]:
        """A line of differences.csv."""
        return {
            key: getattr(self, key) if key not in ("test", "reason") else getattr(self, key) or None
            for key in DIFFERENCE_COLUMNS
        }


@dataclass(frozen=True)
class Front:
    """Two values of every run; `on_front` are those that no other run beats in one without losing in the other."""

    x: Row
    y: Row
    points: tuple[tuple[str, float, float, bool], ...]  # run, x, y, whether it is on the front

    def to_dict(self) -> dict[str, Any]:
        values = [{"metric": row.metric, "name": row.name, "better": row.better} for row in (self.x, self.y)]
        points = [{"run": run, "x": x, "y": y, "on_front": on} for run, x, y, on in self.points]
        return {"x": values[0], "y": values[1], "points": points, "front": [p["run"] for p in points if p["on_front"]]}


@dataclass
class View:
    """What was swept and asked for: `keys` are swept keys with a text a run, `steps` a step a run or None."""

    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    steps: list[float] | None = None
    sorted_by: str = ""
    baseline: str = ""
    differences: list[Difference] = field(default_factory=list)
    front: Front | None = None

    def to_dict(self) -> dict[str, Any]:
        """The keys of comparison.json that are of many runs."""
        return {
            "swept": {key: list(values) for key, values in self.keys.items()},
            "steps": self.steps,
            "sorted_by": self.sorted_by or None,
            "baseline": self.baseline or None,
            "differences": [each.to_dict() for each in self.differences],
            "pareto": None if self.front is None else self.front.to_dict(),
        }


def row_named(comparison: Comparison, name: str, key: str) -> Row:
    """The row of a value's name (`recall`), with its metric where two share it (`prdc.recall`, `fd@a.fd`).

    Raises:
        UserError: there is none, or there are several; `key` is what named it.
    """
    full = [
        row for row in comparison.rows if name in (f"{row.metric}.{row.name}", f"{base_name(row.metric)}.{row.name}")
    ]
    of_metric = [row for row in comparison.rows if name == row.metric]
    found = full or [row for row in comparison.rows if row.name == name] or (of_metric if len(of_metric) == 1 else [])
    if len(found) == 1:
        return found[0]
    listed = [f"{row.metric}.{row.name}" for row in found or comparison.rows]
    if found:
        raise UserError(f"{key}={name} stands for several values: write {', '.join(listed)}")
    names = dict.fromkeys([*(row.name for row in comparison.rows), *listed])
    close = difflib.get_close_matches(name, names, n=1)
    hint = (
        f"did you mean {close[0]}?"
        if close
        else f"there are {', '.join(dict.fromkeys(r.name for r in comparison.rows))}"
    )
    raise UserError(f"{key}={name}: the runs have no such value; {hint}")


def run_named(comparison: Comparison, name: str, key: str) -> int:
    """The place of the run that a label, or a path of a run folder, names.

    Raises:
        UserError: there is none.
    """
    from pathlib import Path

    labels = [run.label for run in comparison.runs]
    if name in labels:
        return labels.index(name)
    wanted = Path(name).expanduser().absolute()
    for place, run in enumerate(comparison.runs):
        file = run.path.absolute()
        if wanted in (file, file.parent):
            return place
    close = difflib.get_close_matches(name, labels, n=1)
    hint = f"did you mean {close[0]}?" if close else f"they are called {', '.join(labels)}"
    raise UserError(f"{key}={name} is none of the runs; {hint}")


def ordered(comparison: Comparison, order: Sequence[int]) -> None:
    """Puts the runs in another order, with their cells."""
    comparison.runs[:] = [comparison.runs[place] for place in order]
    comparison.rows[:] = [replace(row, cells=tuple(row.cells[place] for place in order)) for row in comparison.rows]
    view = comparison.view
    view.keys = {key: [values[place] for place in order] for key, values in view.keys.items()}
    view.steps = None if view.steps is None else [view.steps[place] for place in order]


def sort_by(comparison: Comparison, name: str) -> None:
    """Sorts runs by a value, the best first (of a value without a better end the smallest); `step` by the steps.

    Raises:
        UserError: there is no such value.
    """
    if name == "step" and comparison.view.steps is not None:
        by_step = comparison.view.steps
        ordered(comparison, sorted(range(len(by_step)), key=by_step.__getitem__))
    else:
        row = row_named(comparison, name, "sort")
        sign = -1 if row.better == "higher" else 1
        numbers = [cell.value.value if cell is not None else None for cell in row.cells]
        known = {place: sign * number for place, number in enumerate(numbers) if number is not None}
        ordered(comparison, sorted(range(len(numbers)), key=lambda place: (place not in known, known.get(place, 0.0))))
    comparison.view.sorted_by = name


def find_steps(comparison: Comparison) -> None:
    """Notes the steps of training where the runs have them, and puts the runs in their order."""
    view = comparison.view
    view.steps = steps_of([run.label for run in comparison.runs], view.keys)
    if view.steps is not None:
        sort_by(comparison, "step")


def front_of(comparison: Comparison, names: Sequence[str]) -> Front:
    """The Pareto front of two values over the runs that have both, by the values as they are.

    Raises:
        UserError: not two values, one without a better end, or no run that has both.
    """
    if len(names) != 2:
        raise UserError(f"pareto takes two values, as pareto=[fd,recall], got {len(names)}")
    rows = [row_named(comparison, name, "pareto") for name in names]
    for row in rows:
        if row.better == "none":
            raise UserError(f"pareto: neither end of {row.metric}.{row.name} is better, so no run beats another in it")
    signs = [-1 if row.better == "higher" else 1 for row in rows]
    points: list[tuple[str, float, float]] = []
    for run, first, second in zip(comparison.runs, rows[0].cells, rows[1].cells, strict=True):
        values = [None if cell is None else cell.value.value for cell in (first, second)]
        if values[0] is not None and values[1] is not None:
            points.append((run.label, values[0], values[1]))
    if not points:
        raise UserError(f"pareto: no run has both {names[0]} and {names[1]}")
    lost = [(signs[0] * x, signs[1] * y) for _, x, y in points]
    on = [not any(_beats(other, own) for other in lost) for own in lost]
    return Front(rows[0], rows[1], tuple((*point, each) for point, each in zip(points, on, strict=True)))


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """No worse in both and better in one; smaller is better."""
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def run_lines(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """runs.csv: a line a run with its step, swept keys and values (with their intervals)."""
    view = comparison.view
    values = [(row, f"{row.metric}.{row.name}") for row in comparison.rows]
    header = ["run", *(["step"] if view.steps else []), *view.keys]
    header += [f"{name}{end}" for _, name in values for end in ("", "_lower", "_upper")]
    lines = []
    for place, run in enumerate(comparison.runs):
        line: list[Any] = [run.label, *([view.steps[place]] if view.steps else [])]
        line += [texts[place] for texts in view.keys.values()]
        for row, _ in values:
            cell = row.cells[place]
            line += [None] * 3 if cell is None else [cell.value.value, cell.value.lower, cell.value.upper]
        lines.append(line)
    return header, lines
