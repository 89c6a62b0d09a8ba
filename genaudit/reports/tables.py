"""Writes recomputed tables beside their published numbers: console, JSON, CSV, a self-contained page, an index page.

The verdicts are those of `genaudit.reports.table`; this module only counts and shows them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genaudit.metrics.result import Pictures
from genaudit.reports.bars import Bar, place, round_ends
from genaudit.reports.digits import MISSING, show, show_interval, show_seconds
from genaudit.reports.files import json_text, write_csv, write_together
from genaudit.reports.gallery import Grid, Picture, grid
from genaudit.reports.html import page
from genaudit.reports.plots import Plot, draw
from genaudit.reports.table import MEANINGS, Cell, CellVerdict, Table

if TYPE_CHECKING:
    from rich.console import Group

SCHEMA = "genaudit/table/1"
CSV_COLUMNS = (
    *("row", "column", "published", "expected", "recomputed", "difference", "lower", "upper", "trivial"),
    *("trainings", "tolerance", "unit", "verdict", "note"),
)
ONCE = (
    "of one training each, which is no finding: how far another seed would come out is not known. These numbers get no "
    "verdict."
)
COLOURS: dict[CellVerdict, str] = {
    **dict.fromkeys(("reproduced", "within interval", "as expected"), "green"),
    **dict.fromkeys(("within 1 %", "same order"), "yellow"),
    **dict.fromkeys(("differs", "not as expected"), "red"),
}


@dataclass(frozen=True)
class Recomputed:
    """A table with its provenance.

    Attributes:
        table: what was recomputed. about: versions, device, settings, as the report of a run has them.
        command: that repeats it. created: when. seconds: how long it took now. needs: what it used.
    """

    table: Table
    about: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    seconds: float = 0.0
    needs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document NAME.json; numbers that are not finite are null."""
        table = self.table
        return {
            "schema": SCHEMA,
            "created": self.created,
            "command": self.command,
            "name": table.name,
            "title": table.title,
            "source": table.source,
            "scale": table.scale,
            "differs": table.differs,
            "seconds": round(self.seconds, 2),
            "needs": list(self.needs),
            "verdicts": counts(table),
            "cells": [_document(cell) for cell in table.cells],
            "notes": list(table.notes),
            "about": self.about,
        }


@dataclass(frozen=True)
class CellLine:
    """A cell as the page shows it; `bar` is None where there is nothing to compare with, or no scale."""

    row: str
    cell: Cell
    published: str
    expected: str
    recomputed: str
    difference: str
    interval: str
    bar: Bar | None = None

    @property
    def verdict_class(self) -> str:
        return verdict_class(self.cell.verdict)


def verdict_class(verdict: str) -> str:
    """A verdict as the style sheet names it."""
    return verdict.replace(" %", "").replace(" ", "-")


@dataclass(frozen=True)
class Tally:
    """A verdict with the number of its cells, None where they are not counted, and what it means."""

    verdict: str
    count: int | None

    @property
    def verdict_class(self) -> str:
        return verdict_class(self.verdict)

    @property
    def meaning(self) -> str:
        return MEANINGS[self.verdict]  # type: ignore[index]


def counts(table: Table) -> dict[str, int]:
    """Cells by verdict, verdicts without a cell left out."""
    found = Counter(cell.verdict for cell in table.cells)
    return {verdict: found[verdict] for verdict in MEANINGS if found[verdict]}


