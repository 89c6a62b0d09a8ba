"""IDX files, in which MNIST and Fashion-MNIST come: four bytes of kind, the sizes as big-endian integers, the numbers.

The format: http://yann.lecun.com/exdb/mnist (two zero bytes, the type, the number of dimensions, each size).
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import numpy as np

from genaudit.errors import UserError
from genaudit.reading import read_bytes

MNIST_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LARGEST = 1 << 30  # bytes, packed or not
UNSIGNED_BYTES = b"\x00\x00\x08"


def find_mnist(root: Path, name: str, split: str) -> Path | None:
    """The file of a split's images, packed or not: in the folder itself, as torchvision has it, or in `fashion-mnist`.

    Args:
        name: MNIST or FashionMNIST.
    """
    folders = [root, root / name / "raw", *([root / "fashion-mnist"] if name == "FashionMNIST" else [])]
    files = (folder / f"{MNIST_FILES[split]}{ending}" for folder in folders for ending in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def read_labels(images: Path) -> np.ndarray | None:
    """Labels (N,) uint8 of the file of labels beside a file of images; None where there is none.

    Raises:
        UserError: it cannot be read, or is no IDX file of labels.
    """
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    path = images.with_name(name)
    if name == images.name or not path.is_file():
        return None
    data = _unpacked(path)
    size = int.from_bytes(data[4:8], "big")
    if data[:4] != UNSIGNED_BYTES + b"\x01" or len(data) != 8 + size:
        raise UserError(f"{path} is no IDX file of labels (N,) of unsigned bytes, or it is damaged")
    return np.frombuffer(data, np.uint8, offset=8)


def read_images(path: Path) -> np.ndarray:
    """Images (N, H, W) uint8 of an IDX file, packed by gzip or not.

    Raises:
        UserError: it cannot be read, or is no IDX file of images.
    """
    data = _unpacked(path)
    sizes = [int.from_bytes(data[at : at + 4], "big") for at in (4, 8, 12)]
    if data[:4] != UNSIGNED_BYTES + b"\x03" or len(data) != 16 + math.prod(sizes):
        raise UserError(f"{path} is no IDX file of images (N, H, W) of unsigned bytes, or it is damaged")
    return np.frombuffer(data, np.uint8, offset=16).reshape(sizes)


def _unpacked(path: Path) -> bytes:
    try:
        data = read_bytes(path, LARGEST)
        if path.suffix == ".gz":
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(LARGEST)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return data
