"""Datasets that torchvision knows, as sources that cost nothing until they are opened.

    _target_: genaudit.data.torchvision_source.TorchvisionSource
    name: CIFAR10
    root: ~/data
    split: train

Data sets that torchvision keeps as one array are read from it, CelebA and ImageFolder from their files, all others
item by item. (CIFAR's original files are pickles: torchvision opens them after it has checked their MD5.)
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data.arrays import is_tensor
from genaudit.data.columns import CLASS, Given, Labelled, as_words, classes_of
from genaudit.data.idx import MNIST_FILES, find_mnist, read_images, read_labels
from genaudit.data.image_set import Listing
from genaudit.data.reader import FileReader
from genaudit.errors import UserError


@dataclass(frozen=True)
class TorchvisionSource:
    """A dataset of `torchvision.datasets` by name.

    Attributes:
        name: the class, e.g. "CIFAR10"; "ImageFolder" is the folder `root/split` itself.
        root: where the data lies, or is downloaded to; "~" is the home folder.
        split: "train", "test", or another name that the dataset knows.
        download: fetch the data where it is missing.
    """

    name: str
    root: str
    split: str | None = "train"
    download: bool = False

    def __str__(self) -> str:
        return f"{self.name}{f' {self.split}' if self.split else ''} ({self.root})"

    def open_source(self) -> Any:
        """The dataset as something that `open_images` takes: a path, a listing, an array, a tensor or a Dataset.

        Raises:
            UserError: unknown name or split, or data that is not there.
        """
        root = Path(self.root).expanduser()
        if self.name == "ImageFolder":
            return root / self.split if self.split else root
        if self.name in ("FashionMNIST", "MNIST") and self.split in MNIST_FILES and not self.download:
            file = find_mnist(root, self.name, self.split)
            if file is not None:
                labels = read_labels(file)
                columns = {} if labels is None else {CLASS: Given(as_words(labels, str(file)))}
                return Labelled(read_images(file), columns)
        dataset = self._load(root)
        if self.name == "CelebA":
            names = list(dataset.filename)
            return Listing(names, FileReader(root / "celeba" / "img_align_celeba", names))
        data = getattr(dataset, "data", None)
        if isinstance(data, np.ndarray) and data.ndim == 4 and data.shape[1] == 3 != data.shape[3]:
            return Labelled(data.transpose(0, 2, 3, 1), classes_of(dataset))  # SVHN and STL10 keep (N, C, H, W)
        if is_tensor(data) or (isinstance(data, np.ndarray) and data.dtype == np.uint8):
            return Labelled(data, classes_of(dataset))
        return dataset

    def _load(self, root: Path) -> Any:
        import torchvision

        kind = getattr(torchvision.datasets, self.name, None)
        if not inspect.isclass(kind):
            raise UserError(f"torchvision has no dataset {self.name!r}; its names are like CIFAR10 and SVHN.")
        known = inspect.signature(kind).parameters
        arguments: dict[str, Any] = {"root": str(root)}
        if "download" in known:
            arguments["download"] = self.download
        if "split" in known and self.split is not None:
            arguments["split"] = self.split
        elif "train" in known:
            if self.split not in ("train", "test"):
                raise UserError(f"{self.name} has the splits train and test, not {self.split!r}.")
            arguments["train"] = self.split == "train"
        if self.download:
            root.mkdir(parents=True, exist_ok=True)
        try:
            return kind(**arguments)
        except (RuntimeError, OSError, ValueError, ImportError) as error:
            why = str(error).replace("You can use download=True to download it", "").strip().rstrip(".")
            mend = "Put it there" if self.download else "Set download=true, put it there"
            text = f"{self.name} cannot be opened under {root}: {why}. {mend}, or name another root."
            raise UserError(text) from error
