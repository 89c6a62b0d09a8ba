"""`genaudit export`: what comes out is what the run was judged on, in every format."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import genaudit
from genaudit.cli import main
from genaudit.data import open_images
from genaudit.errors import DONE, USER

PIXELS = ["feature_model=pixels", "feature_model.size=20"]  # the images' own size: features are their pixels


@pytest.fixture
def run(make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("gen", "ref", "train")):
        make_images(name, 12 + seed, seed=seed)
    assert main(["evaluate", "gen", "reference=ref", "train=train", *PIXELS, "metric=[fd,authpct]", "out=run"]) == DONE
    return tmp_path / "run"


def _pixels(folder: str) -> np.ndarray:
    """(N, 1200): the images decoded by Pillow, channels first as networks take them."""
    from PIL import Image

    images = [np.asarray(Image.open(path)) for path in sorted(Path(folder).iterdir())]
    return np.stack(images).transpose(0, 3, 1, 2).reshape(len(images), -1) / np.float32(255)


def test_features_of_every_role_come_out_as_they_were_judged_in_every_format(run: Path) -> None:
    from pandas import read_parquet

    for kind in ("npz", "parquet", "csv"):
        assert main(["export", "run", f"format={kind}"]) == DONE
    with np.load(run / "export" / "embedding_pixels.npz") as file:
        arrays = dict(file)
    frame = read_parquet(run / "export" / "embedding_pixels.parquet")
    with open(run / "export" / "embedding_pixels.csv", newline="") as stream:
        header, *rows = csv.reader(stream)
    for role, folder in (("generated", "gen"), ("reference", "ref"), ("train", "train")):
        expected = _pixels(folder)
        digests = [each.tobytes().hex() for each in open_images(folder).digests]
        np.testing.assert_allclose(arrays[role], expected, atol=1e-6)
        assert arrays[f"{role}_digests"].tolist() == digests
        part = frame[frame.role == role]
        assert part.digest.tolist() == digests
        np.testing.assert_allclose(part.iloc[:, 2:].to_numpy(), expected, atol=1e-6)
        lines = [row for row in rows if row[0] == role]
        assert [line[1] for line in lines] == digests
        np.testing.assert_allclose(np.array([line[2:] for line in lines], float), expected, atol=1e-6)
    assert header == frame.columns.tolist() == ["role", "digest", *(f"f{index}" for index in range(1200))]
    assert str(arrays["measure"]) == "embedding pixels"


def test_files_of_single_roles_take_the_places_of_images(run: Path) -> None:
    for role in ("generated", "reference"):
        assert main(["export", "run", f"role={role}", f"out={role}.npz"]) == DONE
    once = genaudit.evaluate("gen", "ref", metrics="fd", feature_model="pixels", **{"feature_model.size": 20})
    again = genaudit.evaluate("generated.npz", "reference.npz", metrics="fd")
    assert again.metrics["fd"].values["fd"].value == pytest.approx(once.metrics["fd"].values["fd"].value, rel=1e-6)


def test_named_numbers_are_rows_and_no_features(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_images("gen", 6)
    assert main(["evaluate", "gen", *tiny, "metric=[as_i]", "out=run"]) == DONE
    assert main(["export", "run"]) == USER
    assert main(["export", "run", "what=rows", "format=csv", "out=rows.csv"]) == DONE
    columns = {}
    for path in ("rows.csv", "run/images.csv"):
        with open(path, newline="") as stream:
            columns[path] = list(csv.DictReader(stream))
    for exported, reported in zip(columns["rows.csv"], columns["run/images.csv"], strict=True):
        assert exported["digest"] == reported["digest"]
        for name in ("complexity", "vulnerability"):
            assert float(exported[name]) == pytest.approx(float(reported[name]), rel=1e-6)


def test_the_images_columns_come_out_with_names_that_are_text(run: Path) -> None:
    from pandas import read_csv, read_parquet

    for kind in ("npz", "parquet", "csv"):
        assert main(["export", "run", "what=images", f"format={kind}"]) == DONE
    expected = read_csv(run / "images.csv", dtype={"name": str, "digest": str})
    given = read_parquet(run / "export" / "images.parquet")
    assert given.columns.tolist() == expected.columns.tolist()
    assert given["name"].tolist() == expected["name"].tolist()
    with np.load(run / "export" / "images.npz") as file:
        np.testing.assert_allclose(file["nearest_train_distance"], expected["nearest_train_distance"])
    assert read_csv(run / "export" / "images.csv", dtype={"name": str, "digest": str}).equals(expected)
    saved = read_parquet(run / "images.parquet")
    assert saved.columns.tolist() == expected.columns.tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs a finished run"),
        (["nowhere"], "does not exist"),
        (["run", "measure=foo"], "embedding pixels"),
        (["run", "role=anomalies"], "generated, reference, train"),
        (["run", "format=xlsx"], "npz, parquet or csv"),
        (["run", "what=pictures"], "features, rows or images"),
    ],
)
def test_what_is_not_there_is_named(
    arguments: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *arguments]) == USER
    assert said in capsys.readouterr().err


def test_rows_that_left_the_store_are_missed_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "store").rglob("*.shard"):
        path.unlink()
    for path in (tmp_path / "store").rglob("index*"):
        path.unlink()
    assert main(["export", "run"]) == USER
    assert "does not hold the rows of the generated images" in capsys.readouterr().err
    assert not (run / "export").exists()
