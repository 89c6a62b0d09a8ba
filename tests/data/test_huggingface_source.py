"""Hugging Face datasets made on the spot: on disk, as parquet and as a folder of images."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from huggingface_hub import constants

from genaudit.cli import main
from genaudit.data import ImageSet, open_images
from genaudit.data.huggingface_source import HuggingfaceSource
from genaudit.errors import DONE, UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # else a name that no machine answers to is asked for again
    datasets.disable_progress_bars()


@pytest.fixture
def on_disk(folder: Path, tmp_path: Path) -> Path:
    """The images of `folder` as `save_to_disk` writes them, in the order of their names."""
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    made = datasets.Dataset.from_dict({"image": files, "label": list(range(len(files)))})
    made = made.cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": made, "test": made.select([0])}).save_to_disk(str(tmp_path / "disk"))
    made.to_parquet(str(tmp_path / "images.parquet"))
    return tmp_path / "disk"


def _opened(source: Any) -> ImageSet:
    opened = open_images(source)
    assert isinstance(opened, ImageSet)
    return opened


def test_images_have_the_digests_and_pixels_of_the_same_files(on_disk: Path, folder: Path) -> None:
    own = _opened(HuggingfaceSource(str(on_disk)))
    files = _opened(folder)
    assert own.digest == files.digest  # so that rows measured of the folder are reused
    assert own.modes == files.modes
    for index in range(len(files)):
        np.testing.assert_array_equal(own.read(index), files.read(index))
    assert own.names[0] == "disk[0]"


def test_parquet_a_folder_and_a_split_are_read(on_disk: Path, folder: Path, tmp_path: Path) -> None:
    whole = _opened(HuggingfaceSource(str(on_disk)))
    assert _opened(HuggingfaceSource(str(tmp_path / "images.parquet"))).digest == whole.digest
    assert len(_opened(HuggingfaceSource(str(on_disk), split="test"))) == 1
    images = _opened(HuggingfaceSource(str(folder / "a")))  # the library's imagefolder
    assert {digest.tobytes() for digest in images.digests} <= {digest.tobytes() for digest in whole.digests}
    assert len(images) == len([path for path in (folder / "a").rglob("*") if path.is_file()])


def test_columns_of_arrays_are_images_too(tmp_path: Path, pixels: np.ndarray) -> None:
    made = datasets.Dataset.from_dict({"pixels": pixels.tolist(), "other": list(range(len(pixels)))})
    made.save_to_disk(str(tmp_path / "arrays"))
    opened = _opened(HuggingfaceSource(str(tmp_path / "arrays"), split=None, column="pixels"))
    np.testing.assert_array_equal(np.stack([opened.read(i) for i in range(len(opened))]), pixels)
    with pytest.raises(UserError, match="which holds the images"):
        _opened(HuggingfaceSource(str(tmp_path / "arrays"), split=None))


def test_a_reader_survives_pickling(on_disk: Path) -> None:
    opened = _opened(HuggingfaceSource(str(on_disk)))
    twin = pickle.loads(pickle.dumps(opened._reader))
    np.testing.assert_array_equal(twin.read(0, opened.digests[0].tobytes(), 10**6), opened.read(0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "validation"}, "train, test"),
        ({"column": "picture"}, "image, label"),
        ({"path": "./nowhere"}, "does not exist"),
        ({"path": "nobody/nothing"}, "cannot be opened"),
    ],
)
def test_mistakes_are_explained(on_disk: Path, arguments: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        _opened(HuggingfaceSource(**{"path": str(on_disk), **arguments}))


def test_the_package_is_named_where_it_is_missing(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"genaudit-images\[datasets\]"):
        HuggingfaceSource(str(on_disk)).open_source()


def test_the_command_line_takes_one_as_a_role(on_disk: Path, folder: Path, tmp_path: Path, tiny: list[str]) -> None:
    roles = ["dataset@reference=huggingface", f"reference.path={on_disk}"]
    assert main(["evaluate", str(folder), *roles, *tiny, "metric=[fd]", f"out={tmp_path / 'out'}"]) == DONE
