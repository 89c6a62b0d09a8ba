"""A folder of images: searched recursively, in the order of the relative paths."""

from __future__ import annotations

import glob
import os
from collections import Counter
from pathlib import Path

from genaudit.data.decode import EXTENSIONS
from genaudit.data.image_set import Listing
from genaudit.data.reader import FileReader


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


def is_image_name(name: str) -> bool:
    """Whether a file of this relative path is taken for an image.

    Hidden files and folders (a part that begins with a dot, such as macOS's "._photo.png" and Jupyter's
    checkpoints) and the "__MACOSX" folders of zips are not: they hold copies or no images.
    """
    parts = name.split("/")
    if any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts):
        return False
    return extension(name) in EXTENSIONS


def extension(name: str) -> str:
    """The lower-case extension with its dot; the whole base name of a file without one."""
    base = name.rpartition("/")[2]
    return os.path.splitext(base)[1].lower() or base


def list_folder(root: Path) -> Listing:
    """Every image under `root`, with links followed but no folder entered twice on one way down."""
    names: list[str] = []
    ignored: Counter[str] = Counter()
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
                    if is_image_name(f"{name}/x.png"):
                        stack.append((name, above | {here}))
                elif is_image_name(name):
                    names.append(name)
                else:
                    ignored[extension(name)] += 1
    names.sort()
    return Listing(names, FileReader(root, names), ignored)
