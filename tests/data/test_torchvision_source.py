from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import OmegaConf

from genaudit.data import ImageSet, open_images
from genaudit.data.idx import read_images
from genaudit.data.torchvision_source import TorchvisionSource
from genaudit.errors import UserError

from .conftest import encode

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"
NAMES = ["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn", "celeba", "imagefolder"]


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


@pytest.fixture
def mnist(tmp_path: Path, rng: np.random.Generator) -> np.ndarray:
    """Two test digits in MNIST's own files; (2, 28, 28)."""
    digits = rng.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix in ("t10k", "train"):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, 2, 28, 28) + digits.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 2) + b"\3\4")
    return digits


def test_mnist_is_read_from_its_files(tmp_path: Path, mnist: np.ndarray) -> None:
    source = TorchvisionSource("MNIST", str(tmp_path), split="test")
    images = opened(source, role="reference")
    assert images.source == f"MNIST test ({tmp_path})"
    assert images.converted == {"L": 2}
    assert images.digest == opened(mnist).digest
    assert len(opened(source, limit=1)) == 1


def test_mnist_of_its_files_is_torchvisions(tmp_path: Path, mnist: np.ndarray) -> None:
    theirs = torchvision.datasets.MNIST(str(tmp_path), train=False).data.numpy()
    assert np.array_equal(read_images(tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"), theirs)


@pytest.mark.parametrize("folder", ["fashion-mnist", "", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_where_the_script_puts_it(
    tmp_path: Path, mnist: np.ndarray, folder: str, packed: bool
) -> None:
    """`dataset@reference=fashion_mnist reference.root=DIR` after `scripts/get_fashion_mnist.sh DIR`."""
    raw = (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()
    place = tmp_path / "data" / folder
    place.mkdir(parents=True)
    name = "train-images-idx3-ubyte"
    (place / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(raw) if packed else raw)
    config = OmegaConf.load(CONFIGS / "fashion_mnist.yaml")
    config.root = str(tmp_path / "data")
    assert opened(instantiate(config)).digest == opened(mnist).digest


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\x08\x03", struct.pack(">IIII", 0x803, 3, 28, 28) + bytes(28 * 28 * 2), struct.pack(">II", 0x801, 2)],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes, packed: bool) -> None:
    file = tmp_path / ("train-images-idx3-ubyte" + (".gz" if packed else ""))
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        opened(TorchvisionSource("FashionMNIST", str(tmp_path)))
    file.write_bytes(b"\x1f\x8b" + data)
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        opened(TorchvisionSource("FashionMNIST", str(tmp_path)))


def test_sources_cost_nothing_until_they_are_opened() -> None:
    source = TorchvisionSource("CIFAR10", "/nowhere/at/all", split="test", download=True)
    assert str(source) == "CIFAR10 test (/nowhere/at/all)"


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "SVHN", "CelebA"])
def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} cannot be opened under {tmp_path}: .* Set download=true"):
        open_images(TorchvisionSource(name, str(tmp_path)))


def test_unknown_names_and_splits_are_refused(tmp_path: Path, mnist: np.ndarray) -> None:
    with pytest.raises(UserError, match="no dataset 'CIFAR11'"):
        open_images(TorchvisionSource("CIFAR11", str(tmp_path)))
    with pytest.raises(UserError, match="splits train and test, not 'valid'"):
        open_images(TorchvisionSource("MNIST", str(tmp_path), split="valid"))
    with pytest.raises(UserError, match="valid"):
        open_images(TorchvisionSource("SVHN", str(tmp_path), split="valid"))


def test_image_folders_are_folders(folder: Path) -> None:
    source = TorchvisionSource("ImageFolder", str(folder), split="a")
    assert opened(source).digest == opened(folder / "a").digest
    assert opened(TorchvisionSource("ImageFolder", str(folder), split=None)).digest == opened(folder).digest


class Fake:
    """Stands for a dataset class of torchvision."""

    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        self.root, self.split, self.download = root, split, download


def test_channels_first_arrays_tensors_and_items_are_the_same_images(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class First(Fake):
        data = pixels.transpose(0, 3, 1, 2)

    class Last(Fake):
        data = pixels

    class Tensor(Fake):
        data = torch.from_numpy(pixels).permute(0, 3, 1, 2)

    class Items(Fake):
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int) -> Any:
            return torchvision.transforms.functional.to_pil_image(pixels[index]), 0

    for kind in (First, Last, Tensor, Items):
        monkeypatch.setattr(torchvision.datasets, "Fake", kind, raising=False)
        assert opened(TorchvisionSource("Fake", "/data")).digest == opened(pixels).digest, kind


def test_celeba_is_read_from_its_files(tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    class CelebA(Fake):
        filename = ("000002.jpg", "000001.jpg")

    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for i in (1, 2):
        (folder / f"{i:06}.jpg").write_bytes(encode(pixels[i], "jpeg"))
    monkeypatch.setattr(torchvision.datasets, "CelebA", CelebA)
    images = opened(TorchvisionSource("CelebA", str(tmp_path), split="valid"))
    assert images.names == ["000002.jpg", "000001.jpg"]
    assert images.digest == opened([folder / name for name in images.names]).digest


@pytest.mark.parametrize("name", NAMES)
def test_configs_become_sources_under_the_data_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = OmegaConf.load(CONFIGS / f"{name}.yaml")
    monkeypatch.delenv("GENAUDIT_DATA", raising=False)
    assert str(config.root).startswith("~/.cache/genaudit/data")
    monkeypatch.setenv("GENAUDIT_DATA", "/somewhere")
    source = instantiate(config)
    assert isinstance(source, TorchvisionSource)
    assert source.root.startswith("/somewhere")
    assert source.download is False
    assert hasattr(torchvision.datasets, source.name)
    with pytest.raises(UserError, match="/somewhere"):
        open_images(source)
