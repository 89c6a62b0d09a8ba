"""The rows of a comparison: a value in every run, with its rank, and what sets a run apart from the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genaudit.metrics.result import Better, Estimate, RealFloor
from genaudit.reports.decisions import from_held_out
from genaudit.reports.values import Value
from genaudit.reports.verdict_rows import why_not_ranked


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
