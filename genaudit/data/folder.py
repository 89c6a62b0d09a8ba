"""A folder of images: searched recursively, in the order of the relative paths."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from genaudit.data.columns import FileTexts, is_text, of_members
from genaudit.data.ignored import extension, hidden, is_image_name, leave_out_companions, why_ignored
from genaudit.data.image_set import Listing
from genaudit.data.reader import FileReader

__all__ = ["extension", "home", "is_image_name", "list_folder", "matches_of", "start_of"]


def home(text: str) -> Path:
    """A path with a leading "~" or "~user" as that home folder, unless a file of this very name is here."""
    return Path(text if os.path.lexists(text) else os.path.expanduser(text))


def matches_of(pattern: str, *, recursive: bool = False) -> list[str]:
    """What a glob pattern matches. Folders at its beginning that exist as they are written are names, not patterns."""
    parts = Path(pattern).parts
    known = 0
    while known < len(parts) and os.path.exists(os.path.join(*parts[: known + 1])):
        known += 1
    escaped = [glob.escape(part) for part in parts[:known]]
    end = [""] if pattern.endswith(os.sep) else []  # only folders
    return glob.glob(os.path.join(*escaped, *parts[known:], *end), recursive=recursive)


def list_folder(root: Path) -> Listing:
    """Every image under `root`, with links followed but no folder entered twice on one way down."""
    names: list[str] = []
    texts: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    for name in _files(root):
        if is_text(name):
            texts[name] = name
        reason = hidden(name.rpartition("/")[0]) if "/" in name else ""
        if reason and not is_image_name(name.rpartition("/")[2]):
            continue  # of a hidden folder only the images are worth a word
        reason = reason or why_ignored(name, partial(start_of, os.path.join(root, name)))
        if reason:
            ignored[reason] += 1
        else:
            names.append(name)
    names.sort()
    kept, notes = leave_out_companions(names, ignored)
    names = [names[index] for index in kept]
    columns = of_members(names, texts, FileTexts(os.fspath(root)), str(root))
    return Listing(names, FileReader(root, names), ignored, notes, columns=columns)


def _files(root: Path) -> Iterator[str]:
    """The relative paths of all files, hidden ones too, in no order."""
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while stack:
        folder, above = stack.pop()
        path = os.path.join(root, folder)
        status = os.stat(path)
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        with os.scandir(path) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    stack.append((name, above | {here}))
                else:
                    yield name


def start_of(path: str) -> bytes:
    """The first bytes of a regular file; none of what is no file, or cannot be read."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(64)
    except OSError:
        return b""