def summary(table: Table) -> str:
    """`3 reproduced, 1 differs`."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts(table).items()) or "no cells"


def write(recomputed: Recomputed, out: str | Path) -> dict[str, Path]:
    """Writes NAME.csv, NAME.html and NAME.json into `out`; returns their paths."""
    name = recomputed.table.name
    document = recomputed.to_dict()
    rows = [[cell[column] for column in CSV_COLUMNS] for cell in document["cells"]]
    return write_together(
        Path(out),
        {
            f"{name}.csv": lambda stream: write_csv(CSV_COLUMNS, rows, stream),
            f"{name}.html": lambda stream: _text(render(recomputed), stream),
            f"{name}.json": lambda stream: _text(json_text(document), stream),
        },
    )


def write_index(made: Sequence[Recomputed], missing: Mapping[str, Sequence[str]], out: str | Path) -> dict[str, Path]:
    """Writes index.html and index.json: every table with its verdicts, and those that were not made with the reason."""
    document = {
        "schema": "genaudit/tables/1",
        "made": {each.table.name: counts(each.table) for each in made},
        "not_made": {name: list(reasons) for name, reasons in missing.items()},
    }
    occurring = {verdict for each in made for verdict in counts(each.table)}
    names = {
        "made": [(each, counts(each.table), show_seconds(each.seconds)) for each in made],
        "missing": missing,
        "tallies": [Tally(verdict, None) for verdict in MEANINGS if verdict in occurring],
    }
    return write_together(
        Path(out),
        {
            "index.html": lambda stream: _text(page("tables_index.html.j2", names), stream),
            "index.json": lambda stream: _text(json_text(document), stream),
        },
    )


def render(recomputed: Recomputed) -> str:
    """The table's page as text."""
    table = recomputed.table
    plots: list[Plot] = []
    grids: list[Grid] = []
    for figure in table.figures:
        if isinstance(figure, Pictures):
            grids.append(grid(figure, lambda role, index, note: Picture(f"{role} {index}", note)))
        elif (plot := draw(figure)) is not None:
            plots.append(plot)
    names = {
        "table": table,
        "recomputed": recomputed,
        "lines": lines(table),
        "tallies": [Tally(verdict, count) for verdict, count in counts(table).items()],
        "intervals": any(cell.lower is not None for cell in table.cells),
        "notes": any(cell.note for cell in table.cells) and not _common_note(table),
        "common_note": _common_note(table),
        "publishing": any(cell.published is not None for cell in table.cells),
        "comparing": any(cell.against is not None for cell in table.cells),
        "expecting": any(cell.expected is not None for cell in table.cells),
        "once": _once(table),
        "plots": plots,
        "grids": grids,
        "about": recomputed.about,
    }
    return page("table.html.j2", names)


def _once(table: Table) -> str:
    """How many numbers are of a single training, said plainly; empty where none is."""
    count = counts(table).get("one training", 0)
    return f"{count} of {len(table.cells)} numbers are {ONCE}" if count else ""


def _common_note(table: Table) -> str:
    """The note of all cells, where it is one and the same: it is said once."""
    notes = {cell.note for cell in table.cells}
    return notes.pop() if len(notes) == 1 and len(table.cells) > 1 else ""


def lines(table: Table) -> list[CellLine]:
    """Every cell as text, with a bar on a scale that is common to all cells of a column that has published values."""
    found = []
    previous = None
    for cell in table.cells:
        ours, theirs = cell.recomputed, cell.against
        found.append(
            CellLine(
                "" if cell.row == previous else cell.row,
                cell,
                show_published(cell),
                show_expected(cell),
                show(ours, cell.lower, cell.upper),
                _show_difference(cell),
                show_interval(cell.lower, cell.upper),
                None
                if ours is None or theirs is None
                else place(ours, cell.lower, cell.upper, _scale(table, cell.column), published=theirs),
            )
        )
        previous = cell.row
    return found


def show_published(cell: Cell) -> str:
    """The published number, with the digits that it was printed with where its tolerance tells; a dash without one."""
    if cell.published is None:
        return MISSING
    # a number derived from printed ones, such as a ratio, has no digits of its own
    text = f"{cell.published:,.0f}" if float(cell.published).is_integer() else f"{cell.published:.5g}"
    return _printed(cell.published, cell.tolerance) or text.replace("-", "\N{MINUS SIGN}")


def show_expected(cell: Cell) -> str:
    """The expected number, with the decimals that its tolerance is half a unit of where it has no more, or as any."""
    return (
        show(cell.expected) if cell.expected is None else _printed(cell.expected, cell.tolerance) or show(cell.expected)
    )


