"""Lists of images or of shards: .txt, .csv, .tsv and .jsonl, relative to the list's own folder or absolute."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genaudit.data.columns import CLASS, Column, Given, of_table
from genaudit.data.ignored import COMMENT, NO_NAME, extension, is_image_name
from genaudit.errors import UserError, reason_of
from genaudit.reading import open_regular

LISTS = (".txt", ".csv", ".tsv", ".jsonl")
_COLUMNS = (
    "path",
    "file",
    "filename",
    "file_name",
    "image",
    "filepath",
    "image_path",
    "file_path",
    "img",
    "url",
    "name",
)

Exists = Callable[[str], bool]


def names_of_list(path: Path, role: str) -> tuple[list[str], Counter[str], dict[str, Column]]:
    """The names that a list holds, in its order, how many of its lines were left out, by reason, and its columns.

    A .txt has one name a line; a label behind it ("a.png 3", by space, tab or comma) is its class, and lines that
    begin with "#" are left out. A .csv or .tsv (also one separated by semicolons or tabs) takes the first column whose
    header is path, file, filename, file_name, image or filepath (any case), or else the first whose cells name images;
    its first row is a header where it names no image. A line of a .jsonl is a name, or an object with such a key.
    Columns and keys named as classes and prompts are (`genaudit.data.columns.KEYS`) are taken too.

    Raises:
        UserError: not UTF-8 text, NUL bytes between the names, or lines of .jsonl that are no JSON or hold no name.
    """
    kind = path.suffix.lower()
    ignored: Counter[str] = Counter()
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            if kind == ".jsonl":
                lines = [(i, line) for i, line in enumerate(file, 1) if line.strip()]
                names, columns = _json_names([(line, f"{role}: {path}, line {i}") for i, line in lines])
            elif kind == ".txt":
                names, columns = _lines(file.read().splitlines(), _exists_beside(path), ignored)
            else:
                names, columns = _column(_rows(file.read(), kind), _exists_beside(path), ignored)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{role}: {path} is not a list of files in UTF-8 text ({reason_of(error)}).") from error
    if any("\0" in name for name in names):
        raise UserError(f"{role}: {path} holds NUL bytes; it must name one file a line (find -print, not -print0)")
    return names, ignored, columns


def _exists_beside(path: Path) -> Exists:
    def exists(name: str) -> bool:
        try:
            return is_image_name(name.rpartition("/")[2]) or (path.parent / name).exists()
        except (OSError, ValueError):  # a name that no system takes
            return False

    return exists


Named = tuple[list[str], dict[str, Column]]


def _lines(lines: Sequence[str], exists: Exists, ignored: Counter[str]) -> Named:
    names: list[str] = []
    labels: list[str] = []
    for line in map(str.strip, lines):
        if line.startswith("#"):
            ignored[COMMENT] += 1
        elif line:
            names.append(line if exists(line) else _without_label(line))
            labels.append(line[len(names[-1]) :].strip(" \t,;"))
    return names, {CLASS: Given(labels)} if any(labels) else {}


def _without_label(line: str) -> str:
    """The name in "a.png 3" or "a.png,cat": what stands before the first separator behind an extension."""
    for separator in ("\t", ",", ";", " "):
        name, found, _ = line.partition(separator)
        while found and not extension(name):
            more, found, _ = line[len(name) + 1 :].partition(separator)
            name = f"{name}{separator}{more}"
        if found and extension(name):
            return name.strip()
    return line


def _json_names(lines: Sequence[tuple[str, str]]) -> Named:
    """The names of the lines of a .jsonl, each with where it stands, and the columns that their objects have."""
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    for line, where in lines:
        name, row = _json_name(line, where)
        names.append(name)
        rows.append(row)
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [["" if row.get(key) is None else str(row[key]) for key in header] for row in rows]
    return names, of_table(header, cells)


def _json_name(line: str, where: str) -> tuple[str, dict[str, Any]]:
    keys: dict[str, Any] = {}
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON ({reason_of(error)}).") from error
    if isinstance(row, dict):
        keys = {str(key).lower(): value for key, value in row.items()}
        row = next((keys[key] for key in _COLUMNS if isinstance(keys.get(key), str)), None)
    if not isinstance(row, str) or not row.strip():
        raise UserError(f"{where} names no image; a string, or an object with one of {', '.join(_COLUMNS)}, is needed.")
    return row.strip(), keys


def _rows(text: str, kind: str) -> list[list[str]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = "\t" if kind == ".tsv" else max(",;\t", key=first.count)  # the comma where there is none
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if row]


def _column(rows: list[list[str]], exists: Exists, ignored: Counter[str]) -> Named:
    rows = [row for row in rows if any(row)]
    if not rows:
        return [], {}
    header = [cell.lower() for cell in rows[0]]
    named = [header.index(name) for name in _COLUMNS if name in header]
    if named or not any(cell and exists(cell) for cell in rows[0]):
        rows = rows[1:]  # the first row is a header
    named = named or [place for place, cell in enumerate(rows[0] if rows else []) if cell and exists(cell)]
    column = named[0] if named else 0
    names = [row[column] if len(row) > column else "" for row in rows]
    if empty := names.count(""):
        ignored[NO_NAME] += empty
    columns = of_table(header, [row for row, name in zip(rows, names, strict=True) if name])
    return [name for name in names if name], columns
