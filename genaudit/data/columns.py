"""What a source says of each image beside its pixels: its class and its prompt, as text, "" where it says nothing.

A source lists its columns as functions without arguments, which read the values when somebody asks for them: a run
that does not split by class opens no label. They are picklable, as readers are. N images.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudit.data.bad_image import BadImage
from genaudit.errors import UserError
from genaudit.reading import read_bytes

Column = Callable[[], Sequence[str]]
CLASS, PROMPT = "class", "prompt"
# The names that files and datasets give to such a column, in the order in which they are looked for.
KEYS = {
    CLASS: ("label", "labels", "class", "class_name", "class_id", "category", "target", "cls"),
    PROMPT: ("prompt", "prompts", "caption", "captions", "text"),
}
MEMBERS = {".cls": CLASS, ".txt": PROMPT}  # WebDataset's files beside an image of the same key
_TEXT_BYTES = 1 << 16  # of a prompt's file


@dataclass(frozen=True)
class Given:
    """Values that are known already."""

    values: Sequence[str]

    def __call__(self) -> Sequence[str]:
        return self.values


@dataclass(frozen=True)
class Labelled:
    """Images (whatever `open_images` takes) with columns that are known beside them."""

    images: Any
    columns: Mapping[str, Column]

    def checked(self, count: int) -> Mapping[str, Column]:
        """The columns, each of `count` values.

        Raises:
            UserError: other numbers.
        """
        for name, column in self.columns.items():
            if len(column()) != count:
                raise UserError(f"{len(column()):,} values of {name} for {count:,} images; each needs one")
        return self.columns


def labelled(images: Any, *, labels: Any = None, prompts: Any = None) -> Labelled:
    """Images in Python with the class or the prompt of each, for `genaudit.evaluate(..., by="class")`.

    Args:
        images: whatever `genaudit.evaluate` takes for a role. labels: (N,) words or whole numbers. prompts: (N,) texts.

    >>> genaudit.evaluate(labelled(images, labels=y), labelled(real, labels=z), by="class")  # doctest: +SKIP
    """
    given = {CLASS: labels, PROMPT: prompts}
    columns = {name: Given(as_words(values, name)) for name, values in given.items() if values is not None}
    return Labelled(images, columns)


@dataclass(frozen=True)
class Folders:
    """The class of an image is its sub-folder: the first part in which the images' folders differ."""

    names: Sequence[str]

    def __call__(self) -> Sequence[str]:
        folders = [name.rpartition("/")[0] for name in self.names]
        parts = {folder: folder.split("/") if folder else [] for folder in dict.fromkeys(folders)}
        common = 0  # of the folders, and of images that lie in none
        for level in zip(*parts.values(), strict=False):
            if len(set(level)) > 1:
                break
            common += 1
        classes = {folder: of[common] if len(of) > common else "" for folder, of in parts.items()}
        return [classes[folder] for folder in folders]


@dataclass(frozen=True)
class Texts:
    """A short text of its own for each image, such as WebDataset's `KEY.cls`; None where there is none."""

    read: Callable[[Any], bytes]
    places: Sequence[Any]
    source: str

    def __call__(self) -> Sequence[str]:
        return ["" if place is None else self._text(place) for place in self.places]

    def _text(self, place: Any) -> str:
        try:
            return self.read(place).decode("utf-8").strip()
        except (UnicodeDecodeError, OSError, BadImage) as error:
            raise UserError(f"{self.source}: a text beside an image cannot be read ({error})") from None


@dataclass(frozen=True)
class FileTexts:
    """Reads a text file under a folder."""

    root: str

    def __call__(self, name: str) -> bytes:
        return read_bytes(os.path.join(self.root, name), _TEXT_BYTES)


@dataclass(frozen=True)
class Joined:
    """The columns of several listings, one after the other; a listing without one has the empty text."""

    parts: Sequence[Column | None]
    lengths: Sequence[int]

    def __call__(self) -> Sequence[str]:
        texts = ([""] * n if part is None else part() for part, n in zip(self.parts, self.lengths, strict=True))
        return list(itertools.chain.from_iterable(texts))


