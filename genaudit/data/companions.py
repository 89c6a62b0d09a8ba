"""Masks and the like that lie beside images: `000.jpg` with `000.mask.png`, or `a.png` with `a_mask.png`.

A WebDataset sample has one key (its name up to the first dot) and may hold several images. What stands beside an image
of the same name is left out and counted; where several images of a name have equal rights, all are used and it is said.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from genaudit.data.ignored import SEVERAL, Note, beside

_WORDS = frozenset((
    *("mask", "masks", "matte", "alpha", "seg", "segm", "segmentation", "label", "labels", "labelid", "labelids"),
    *("depth", "normal", "normals", "edge", "edges", "canny", "pose", "annotation", "annotations", "gt", "thumb"),
    *("thumbnail", "control", "condition", "conditioning", "flow"),
))  # fmt: skip
_PICTURE = frozenset(("image", "img", "rgb", "photo", "picture", "color", "colour", "sample", "generated", "output"))


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
    return key[:cut].rstrip("-_ ") if cut > 0 and key[cut + 1 :].lower() in _WORDS else ""


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
    kinds = {folder: folder.rpartition("/")[2].lower() in _WORDS for folder in {folder for folder, _, _ in split}}
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