def _printed(number: float, tolerance: float | None) -> str:
    """A number with as many decimals as make `tolerance` half a unit of the last; empty where it has others.

    A tolerance of 0.05 may be that of a number printed as 0.2, or a choice: 1/6 must not read 0.2 for it.
    """
    digits = round(-math.log10(2 * tolerance)) if tolerance is not None and 0 < tolerance < 0.5 else 0
    fits = tolerance is not None and digits > 0 and math.isclose(2 * tolerance, 10.0**-digits)
    if not fits or not math.isclose(round(number, digits), number, rel_tol=1e-9, abs_tol=1e-12):
        return ""
    return f"{number:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _show_difference(cell: Cell) -> str:
    if cell.difference is None or cell.against is None:
        return ""
    # 92.4 and the mean of 98.6, 84.5 and 94.1 differ in the last bits only
    difference = 0.0 if abs(cell.difference) < 1e-9 * abs(cell.against) else cell.difference
    shown = show(cell.recomputed, cell.lower, cell.upper)
    decimals = len(shown.partition(".")[2])
    if "e" in shown or not math.isfinite(difference) or not difference or abs(difference) < 0.5 * 10.0**-decimals:
        return show(difference)
    return f"{difference:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")  # of the number that it belongs to


def console(recomputed: Recomputed, files: Mapping[str, Path] | None = None, *, plain: bool = False) -> Group:
    """A rich renderable: the cells, what differs from the paper's setting, the counts of the verdicts."""
    from rich.console import Group

    from genaudit.reports.styled import new_table, text

    table = recomputed.table
    shown = new_table(plain)
    expecting = any(cell.expected is not None for cell in table.cells)
    for header, justify in (
        ("", "left"), ("", "left"), ("published", "right"), *([("expected", "right")] if expecting else []),
        ("recomputed", "right"), ("interval", "left"), ("difference", "right"), ("verdict", "left"),
    ):  # fmt: skip
        shown.add_column(header, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for line in lines(table):
        unit = f" {line.cell.unit}" if line.cell.unit else ""
        shown.add_row(
            text((line.row, "bold")),
            text((line.cell.column, "")),
            text((line.published, "")),
            *([text((line.expected, ""))] if expecting else []),
            text((line.recomputed, "bold"), (unit, "dim")),
            text((line.interval, "dim")),
            text((line.difference, "dim")),
            text((line.cell.verdict, COLOURS.get(line.cell.verdict, "dim"))),
        )
    parts: list[Any] = [
        text((table.title, "bold")),
        text((f"{table.source}; scale={table.scale}", "dim")),
        *([text(("differs from the paper's setting: ", "yellow"), (table.differs, ""))] if table.differs else []),
        shown,
        *([text((_once(table), "yellow"))] if _once(table) else []),
        *(text((note, "dim")) for note in table.notes),
        text((summary(table), "bold")),
    ]
    if files:
        parts.append(text(("written ", "dim"), (", ".join(map(str, files.values())), "")))
    return Group(*parts)


def _scale(table: Table, column: str) -> tuple[float, float]:
    """The round ends of the bars of a column; equal where it has no published value or only one number."""
    cells = [cell for cell in table.cells if cell.column == column]
    if all(cell.against is None for cell in cells):
        return 0.0, 0.0
    numbers = [each for cell in cells for each in (cell.against, cell.recomputed, cell.lower, cell.upper)]
    finite = [each for each in numbers if each is not None and math.isfinite(each)]
    return round_ends(min(finite), max(finite))


def _document(cell: Cell) -> dict[str, Any]:
    numbers = {
        key: getattr(cell, key) for key in CSV_COLUMNS if key not in ("row", "column", "unit", "verdict", "note")
    }
    finite = {key: value if value is None or math.isfinite(value) else None for key, value in numbers.items()}
    return {"row": cell.row, "column": cell.column, **finite} | {
        "unit": cell.unit,
        "verdict": cell.verdict,
        "note": cell.note,
    }


def _text(content: str, stream: TextIO) -> None:
    stream.write(content)
