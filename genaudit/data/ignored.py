"""Why files of a source are left out: the reasons that `images.ROLE.ignored` counts.

A reason is a short phrase. Those that may stand for images which the user meant are warned of (`is_loss`); labels and
text files beside images, and the copies that systems make, are only counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from genaudit.data.formats import EXTENSIONS, looks_like


class Note(NamedTuple):
    """What else is to be known of a source: the code of a warning, and its sentence without a full stop."""

    code: str
    text: str


HIDDEN = "hidden name"
SYSTEM_COPY = "system's copy (._*, __MACOSX, .ipynb_checkpoints, ...)"
LINK = "link to what the archive does not hold"
SPECIAL = "device or pipe in an archive"
PAGES = "further pages or frames of images, of which the first is read"
NO_NAME = "row without a file name"
ONE_PICTURE, SEVERAL = "one-picture", "several-images-a-name"  # codes of notes
COMMENT = "line that begins with #"
_OTHER = "no image: "
_SILENT = (_OTHER, SYSTEM_COPY, COMMENT, SPECIAL)

_SYSTEM = frozenset(("__macosx", ".ipynb_checkpoints", ".git", ".cache", ".thumbnails", ".trash", ".ds_store"))
# Formats of images that are not read (some need a plugin of Pillow's, see `decode`).
_UNREAD = frozenset((
    *(".heic", ".heif", ".hif", ".jxl", ".avif", ".avifs", ".tga", ".psd", ".psb", ".svg", ".eps", ".ai", ".ico"),
    *(".cur", ".icns", ".exr", ".hdr", ".pic", ".dds", ".pcx", ".sgi", ".rgb", ".xpm", ".xbm", ".dng", ".cr2", ".cr3"),
    *(".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".dcm", ".nii", ".fits", ".pdf", ".mp4", ".mov", ".avi"),
    *(".webm", ".mkv"),
))  # fmt: skip
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# Of these it is known without a look that they hold no image.
_TEXT = frozenset((
    *(".json", ".jsonl", ".txt", ".csv", ".tsv", ".cls", ".yaml", ".yml", ".toml", ".xml", ".html", ".md", ".log"),
    *(".py", ".ini", ".cfg", ".sh", ".caption", ".sha256", ".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors"),
    *(".h5", ".hdf5", ".parquet", ".arrow", ".pkl", ".onnx", ".mat", ".ipynb", ".lock", ".db"),
))  # fmt: skip
_ORDINARY = re.compile(r"\.[a-z][a-z0-9_]{0,9}|\.7z")


def extension(name: str) -> str:
    """The lower-case extension with its dot; empty where the name has none that looks like one (".5" is none)."""
    ending = os.path.splitext(name.rpartition("/")[2])[1].lower()
    return ending if _ORDINARY.fullmatch(ending) else ""


def hidden(name: str) -> str:
    """The reason why a relative path is hidden (a part of it begins with a dot, or is "__MACOSX"), else ""."""
    for part in name.split("/"):
        if part.lower() in _SYSTEM or part.startswith("._"):
            return SYSTEM_COPY
        if part.startswith(".") and part not in (".", ".."):
            return HIDDEN
    return ""


def is_image_name(name: str) -> bool:
    """Whether a file of this relative path is taken for an image: its extension says so, and it is not hidden."""
    return extension(name) in EXTENSIONS and not hidden(name)


def why_ignored(name: str, start: Callable[[], bytes]) -> str:
    """The reason why a file is no image of its source, "" for one that is.

    Args:
        name: its path relative to the source.
        start: gives its first 16 bytes or more; called only where the name says nothing.
    """
    kind = extension(name)
    if kind in EXTENSIONS:
        return hidden(name)
    if kind in _UNREAD:
        return hidden(name) or f"image format that is not read: {kind}"
    if kind.endswith(_ARCHIVES):
        return hidden(name) or f"archive in a folder or archive: {kind}"
    if kind not in _TEXT and not hidden(name) and (found := looks_like(start())):
        return f"{found} image by its content, without such an extension"
    return f"{_OTHER}{kind or 'without extension'}"


def other_array(key: str) -> str:
    """The reason for an array that is not the one which holds the images."""
    return f"images of another array of the file: {key}"


def other_arrays(shapes: Mapping[str, tuple[int, ...]], chosen: str) -> Counter[str]:
    """Arrays that may hold images too, and how many: four axes with channels, or three axes."""
    return Counter(
        {
            other_array(key): shape[0]
            for key, shape in shapes.items()
            if key != chosen and (len(shape) == 3 or (len(shape) == 4 and {shape[1], shape[3]} & {1, 3, 4}))
        }
    )


def beside(suffix: str) -> str:
    """The reason for a mask or the like beside an image of the same name."""
    return f"beside the image of the same name: {suffix}"


def is_loss(reason: str) -> bool:
    """Whether what was left out for this reason may be images that the user meant."""
    return not reason.startswith(_SILENT)


def kind_of(reason: str) -> str:
    """A reason without its preface, for lists of what a place holds: ".json" for "no image: .json"."""
    return reason.rpartition(": ")[2]