@dataclass(frozen=True)
class FirstOf:
    """The first column that says something of some image."""

    columns: Sequence[Column]

    def __call__(self) -> Sequence[str]:
        values: Sequence[str] = ()
        for column in self.columns:
            values = column()
            if any(values):
                break
        return values


def of_listing(columns: Mapping[str, Column], names: Sequence[str]) -> dict[str, Column]:
    """A listing's columns; where it names no class, or none of any image, the sub-folders do."""
    folders = Folders(names)
    return {**columns, CLASS: FirstOf([columns[CLASS], folders]) if CLASS in columns else folders}


def joined(listings: Sequence[tuple[Mapping[str, Column], Sequence[str]]]) -> dict[str, Column]:
    """The columns of listings one after the other."""
    lengths = [len(names) for _, names in listings]
    every = [of_listing(columns, names) for columns, names in listings]
    keys = dict.fromkeys(key for columns in every for key in columns)
    return {key: Joined([columns.get(key) for columns in every], lengths) for key in keys}


def of_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Column]:
    """The columns of a table that are named as classes or prompts are; `header` in lower case."""
    found: dict[str, Column] = {}
    for column, names in KEYS.items():
        place = next((header.index(name) for name in names if name in header), None)
        if place is not None:
            found[column] = Given([row[place].strip() if len(row) > place else "" for row in rows])
    return found


def classes_of(dataset: Any) -> dict[str, Column]:
    """The class of each item of a torchvision dataset, by `targets` or `labels`, as the name that it gives to it."""
    for key in ("targets", "labels", "_labels"):
        labels = getattr(dataset, key, None)
        if labels is None or np.ndim(labels) != 1 or len(labels) != len(dataset):
            continue
        words = as_words(labels, f"{type(dataset).__name__}.{key}")
        names = getattr(dataset, "classes", None)
        if isinstance(names, (list, tuple)) and all(word.isdigit() and int(word) < len(names) for word in words):
            words = [str(names[int(word)]) for word in words]
        return {CLASS: Given(words)}
    return {}


def key_of(name: str) -> str:
    """WebDataset's key of a member: its path up to the first dot of its file name.

    >>> key_of("a.b/0001.seg.png")
    'a.b/0001'
    """
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def of_members(
    names: Sequence[str], texts: Mapping[str, Any], read: Callable[[Any], bytes], source: str
) -> dict[str, Column]:
    """The texts that lie beside images: `KEY.cls` and `KEY.txt`.

    Args:
        names: of the images. texts: name of each text file => what `read` takes to read it.
    """
    found: dict[str, Column] = {}
    for ending, column in MEMBERS.items():
        by_key = {name[: -len(ending)]: place for name, place in texts.items() if name.lower().endswith(ending)}
        places = [by_key.get(key_of(name)) for name in names] if by_key else []
        if any(place is not None for place in places):
            found[column] = Texts(read, places, source)
    return found


def is_text(name: str) -> bool:
    """Whether a file may be a text beside an image, by its name."""
    return re.search(r"\.(cls|txt)$", name, re.IGNORECASE) is not None


def as_words(values: Any, source: str) -> list[str]:
    """Labels (N,) or (N, 1) as text; whole numbers, also those stored as floats, in decimal.

    Raises:
        UserError: numbers that are not whole, or no text and no numbers.
    """
    array = np.asarray(values).reshape(-1)
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "O":
        return [str(value) for value in array.tolist()]
    if array.dtype.kind not in "biuU":
        raise UserError(f"{source} has type {array.dtype}; labels must be text or whole numbers")
    return [str(value).strip() for value in (array.astype(np.int64) if array.dtype.kind == "b" else array).tolist()]


def taken(column: Column, positions: Iterable[int]) -> list[str]:
    """The values at some positions."""
    values = column()
    return [values[place] for place in positions]
