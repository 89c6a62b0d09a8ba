"""Classes and prompts of every kind of source: they follow their images through subsets, joins and limits."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from genaudit.data import open_images
from genaudit.data.columns import Folders, as_words
from genaudit.data.torchvision_source import TorchvisionSource
from genaudit.errors import UserError
from tests.data.conftest import encode


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def write(root: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(picture(seed)))
    return root


NAMES = ["set/cat/a.png", "set/cat/b.png", "set/dog/c.png", "set/dog/deep/d.png"]


def test_the_class_is_the_first_folder_in_which_images_differ(tmp_path: Path) -> None:
    images = open_images(write(tmp_path, NAMES))
    assert images.column("class") == ["cat", "cat", "dog", "dog"]
    assert images.column("prompt") is None
    assert Folders(["a/1.png", "a/2.png"])() == ["", ""]  # one folder is no split
    assert Folders(["a/1.png", "2.png"])() == ["a", ""]


def test_columns_follow_subsets_limits_and_images_that_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, [f"{'ab'[i % 2]}/{i}.png" for i in range(12)])
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    images = open_images(tmp_path, on_error="skip", max_skipped=0.5)
    for some in (images, images.limited(5, seed=0), images.subset([7, 0, 3]), images.without({0: "is damaged"})):
        assert some.column("class") == [name[0] for name in some.names]
    assert pickle.loads(pickle.dumps(images)).column("class") == images.column("class")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "txt"])
def test_a_list_has_a_label_and_a_prompt_column(tmp_path: Path, kind: str) -> None:
    write(tmp_path, ["x/a.png", "x/b.png"])
    rows = [("x/b.png", "dog, big", "a dog"), ("x/a.png", "cat", "a cat")]
    path = tmp_path / f"list.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps({"path": p, "Label": c, "caption": t}) for p, c, t in rows))
    elif kind == "txt":
        path.write_text("\n".join(f"{p} {c}" for p, c, _ in rows))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
            writer.writerows([("Path", "Label", "Prompt"), *rows])
    images = open_images(path)
    assert images.names == ["x/b.png", "x/a.png"]
    assert images.column("class") == ["dog, big", "cat"]
    assert images.column("prompt") == (None if kind == "txt" else ["a dog", "a cat"])


@pytest.mark.parametrize("labels", [np.array([3, 1, 3]), np.array([[3.0], [1.0], [3.0]]), np.array(["3", "1", "3"])])
@pytest.mark.parametrize("key", ["arr_1", "labels"])
def test_labels_of_an_npz(tmp_path: Path, key: str, labels: np.ndarray) -> None:
    images = np.stack([picture(i) for i in range(3)])
    np.savez(tmp_path / "a.npz", arr_0=images, **{key: labels})
    assert open_images(tmp_path / "a.npz").column("class") == ["3", "1", "3"]
    np.savez(tmp_path / "b.npz", features=np.random.default_rng(0).normal(size=(3, 4)), **{key: labels})
    rows = open_images(tmp_path / "b.npz")
    assert rows.column("class") == ["3", "1", "3"]
    two = rows.limited(2, seed=0)
    assert two.column("class") == [["3", "1", "3"][rows.names.index(name)] for name in two.names]


def test_an_array_of_another_shape_is_no_label(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=np.stack([picture(i) for i in range(3)]), arr_1=np.zeros(4, int))
    assert open_images(tmp_path / "a.npz").column("class") is None
    with pytest.raises(UserError, match="whole numbers"):
        as_words(np.array([0.5]), "x")


def _tar(path: Path, mode: str) -> None:
    with tarfile.open(path, mode) as archive:
        for i, label in enumerate(["7", "4"]):
            for name, data in (
                (f"{i:04}.jpg", encode(picture(i))),
                (f"{i:04}.cls", label.encode()),
                (f"{i:04}.txt", b"words\n"),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_webdatasets_cls_and_txt(tmp_path: Path, mode: str) -> None:
    _tar(tmp_path / "a.tar", mode)
    images = open_images(tmp_path / "a.tar")
    assert images.column("class") == ["7", "4"]
    assert images.column("prompt") == ["words", "words"]


def test_texts_beside_images_of_a_folder_and_a_zip(tmp_path: Path) -> None:
    write(tmp_path / "f", ["b.png", "a.png", "c.png"])
    (tmp_path / "f" / "a.txt").write_text("ein Hund über Mücken", encoding="utf-8")
    (tmp_path / "f" / "notes.txt").write_text("of no image")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.png", "b.png", "a.txt"):
            archive.write(tmp_path / "f" / name, name)
    assert open_images(tmp_path / "f").column("prompt") == ["ein Hund über Mücken", "", ""]
    assert open_images(tmp_path / "a.zip").column("prompt") == ["ein Hund über Mücken", ""]


def test_several_sources_are_joined_with_their_classes(tmp_path: Path) -> None:
    write(tmp_path / "one", ["cat/1.png", "dog/2.png"])
    np.savez(tmp_path / "two.npz", images=np.stack([picture(8)]), labels=np.array(["cat"]))
    sources = [str(tmp_path / "one"), str(tmp_path / "two.npz")]
    assert open_images(sources).column("class") == ["cat", "dog", "cat"]
    # two folders without sub-folders: they are the classes
    assert open_images(f"{tmp_path}/one/*").column("class") == ["cat", "dog"]


class Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        return torch.from_numpy(picture(index)).permute(2, 0, 1), torch.tensor(index + 5)


def test_items_of_a_dataset_and_its_targets() -> None:
    assert open_images(Pairs()).column("class") == ["5", "6"]
    named = Pairs()
    named.targets, named.classes = [1, 0], ["cat", "dog"]
    assert open_images(named).column("class") == ["dog", "cat"]


def test_labels_lie_beside_mnists_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    head = b"\0\0\x08"
    sizes = b"".join(n.to_bytes(4, "big") for n in images.shape)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + b"\x03" + sizes + images.tobytes()))
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(head + b"\x01" + (3).to_bytes(4, "big") + bytes([2, 0, 9])))
    source = TorchvisionSource("FashionMNIST", str(tmp_path), "test")
    assert open_images(source).column("class") == ["2", "0", "9"]
    labels.write_bytes(gzip.compress(head + b"\x01" + (4).to_bytes(4, "big") + bytes([2, 0, 9])))
    with pytest.raises(UserError, match="no IDX file of labels"):
        open_images(source)


def test_a_hugging_face_dataset_names_its_classes() -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"image": datasets.Image(), "label": label, "caption": datasets.Value("string")})
    rows = {
        "image": [{"bytes": encode(picture(i)), "path": None} for i in range(2)],
        "label": [1, 0],
        "caption": ["x", None],
    }
    images = open_images(datasets.Dataset.from_dict(rows, features=features))
    assert images.column("class") == ["dog", "cat"]
    assert images.column("prompt") == ["x", ""]
