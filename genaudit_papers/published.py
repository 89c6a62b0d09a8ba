"""The papers' published numbers: every cell of every table, as printed, with where it stands.

Each paper has a folder, named by its citation key: `published.json` lists its tables with their places and with
what is inconsistent in the paper itself; each table is one CSV in `published/`, laid out as printed, so that it can
be checked against the page.

    cell = published("dombrowski2025", "Table 4")["BYOL", "cosine alpha 2"]
    cell.value, cell.spread, cell.half_unit        # 67.46, 0.04, 0.005
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from genaudit.reports.table import Cell, Table

PACKAGE, INDEX = "genaudit_papers", "published.json"
UNREADABLE = "?"  # the text that the numbers were taken from is garbled there: not guessed
NUMBER = r"[-+]?\d{1,3}(?:,\d{3})+|[-+]?\d+(?:\.\d+)?"
CELL = re.compile(
    rf"(?P<bound>[<>])?\s*(?P<value>{NUMBER})\s*(?:±\s*(?P<sd>{NUMBER})|\((?P<brackets>{NUMBER})\))?\s*%?\*?"
)


@dataclass(frozen=True)
class PublishedCell:
    """A cell of a paper's table.

    Attributes:
        row, column: its place. printed: as printed, "" where the table has no such cell, "?" where it is unreadable.
        value: the number, in the unit that it is printed in; None where there is none.
        spread: the number after ± or in brackets. bound: "<" or ">" where only a bound is printed.
        trivial: what knowing nothing gives, where the quantity has such a value (0.5 of an AUROC).
    """

    row: str
    column: str
    printed: str
    value: float | None = None
    spread: float | None = None
    bound: str = ""
    trivial: float | None = None

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit, the largest error of correct rounding; 0.650 has 0.0005."""
        number = re.search(NUMBER, self.printed)
        if number is None:
            raise ValueError(f"{self.row}, {self.column}: {self.printed!r} is not a number")
        return 0.5 * 10.0 ** -len(number.group().partition(".")[2])


@dataclass(frozen=True)
class PublishedTable:
    """A table or figure of a paper.

    Attributes:
        paper: citation key ("dombrowski2025"). table: its name ("Table 4"). title, where: what it is, and where it
            stands.
        recipes: names of the recipes in `configs/table/` that recompute it.
        notes: what is inconsistent in the paper, or unreadable.
        cells: by (row, column); empty for a figure without printed numbers.
    """

    paper: str
    table: str
    title: str
    where: str
    recipes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cells: dict[tuple[str, str], PublishedCell] = field(default_factory=dict)

    def __getitem__(self, place: tuple[str, str]) -> PublishedCell:
        if place not in self.cells:
            raise KeyError(f"{self.paper} {self.table} has no cell {place}; rows: {self.rows}, columns: {self.columns}")
        return self.cells[place]

    def __iter__(self) -> Iterator[PublishedCell]:
        return iter(self.cells.values())

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for _, column in self.cells))

    @property
    def source(self) -> str:
        """For the head of a recomputed table."""
        return f"{papers()[self.paper]}, {self.where}"

    def recomputed(self, name: str, cells: Iterable[Cell], scale: str, **more: Any) -> Table:
        """This table as a recipe recomputed it.

        Args:
            name: of the recipe's YAML. scale: "laptop" or "paper". more: `differs`, `figures`, `notes` of `Table`.
        """
        return Table(name, self.title, self.source, tuple(cells), scale, **more)


def published(paper: str, table: str) -> PublishedTable:
    """A table by its paper's citation key and its name.

    Raises:
        KeyError: there is none of this name; the message lists those of the paper.
    """
    matches = [each for each in tables() if (each.paper, each.table) == (paper, table)]
    if not matches:
        names = ", ".join(each.table for each in tables() if each.paper == paper)
        raise KeyError(f"paper {paper!r} has no {table!r} here; there are: {names or 'no tables of it'}")
    return matches[0]


def papers() -> dict[str, str]:
    """Citation key => citation: every folder of this package that holds published numbers."""
    folder = files(PACKAGE)
    keys = sorted(place.name for place in folder.iterdir() if (place / INDEX).is_file())
    return {key: str(_index(key)["citation"]) for key in keys}


@functools.cache
def tables() -> tuple[PublishedTable, ...]:
    """Every table and quantitative figure, paper by paper."""
    return tuple(
        PublishedTable(
            paper,
            entry["table"],
            entry["title"],
            entry["where"],
            tuple(entry["recipes"]),
            tuple(entry.get("notes", ())),
            _cells(paper, entry["file"], entry.get("trivial")) if entry.get("file") else {},
        )
        for paper in papers()
        for entry in _index(paper)["tables"]
    )


def recipes_time(name: str) -> dict[str, str]:
    """How long a recipe takes, by scale ("laptop", "paper"), where that is known."""
    return {scale: time for paper in papers() for scale, time in _index(paper)["times"].get(name, {}).items()}


@functools.cache
def _index(paper: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((files(PACKAGE) / paper / INDEX).read_text("utf-8"))
    return document


def _cells(paper: str, name: str, trivial: float | None) -> dict[tuple[str, str], PublishedCell]:
    text = (files(PACKAGE) / paper / "published" / name).read_text(encoding="utf-8")
    header, *lines = csv.reader(text.splitlines())
    return {
        (line[0], column): replace(parse(line[0], column, printed), trivial=trivial)
        for line in lines
        for column, printed in zip(header[1:], line[1:], strict=True)
    }


def parse(row: str, column: str, printed: str) -> PublishedCell:
    """A cell as printed: a number, with ± or brackets, a percent sign, a bound or a star of significance.

    >>> parse("", "", "67.46 ± 0.04").spread, parse("", "", "<0.0001*").bound, parse("", "", "-").value
    (0.04, '<', None)
    """
    match = CELL.fullmatch(printed.strip())
    if match is None:
        return PublishedCell(row, column, printed.strip())
    spread = match["sd"] or match["brackets"]
    number = float(match["value"].replace(",", ""))
    return PublishedCell(row, column, printed.strip(), number, float(spread) if spread else None, match["bound"] or "")


def compared(
    cell: PublishedCell,
    recomputed: float | None,
    *,
    row: str = "",
    column: str = "",
    lower: float | None = None,
    upper: float | None = None,
    tolerance: float | None = None,
    unit: str = "",
    note: str = "",
) -> Cell:
    """A recomputed number beside the published one, to agree within half a unit of the last digit printed.

    Where only a bound is printed (p < 0.0001), a number on its side agrees. `row` and `column`: where they are called
    otherwise than in the paper.
    """
    if cell.value is None:
        allowed = None
    elif cell.bound:
        met = recomputed is not None and (recomputed < cell.value) == (cell.bound == "<")
        allowed = abs(recomputed - cell.value) if met and recomputed is not None else 0.0
        note = "; ".join(filter(None, (note, f"printed {cell.printed}")))
    else:
        allowed = cell.half_unit if tolerance is None else tolerance
    place = (row or cell.row, column or cell.column)
    return Cell(*place, recomputed, cell.value, lower, upper, allowed, unit, note, trivial=cell.trivial)
