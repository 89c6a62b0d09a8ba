"""Runs in FiftyOne and Spotlight, through modules of their interface: both packages are too large for the tests."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genaudit
from genaudit.errors import UserError
from genaudit.integrations.image_tables import to_fiftyone, to_spotlight
from tests.reports.synthetic import photograph


class Sample(dict):
    """As FiftyOne's: fields by keyword; a name that it keeps for itself is refused."""

    def __init__(self, filepath: str, **fields: Any) -> None:
        assert not {"id", "tags", "metadata"} & fields.keys()
        assert all(isinstance(value, (str, int, float, bool, tuple)) for value in fields.values())
        assert Path(filepath).is_absolute()
        super().__init__(fields, filepath=filepath)


class Dataset(list):
    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self.name = name

    def add_samples(self, samples: Any) -> None:
        self.extend(samples)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    fiftyone = types.ModuleType("fiftyone")
    fiftyone.Sample, fiftyone.Dataset = Sample, Dataset  # type: ignore[attr-defined]
    fiftyone.Classification = lambda label: ("class", label)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    shown: list[Any] = []
    renumics, spotlight = types.ModuleType("renumics"), types.ModuleType("renumics.spotlight")
    spotlight.show = lambda frame, dtype, **options: shown.append((frame, dtype, options)) or "viewer"  # type: ignore[attr-defined]
    renumics.spotlight = spotlight  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "renumics", renumics)
    monkeypatch.setitem(sys.modules, "renumics.spotlight", spotlight)
    return shown


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("shown")
    for role in ("samples", "real"):
        for place in range(44):
            path = root / role / f"{'ab'[place % 2]}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(place, 16, seed=len(role))).save(path)
    shared = {"metrics": ["kd", "prdc"], "feature_model": "pixels", "store": root / "store", "progress": False}
    return genaudit.evaluate(root / "samples", root / "real", by="class", **shared)


def test_fiftyone_has_a_sample_an_image_with_its_columns(report, packages) -> None:
    dataset = to_fiftyone(report, "mine")
    assert dataset.name == "mine"
    assert len(dataset) == 44
    for place, sample in enumerate(dataset):
        assert np.array_equal(np.asarray(Image.open(sample["filepath"])), report.pictures["generated"](place))
        assert sample["reference_balls"] == report.images["reference_balls"][place]
        assert sample["ground_truth"] == ("class", report.images["class"][place])


def test_spotlight_has_the_table_with_the_images(report, packages) -> None:
    assert to_spotlight(report, port=8123) == "viewer"
    frame, dtype, options = packages[0]
    assert dtype == {"image": "image"}
    assert options == {"port": 8123}
    assert frame["name"].tolist() == list(report.images["name"])
    assert all(Path(path).is_file() for path in frame["image"])
    assert to_spotlight(report, show=False)["reference_balls"].tolist() == report.images["reference_balls"].tolist()


def test_images_that_are_no_files_are_written(packages, tmp_path: Path) -> None:
    arrays = [np.stack([photograph(place, 16, seed) for place in range(12)]) for seed in (0, 1)]
    report = genaudit.evaluate(*arrays, metrics="kd", feature_model="pixels", store=tmp_path / "store", progress=False)
    with pytest.raises(UserError, match="folder=DIR writes them"):
        to_fiftyone(report)
    dataset = to_fiftyone(report, folder=tmp_path / "images")
    assert np.array_equal(np.asarray(Image.open(dataset[7]["filepath"])), arrays[0][7])
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    features = genaudit.evaluate(rows, rows + 1, metrics="kd", store=tmp_path / "store", progress=False)
    with pytest.raises(UserError, match="no generated images to show"):
        to_fiftyone(features)


def test_a_missing_package_is_named(report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    monkeypatch.setitem(sys.modules, "renumics", None)
    with pytest.raises(UserError, match="pip install fiftyone"):
        to_fiftyone(report)
    with pytest.raises(UserError, match="pip install renumics-spotlight"):
        to_spotlight(report)
