"""Datasets of Hugging Face `datasets`, as sources that cost nothing until they are opened. An optional package.

    _target_: genaudit.data.huggingface_source.HuggingfaceSource
    path: ~/data/faces
    split: train
    column: image

`path` is a folder that `save_to_disk` wrote, a folder of images or of parquet, arrow, csv or json files, one such
file, or a name on the Hub (which asks the network unless it is cached). Encoded images are taken as the bytes that
the dataset stores, so that they have the digest, and the stored rows, of the same files in a folder.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genaudit.data.bad_image import BadImage
from genaudit.data.columns import CLASS, KEYS, Column
from genaudit.data.image_set import Listing
from genaudit.data.objects import item_pixels
from genaudit.data.reader import MAX_PIXELS, EncodedReader, PixelReader, max_bytes
from genaudit.errors import UserError, reason_of
from genaudit.reading import read_bytes

BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
COLUMNS = ("image", "img")


@dataclass(frozen=True)
class HuggingfaceSource:
    """A dataset of Hugging Face's library.

    Attributes:
        path: a folder, a file, or a name on the Hub ("cifar10").
        split: "train", "test[:1000]", ...; None needs a dataset with one split.
        column: the column of images; None takes the only one that holds images, or `image` or `img`.
        name: the configuration of a dataset on the Hub.
    """

    path: str
    split: str | None = "train"
    column: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.path}{f' {self.split}' if self.split else ''}"

    def open_source(self) -> Listing:
        """The images of the split.

        Raises:
            UserError: the package is missing, or there is no such dataset, split or column.
        """
        try:
            import datasets
        except ImportError:
            raise UserError(
                "a Hugging Face dataset needs the package datasets: pip install 'genaudit-images[datasets]'"
            ) from None
        try:
            dataset = self._load(datasets)
        except UserError:
            raise
        except Exception as error:  # the library raises dozens of kinds for what is wrong with a path
            raise UserError(f"{self.path} cannot be opened as a Hugging Face dataset: {reason_of(error)}") from error
        return list_huggingface(self._split_of(dataset), self.column, Path(self.path).name)

    def _load(self, datasets: Any) -> Any:
        path = Path(self.path).expanduser()
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(os.fspath(path))
        if path.is_file():
            builder = BUILDERS.get(path.suffix.lower())
            if builder is None:
                raise UserError(f"{self.path}: one of {', '.join(BUILDERS)} files, or a folder, is needed")
            # one file is one split, whatever its name
            return datasets.load_dataset(builder, data_files=os.fspath(path), split="train")
        if path.is_dir():
            return datasets.load_dataset(os.fspath(path), self.name, split=self.split)
        if path.is_absolute() or self.path.startswith((".", "~")):
            raise UserError(f"{self.path} does not exist")
        return datasets.load_dataset(self.path, self.name, split=self.split)

    def _split_of(self, dataset: Any) -> Any:
        if not hasattr(dataset, "keys"):
            return dataset
        splits = list(dataset.keys())
        if self.split in splits:
            return dataset[self.split]
        if self.split is None and len(splits) == 1:
            return dataset[splits[0]]
        raise UserError(f"{self.path} has the splits {', '.join(map(str, splits))}; split={self.split} is none of them")


def list_huggingface(dataset: Any, column: str | None = None, label: str = "dataset") -> Listing:
    """The images of a `datasets.Dataset` (anything with its `features`, `cast_column`, `len` and rows by index).

    Raises:
        UserError: no such column, or none that can be told to hold images.
    """
    column = _image_column(dataset, column)
    names = [f"{label}[{index}]" for index in range(len(dataset))]
    columns = _columns(dataset)
    if type(dataset.features[column]).__name__ != "Image":
        return Listing(names, ColumnReader(dataset, column), columns=columns)
    import datasets

    undecoded = dataset.cast_column(column, datasets.Image(decode=False))
    return Listing(names, BytesReader(undecoded, column), columns=columns)


def _columns(dataset: Any) -> dict[str, Column]:
    """The columns of classes and prompts: the only ClassLabel, or else those that are named so."""
    found: dict[str, Column] = {}
    labels = [name for name in dataset.features if type(dataset.features[name]).__name__ == "ClassLabel"]
    for column, names in KEYS.items():
        named = [name for name in names if name in dataset.features]
        named = labels if column == CLASS and len(labels) == 1 else named
        if named:
            found[column] = TextColumn(dataset, named[0])
    return found


@dataclass(frozen=True)
class TextColumn:
    """A column of a dataset as text; a ClassLabel by its names. Only this column is read."""

    dataset: Any
    name: str

    def __call__(self) -> list[str]:
        feature = self.dataset.features[self.name]
        values = list(self.dataset.select_columns([self.name])[:][self.name])
        values = [value.item() if hasattr(value, "item") else value for value in values]
        if hasattr(feature, "int2str"):
            return ["" if value is None or value < 0 else feature.int2str(value) for value in values]
        return ["" if value is None else str(value) for value in values]


class BytesReader(EncodedReader):
    """Images as a dataset stores them: encoded, in the table or in a file of their own."""

    def __init__(self, dataset: Any, column: str) -> None:
        self.dataset, self.column = dataset, column
        self._lock = threading.Lock()

    def fetch(self, index: int) -> bytes:
        with self._lock:
            item = self.dataset[index][self.column]
        if item is None:
            raise BadImage("is empty (the table holds no image there)")
        if item.get("bytes") is not None:
            return bytes(item["bytes"])
        return read_bytes(item["path"], max_bytes(MAX_PIXELS))

    def __getstate__(self) -> Any:
        return self.dataset, self.column

    def __setstate__(self, state: Any) -> None:
        self.__init__(*state)  # type: ignore[misc]


class ColumnReader(PixelReader):
    """Images that a column holds as arrays (H, W, C) or (H, W), uint8."""

    def __init__(self, dataset: Any, column: str) -> None:
        self.dataset, self.column = dataset, column
        self._lock = threading.Lock()

    def pixels(self, index: int) -> Any:
        import numpy as np

        with self._lock:
            item = self.dataset[index][self.column]
        if isinstance(item, list):
            item = np.asarray(item)
            item = item.astype(np.uint8) if item.dtype.kind in "iu" and 0 <= item.min() <= item.max() < 256 else item
        return item_pixels({"image": item})

    __getstate__ = BytesReader.__getstate__
    __setstate__ = BytesReader.__setstate__


def _image_column(dataset: Any, column: str | None) -> str:
    names = list(dataset.features)
    if column is not None:
        if column not in names:
            raise UserError(f"the dataset has the columns {', '.join(names)}; column={column} is none of them")
        return column
    images = [name for name in names if type(dataset.features[name]).__name__ == "Image"]
    if len(images) == 1:
        return images[0]
    for name in COLUMNS:
        if name in names:
            return name
    raise UserError(f"the dataset has the columns {', '.join(names)}; column=NAME must say which holds the images")
