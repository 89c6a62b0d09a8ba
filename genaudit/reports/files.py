"""Writes a report's four files so that none is ever seen half written, nor beside those of another run.

`genaudit.reports.replace` says how; a folder with a report.json has all of them, of the same run.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import numpy as np

from genaudit.reports.entries import COUNTED
from genaudit.reports.replace import replaced

if TYPE_CHECKING:
    from genaudit.reports.report import Report
    from genaudit.reports.values import Value

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last ones full-width
METRIC_COLUMNS = (
    *("metric", "name", "value", "lower", "upper", "better", "measure", *(f"n_{role}" for role in COUNTED)),
    *("real", "real_lower", "real_upper", "real_ratio", "real_n", "real_source", "at_real_n"),
)


def write(report: Report, out: str | Path, *, explore: bool | str = "auto") -> dict[str, Path]:
    """Writes metrics.csv, images.csv, report.html and report.json into the folder `out`, which is made if missing.

    Where pyarrow can be imported, images.parquet stands beside images.csv, with the same columns; a run by class has
    classes.csv too. `explore` says whether explore.html is written (`genaudit.reports.explore.wanted`), with the folder
    `explore` where it has many images.

    Returns:
        The path of each file by its name.
    """
    from genaudit.reports.classes import classes_table
    from genaudit.reports.explore import FOLDER, PAGE, Explorer, wanted
    from genaudit.reports.html import render

    exploring = wanted(report, explore)[0]
    explorer = Explorer(report, Path(out)) if exploring else None
    folders: dict[str, Callable[[Path], None]] = {}

    writers: dict[str, Callable[[TextIO], None]] = {
        "metrics.csv": lambda stream: write_metrics(report, stream),
        "images.csv": lambda stream: write_images(report, stream),
    }
    if (classes := report.by_class) is not None:
        writers["classes.csv"] = lambda stream: write_csv(*classes_table(classes), stream)
    if report.images and has_pyarrow():
        writers["images.parquet"] = lambda stream: write_parquet(report.images, stream.buffer)
    if explorer is not None:
        page = explorer

        def write_page(stream: TextIO) -> None:
            if page.embedded:
                page.pictures(None)
            _write_text(page.html(), stream)

        writers[PAGE] = write_page
        if not page.embedded:
            folders[FOLDER] = page.pictures
    return write_together(
        Path(out),
        {
            **writers,
            "report.html": lambda stream: _write_text(render(report, explore=exploring), stream),
            "report.json": lambda stream: _write_text(json_text(report.to_dict()), stream),
        },
        folders=folders,
        earlier=("images.parquet", "classes.csv", PAGE, FOLDER),
    )


def write_together(
    out: Path,
    writers: Mapping[str, Callable[[TextIO], None]],
    *,
    folders: Mapping[str, Callable[[Path], None]] | None = None,
    earlier: Sequence[str] = (),
) -> dict[str, Path]:
    """Writes all files or none: the folder then holds these, or still those of an earlier run, never some of each.

    Args:
        writers: by file name, the last one by which the folder is known to be whole.
        folders: by name, what fills a folder beside the files; it is called before them.
        earlier: files that an earlier run may have written and this one may not: they leave with the others.
    """
    folders = folders or {}
    leaving = [name for name in earlier if name not in writers and name not in folders]
    with replaced(out, [*leaving, *folders, *writers]) as folder:
        for name, fill in folders.items():
            (folder / name).mkdir()
            fill(folder / name)
        for name, writer in writers.items():
            # A file name that is not UTF-8 reaches Python as lone surrogates; they are written as \udcXX.
            with open(folder / name, "x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                writer(stream)
                stream.flush()
                os.fsync(stream.fileno())
    return {name: out / name for name in writers}


def json_text(document: Mapping[str, Any]) -> str:
    """The document as indented JSON with a final newline; numbers at full precision, NaN refused."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_metrics(report: Report, stream: TextIO) -> None:
    """metrics.csv: one row a value; an empty cell where there is no number."""
    write_csv(METRIC_COLUMNS, metric_rows(report), stream)


def metric_rows(report: Report) -> Iterator[tuple[Any, ...]]:
    """A row a value, as METRIC_COLUMNS names its cells."""
    for metric, entry in report.metrics.items():
        for name, each in entry.values.items():
            value = (metric, name, each.value, each.lower, each.upper, each.better, entry.measure)
            yield *value, *map(entry.n.get, COUNTED), *_floor(each)


def _floor(value: Value) -> tuple[Any, ...]:
    """The cells of the real floor, empty where there is none."""
    real = value.real
    if real is None:
        return (None,) * 7
    return real.value, real.lower, real.upper, value.real_ratio, real.n, real.source, real.generated


def write_images(report: Report, stream: TextIO) -> None:
    """images.csv: one row a generated image; an empty cell where a value is not finite."""
    columns = report.images or {"name": [], "digest": []}
    lists = (column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values())
    write_csv(tuple(columns), zip(*lists, strict=True), stream)


def has_pyarrow() -> bool:
    """Whether pyarrow is installed and fits the other packages: a newer one than NumPy allows cannot be imported."""
    if find_spec("pyarrow") is None:
        return False
    try:
        importlib.import_module("pyarrow")
    except ImportError:
        return False
    return True


def write_parquet(columns: Mapping[str, Any], stream: BinaryIO) -> None:
    """Columns of equal length as a Parquet file; names that are not UTF-8 are written as \\udcXX. pyarrow is needed."""
    import pyarrow
    from pyarrow import parquet

    arrays = {name: column if isinstance(column, np.ndarray) else _texts(column) for name, column in columns.items()}
    parquet.write_table(pyarrow.table(arrays), stream)


def _texts(column: Sequence[Any]) -> list[Any]:
    return [each.encode("utf-8", "backslashreplace").decode() if isinstance(each, str) else each for each in column]


def write_csv(header: Sequence[str], rows: Iterable[Iterable[Any]], stream: TextIO) -> None:
    """Rows by the csv module with plain newlines; floats as `repr` writes them, None and non-finite ones empty.

    Text that a spreadsheet would take for a formula is led by an apostrophe: it may be the name of a stranger's file.
    """
    bare = csv.writer(stream, lineterminator="\n")
    # Before Python 3.13 the module leaves a carriage return unquoted, which no reader takes back as it was.
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in itertools.chain([header], rows):
        cells = [_cell(item) for item in row]
        writer = quoted if any("\r" in cell for cell in cells if isinstance(cell, str)) else bare
        writer.writerow(cells)


def _cell(item: Any) -> Any:
    if hasattr(item, "item"):
        item = item.item()
    if isinstance(item, float):
        return repr(item) if math.isfinite(item) else ""
    if isinstance(item, str) and item.startswith(FORMULA) and not _is_number(item):
        return f"'{item}"
    return item


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _write_text(text: str, stream: TextIO) -> None:
    stream.write(text)
