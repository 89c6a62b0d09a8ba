"""Where laptop tables find their images; IDX files are read as their format says."""

from __future__ import annotations

import gzip
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from genaudit.errors import UserError
from genaudit_papers import datasets


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _write(folder: Path, packed: bool) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = {}
    for split, count in (("train", 6), ("test", 3)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        for name, array in zip(datasets.FILES[split], (images, labels), strict=True):
            content = _idx(array)
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
        written[split] = images
    return written


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", [".", "FashionMNIST/raw", "fashion-mnist"])
def test_fashion_mnist_is_found_and_read_as_written(tmp_path: Path, packed: bool, place: str) -> None:
    written = _write(tmp_path / "root" / place, packed)
    for split in ("train", "test"):
        images, labels = datasets.fashion_mnist(split, tmp_path / "root")  # type: ignore[arg-type]
        np.testing.assert_array_equal(images, written[split])
        assert len(labels) == len(images)


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "root", packed=False)
    path = tmp_path / "root" / datasets.FILES["test"][0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"t10k-images.* is cut off"):
        datasets.fashion_mnist("test", tmp_path / "root")


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    assert datasets.find_fashion_mnist(None) is None
    with pytest.raises(UserError, match="make data"):
        datasets.fashion_mnist("train", None)


def test_mnist_and_photographs_come_with_packages() -> None:
    images, labels = datasets.mnist()
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).tolist() == [500] * 10
    assert all(photo.dtype == np.uint8 and photo.shape[2] == 3 for photo in datasets.photographs())


def _cifar10(folder: Path) -> dict[str, np.ndarray]:
    """Three images a file, pickled as the published files are: bytes for names, protocol 2."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written: dict[str, np.ndarray] = {}
    for split, names in datasets.CIFAR10_FILES.items():
        images = rng.integers(0, 256, (3 * len(names), 3072), dtype=np.uint8)
        for name, part in zip(names, np.split(images, len(names)), strict=True):
            content = {b"data": part, b"labels": [0, 1, 9], b"batch_label": b"one"}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        written[split] = images.reshape(-1, 3, 32, 32)
    return written


def test_cifar10_is_read_as_written(tmp_path: Path) -> None:
    written = _cifar10(tmp_path / datasets.CIFAR10)
    for split in datasets.SPLITS:
        images, labels = datasets.cifar10(split, tmp_path)
        np.testing.assert_array_equal(images, written[split])
        assert labels.tolist() == [0, 1, 9] * (len(images) // 3)


def test_cifar_is_read_as_python_2_wrote_it(tmp_path: Path) -> None:
    """The published files' instructions: text and the array's bytes are Python 2's strings."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03M\x00\x0c\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = array + kind + b"\x89T" + struct.pack("<i", images.nbytes) + images.tobytes() + b"tb"
    pickled = b"\x80\x02}(U\x04data" + data + b"U\x0bfine_labels](K\x00K\x01K\x63eu."
    np.testing.assert_array_equal(pickle.loads(pickled, encoding="bytes")[b"data"], images)
    (tmp_path / datasets.CIFAR100).mkdir()
    for split in datasets.SPLITS:
        (tmp_path / datasets.CIFAR100 / split).write_bytes(pickled)
    for split in datasets.SPLITS:
        found, labels = datasets.cifar100(split, tmp_path)
        np.testing.assert_array_equal(found, images.reshape(3, 3, 32, 32))
        assert labels.tolist() == [0, 1, 99]


def test_cifar10_files_run_no_code(tmp_path: Path) -> None:
    _cifar10(tmp_path / datasets.CIFAR10)
    (tmp_path / datasets.CIFAR10 / "test_batch").write_bytes(pickle.dumps({b"data": Path, b"labels": [0]}))
    with pytest.raises(UserError, match="not a file of CIFAR"):
        datasets.cifar10("test", tmp_path)


def test_the_whole_mnist_is_taken_from_the_data_root(tmp_path: Path) -> None:
    assert datasets.find_full_mnist(tmp_path) is None
    with pytest.raises(UserError, match="MNIST/raw"):
        datasets.full_mnist("train", tmp_path)
    written = _write(tmp_path / "MNIST" / "raw", packed=True)
    images, _ = datasets.full_mnist("test", tmp_path)
    np.testing.assert_array_equal(images, written["test"])


def _svhn(root: Path, packed: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    content = {"X": rng.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8), "y": np.array([[10, 1, 2, 3, 9]]).T}
    root.mkdir()
    for split in datasets.SPLITS:
        savemat(root / f"{split}_32x32.mat", {**content, "note": "text"}, do_compression=packed)
    return content


@pytest.mark.parametrize("packed", [True, False])
def test_svhn_is_read_as_scipy_wrote_it(tmp_path: Path, packed: bool) -> None:
    content = _svhn(tmp_path / "root", packed)
    images, labels = datasets.svhn("train", tmp_path / "root")
    np.testing.assert_array_equal(images, content["X"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(labels, [0, 1, 2, 3, 9])


@pytest.mark.parametrize("packed", [True, False])
def test_a_spoilt_matlab_file_ends_in_a_sentence(tmp_path: Path, packed: bool) -> None:
    """SciPy's own reader ends the process on some of these."""
    _svhn(tmp_path / "root", packed)
    path = tmp_path / "root" / "train_32x32.mat"
    good, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(300):
        content = bytearray(good)
        content[rng.randrange(120, 260)] = rng.randrange(256)
        path.write_bytes(content)
        try:
            images, _ = datasets.svhn("train", tmp_path / "root")
            assert images.shape == (5, 3, 32, 32)
        except UserError:
            refused += 1
    assert refused > 50


def test_nothing_is_unpacked_beyond_what_one_file_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "fashion", packed=True)
    blank = np.zeros((6, 28, 28), np.uint8)
    (tmp_path / "fashion" / f"{datasets.FILES['train'][0]}.gz").write_bytes(gzip.compress(_idx(blank)))  # 4,720 bytes
    (tmp_path / "svhn").mkdir()
    for split in datasets.SPLITS:
        content = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((2, 1))}  # 6,144 bytes
        savemat(tmp_path / "svhn" / f"{split}_32x32.mat", content, do_compression=True)
    monkeypatch.setattr(datasets, "MOST_BYTES", 4700)
    with pytest.raises(UserError, match=r"idx3-ubyte.gz .*unpacks to more than 4,700 bytes"):
        datasets.fashion_mnist("train", tmp_path / "fashion")
    datasets.fashion_mnist("test", tmp_path / "fashion")
    with pytest.raises(UserError, match="4,700"):
        datasets.svhn("train", tmp_path / "svhn")


def test_a_pickle_that_asks_for_more_than_it_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number in it would make Python's reader make room for four thousand million objects."""
    (tmp_path / datasets.CIFAR10).mkdir(parents=True)
    for names in datasets.CIFAR10_FILES.values():
        for name in names:
            (tmp_path / datasets.CIFAR10 / name).write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")
    with pytest.raises(UserError, match="it holds no dictionary"):
        datasets.cifar10("test", tmp_path)
