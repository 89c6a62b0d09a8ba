"""The audit of a run: the same facts in cold and warm runs, and no image decoded twice for them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from genaudit.cli import main
from genaudit.data import ImageSet, open_images
from genaudit.data.audit import facts as module
from genaudit.data.audit.facts import facts_of, sample_of
from genaudit.errors import DONE

PIXELS = ("feature_model=pixels", "feature_model.size=3", "progress=false", "metric=[fd]")


def _run(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, *PIXELS, f"out={out}"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    jsonschema.validate(document, json.loads((resources.files("genaudit.reports") / "schema.json").read_text()))
    return document


@pytest.fixture
def sides(make_images: Callable[..., Path], tmp_path: Path) -> list[str]:
    """JPEGs and PNGs of the same kind of images."""
    png, plain = make_images("png", 24, seed=1), make_images("reference", 24, seed=2)
    (tmp_path / "generated").mkdir()
    for path in png.iterdir():
        Image.open(path).save(tmp_path / "generated" / f"{path.stem}.jpg", quality=80)
    return [str(tmp_path / "generated"), f"reference={plain}"]


def _decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    read = ImageSet.read

    def counted(self: ImageSet, index: int) -> np.ndarray:
        names.append(f"{self.source}/{self.names[index]}")
        return read(self, index)

    monkeypatch.setattr(ImageSet, "read", counted)
    return names


def test_cold_and_warm_runs_say_the_same_and_no_image_is_decoded_for_it(
    sides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaudit.tasks.evaluate.picture_of", lambda images: None)  # the page's pictures are decoded
    monkeypatch.setattr("genaudit.reports.gallery.Gallery.extremes", lambda self: [])
    names = _decoded(monkeypatch)
    cold = _run(tmp_path / "cold", *sides)
    assert len(names) == len(set(names)) == 48
    names.clear()
    warm = _run(tmp_path / "warm", *sides)
    assert names == []
    assert warm["images"] == cold["images"]
    assert warm["findings"] == cold["findings"]
    about = cold["images"]["generated"]
    assert (about["formats"], about["jpeg_quality"], about["sizes"]) == ({"JPEG": 24}, {"80": 24}, {"20x20": 24})
    assert (about["sampled"], about["grey"], about["alpha"], about["aspect"]) == (24, 0, 0, {"lowest": 1, "highest": 1})
    assert cold["images"]["reference"]["jpeg_traces"] == 0
    (finding,) = [each for each in cold["findings"] if each["code"] == "formats-differ"]
    assert (finding["roles"], finding["metrics"]) == (["generated", "reference"], ["fd"])
    assert [each["message"] for each in cold["warnings"] if each["code"] == "formats-differ"] == [finding["message"]]


def test_rows_of_a_store_without_facts_are_completed_from_the_images(sides: list[str], tmp_path: Path) -> None:
    """As of a store that was filled before there was an audit."""
    cold = _run(tmp_path / "cold", *sides)
    store = Path(os.environ["GENAUDIT_STORE"])
    (described,) = [path for path in store.rglob("measure.json") if "pixel_facts" in path.read_text()]
    for path in described.parent.iterdir():
        path.unlink()
    assert _run(tmp_path / "warm", *sides)["images"] == cold["images"]


def test_a_store_that_cannot_be_written_costs_no_result(
    sides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = _run(tmp_path / "cold", *sides)
    store = Path(os.environ["GENAUDIT_STORE"])
    (described,) = [path for path in store.rglob("measure.json") if "pixel_facts" in path.read_text()]
    for path in described.parent.iterdir():
        path.unlink()

    def refuse(root: Path, folder: Path) -> None:
        from genaudit.errors import UserError

        raise UserError(f"store={root}: it cannot be written")

    monkeypatch.setattr("genaudit.store.store._try_writing", refuse)
    monkeypatch.setattr("genaudit.tasks.run.keys.check_store", lambda *_, **__: None)
    assert _run(tmp_path / "again", *sides)["images"] == cold["images"]


def test_the_sample_is_of_contents_whatever_their_order_names_and_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 10)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 4, 4, 3), np.uint8)
    first = sample_of(open_images(images))
    again = sample_of(open_images(np.concatenate([images[::-1], images[:50]])))
    assert {d.tobytes() for d in first.digests} == {d.tobytes() for d in again.digests}
    assert len(first) == 10
    copies = open_images(np.concatenate([images[:3]] * 50))
    assert len(sample_of(copies)) == 3


def test_sizes_are_counted_the_most_frequent_first(tmp_path: Path) -> None:
    for index in range(30):
        Image.new("RGB", (5 + index % 25, 7), (index, 0, 0)).save(tmp_path / f"{index}.png")
    facts = facts_of(open_images(str(tmp_path)))
    about = module.described(facts)
    assert next(iter(facts.sizes.items())) == ((7, 5), 2)
    assert len(about["sizes"]) == module.SIZES
    assert about["other_sizes"] == {"sizes": 5, "images": 5}
    assert about["aspect"] == {"lowest": 5 / 7, "highest": 29 / 7}


def test_copies_that_were_saved_again_are_found_by_their_features(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    reference = make_images("reference", 30, seed=1)
    make_images("generated", 30, seed=2)
    for path in sorted(reference.iterdir())[:6]:
        Image.open(path).save(tmp_path / "generated" / path.name, compress_level=1)  # other bytes, the same pixels
    document = _run(tmp_path / "out", str(tmp_path / "generated"), f"reference={reference}")
    (finding,) = document["findings"]
    assert (finding["code"], finding["roles"]) == ("near-copies", ["generated", "reference"])
    assert finding["metrics"] == ["fd"]
    assert finding["message"].startswith("20 % of 30 generated images")


def test_anomalies_are_not_compared_and_features_have_no_facts(tmp_path: Path, sides: list[str]) -> None:
    document = _run(
        tmp_path / "out", sides[1].partition("=")[2], f"reference={sides[1].partition('=')[2]}", f"anomalies={sides[0]}"
    )
    assert "formats" in document["images"]["anomalies"]
    assert {each["code"] for each in document["findings"]} == {"same-images"}
    np.savez(tmp_path / "f.npz", features=np.random.default_rng(0).normal(size=(20, 3)))
    features = _run(tmp_path / "features", str(tmp_path / "f.npz"), f"reference={tmp_path / 'f.npz'}")
    assert "formats" not in features["images"]["generated"]
