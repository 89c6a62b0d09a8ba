"""A .csv or .txt that lists image files, one a line, relative to the list's own folder or absolute."""

from __future__ import annotations

import csv
from pathlib import Path

from genaudit.data.folder import is_image_name
from genaudit.data.image_set import Listing
from genaudit.data.reader import FileReader
from genaudit.errors import UserError

_COLUMNS = ("path", "file", "filename", "file_name", "image", "filepath")


def list_file_of_names(path: Path, role: str) -> Listing:
    """The files that a list names, in its order; blank lines, and lines of a .txt that begin with "#", are left out.

    A .csv takes the first column whose header is path, file, filename, file_name, image or filepath (any case), or
    else its first column; its first row is a header where it has such a name, or where its first cell does not
    end like an image file.

    Raises:
        UserError: not UTF-8 text, or NUL bytes between the names.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                names = _column(list(csv.reader(file)))
            else:
                names = [line.strip() for line in file if not line.lstrip().startswith("#")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{role}: {path} is not a list of files in UTF-8 text ({error}).") from error
    names = [name for name in names if name]
    if any("\0" in name for name in names):
        raise UserError(f"{role}: {path} holds NUL bytes; it must name one file a line (find -print, not -print0)")
    return Listing(names, FileReader(path.parent, names))


def _column(rows: list[list[str]]) -> list[str]:
    rows = [row for row in rows if row]
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0]]
    named = [header.index(name) for name in _COLUMNS if name in header]
    column = min(named, default=0)
    if named or not is_image_name(header[0]):
        rows = rows[1:]
    return [row[column].strip() for row in rows if len(row) > column]
