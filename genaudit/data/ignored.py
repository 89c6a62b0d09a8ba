"""What of a source is left out, and why: the reasons that `images.ROLE.ignored` counts, masks and the like among them.

A reason is a short phrase. Those that may stand for images which the user meant are warned of (`is_loss`); labels and
text files beside images, and the copies that systems make, are only counted. Companions are masks and the like that lie
beside images: `000.jpg` with `000.mask.png`, or `a.png` with `a_mask.png`. A WebDataset sample has one key (its name up
to the first dot) and may hold several images. What stands beside an image of the same name is left out and counted;
where several images of a name have equal rights, all are used and it is said.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from genaudit.data.formats import EXTENSIONS, looks_like

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
_COMPANIONS = frozenset((
    *("mask", "masks", "matte", "alpha", "seg", "segm", "segmentation", "label", "labels", "labelid", "labelids"),
    *("depth", "normal", "normals", "edge", "edges", "canny", "pose", "annotation", "annotations", "gt", "thumb"),
    *("thumbnail", "control", "condition", "conditioning", "flow"),
))  # fmt: skip
_PICTURE = frozenset(("image", "img", "rgb", "photo", "picture", "color", "colour", "sample", "generated", "output"))


class Note(NamedTuple):
    """What else is to be known of a source: the code of a warning, and its sentence without a full stop."""

    code: str
    text: str


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


def leave_out_companions(names: Sequence[str], ignored: Counter[str]) -> tuple[list[int], tuple[Note, ...]]:
    """The places of the images that are no companions, which are counted in `ignored`, and what is to be said.

    Left out are, always within one folder: `KEY.WORD.EXT` beside `KEY.EXT` (any word that is no number); where no name
    has a plain `KEY.EXT`, all but `KEY.image.EXT` (or img, rgb, photo, ...); and `STEM_mask.EXT` (or depth, ...) beside
    `STEM.EXT`.
    """
    split = [_split(name) for name in names]
    by_key: dict[str, list[int]] = defaultdict(list)
    for index, (key, _, _) in enumerate(split):
        by_key[key].append(index)
    shared = {key: places for key, places in by_key.items() if len(places) > 1}
    left = {index: reason for places in shared.values() for index, reason in _of_one_key(split, places)}
    for index, (key, middle, kind) in enumerate(split):
        stem = "" if middle or index in left else _stem(key)
        if stem and stem in by_key:
            left[index] = beside(f"{key[len(stem) :]}.{kind}")
    ignored.update(left.values())
    kept = [index for index in range(len(names)) if index not in left]
    endings = {key: _endings([split[place] for place in places if place not in left]) for key, places in shared.items()}
    return kept, _note(endings, len(by_key)) or _folders_of_masks(by_key)


def _stem(key: str) -> str:
    """What stands before a last word like "mask", "" where there is none."""
    cut = max(key.rfind("_"), key.rfind("-"), key.rfind(" "))
    return key[:cut].rstrip("-_ ") if cut > 0 and key[cut + 1 :].lower() in _COMPANIONS else ""


def _split(name: str) -> tuple[str, str, str]:
    """Folder and name up to the first dot, what lies between the dots in lower case, and the extension."""
    folder, slash, base = name.rpartition("/")
    key, _, rest = base.partition(".")
    middle, _, kind = rest.lower().rpartition(".")
    return f"{folder}{slash}{key}", middle, kind


def _of_one_key(split: Sequence[tuple[str, str, str]], places: Sequence[int]) -> list[tuple[int, str]]:
    """Which images of a key are companions of another, with the reason."""
    if len(places) == 1:
        return []
    named = [place for place in places if re.match("[a-z]", split[place][1])]
    chosen = [place for place in places if not split[place][1]]
    if not chosen:
        chosen = [place for place in named if split[place][1] in _PICTURE]
        chosen = chosen if len(chosen) == 1 else []
    return [(p, beside(f".{split[p][1]}.{split[p][2]}")) for p in named if p not in chosen] if chosen else []


def _endings(split: Iterable[tuple[str, str, str]]) -> set[str]:
    """The endings of the images of a key; numbers between dots are parts of a name, and no endings."""
    named = [(middle, kind) for _, middle, kind in split if not re.fullmatch(r"[\d.]+", middle)]
    return {f".{middle}.{kind}" if middle else f".{kind}" for middle, kind in named}


def _note(endings: Mapping[str, set[str]], keys: int) -> tuple[Note, ...]:
    """A note where at least half of the keys are shared by several images of other endings."""
    shared = [each for each in endings.values() if len(each) > 1]
    if len(shared) < max(2, keys / 2):
        return ()
    counts = Counter(ending for each in shared for ending in each)
    common = sorted(counts, key=lambda ending: (-counts[ending], ending))
    listed = ", ".join(common[:4])
    text = (
        f"{len(shared):,} names hold several images each ({listed}), and all are used; a pattern such as "
        f"SOURCE/*{common[0]} chooses one"
    )
    return (Note(SEVERAL, text),)


def _folders_of_masks(keys: Iterable[str]) -> tuple[Note, ...]:
    """A note where a folder that is named as masks are has the names of a folder beside it."""
    masks: dict[tuple[str, str], str] = {}
    others: set[tuple[str, str]] = set()
    split = [key.rpartition("/") for key in keys]
    kinds = {folder: folder.rpartition("/")[2].lower() in _COMPANIONS for folder in {folder for folder, _, _ in split}}
    for folder, _, base in split if any(kinds.values()) else ():
        above, _, last = folder.rpartition("/")
        if kinds[folder]:
            masks[above, base] = last
        else:
            others.add((above, base))
    shared = [last for place, last in masks.items() if place in others]
    if not shared:
        return ()
    text = (
        f"{len(shared):,} images lie in folders of the name {shared[0]}/, beside images of the same names; all are "
        "used, and a path or a pattern chooses a folder"
    )
    return (Note(SEVERAL, text),)
