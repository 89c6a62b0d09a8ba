"""explore.html holds every image and column exactly, lets no name out of its text, and leaves with the run it shows."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from genaudit.metrics.result import PictureRow, Pictures, RoleImage
from genaudit.reports import explore, sprites
from genaudit.reports.explore import Explorer, wanted
from genaudit.reports.report import MetricEntry, Report
from genaudit.reports.sprites import pack

from .synthetic import HOSTILE, make_report


def _noise(index: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (size, size + index % 3, 3), dtype=np.uint8)


def _packed(read, indices, side=112):
    kept: list[bytes] = []

    def keep(number: int, kind: str, data: bytes) -> str:
        assert number == len(kept)
        kept.append(data)
        return f"{number}.{kind}"

    return pack(read, indices, side, keep), [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in kept]


def _thumbnail(packed, sheets, place):
    """What the page's script draws."""
    width, height = packed.sizes[place]
    sheet, cell = divmod(place, packed.columns**2)
    y, x = (packed.cell * part for part in divmod(cell, packed.columns))
    return sheets[sheet][y : y + height, x : x + width]


def test_small_images_lie_in_the_sheets_pixel_by_pixel(monkeypatch):
    monkeypatch.setattr(sprites, "SHEET", 60)  # 4 x 4 cells of 14: several sheets, the last one not full
    order = np.random.default_rng(0).permutation(37)
    packed, sheets = _packed(_noise, order)
    assert (packed.cell, packed.columns, packed.exact, len(packed.sheets)) == (14, 4, True, 3)
    for place, index in enumerate(order):
        assert np.array_equal(_thumbnail(packed, sheets, place), _noise(int(index)))


def test_large_images_shrink_into_their_cell_and_keep_their_shape():
    image = np.zeros((300, 600, 3), np.uint8)
    image[:, 300:] = 255
    packed, sheets = _packed(lambda index: image, [0, 0], side=100)
    assert packed.sizes.tolist() == [[100, 50], [100, 50]]
    assert not packed.exact
    found = _thumbnail(packed, sheets, 1)
    assert found[:, :45].max() < 20
    assert found[:, 55:].min() > 235


def test_an_image_that_is_gone_leaves_its_cell_empty_and_the_others_in_their_places():
    def read(index: int) -> np.ndarray:
        if index == 1:
            raise OSError("moved")
        return _noise(index)

    packed, sheets = _packed(read, [0, 1, 2])
    assert packed.sizes[1].tolist() == [0, 0]
    assert np.array_equal(_thumbnail(packed, sheets, 2), _noise(2))
    assert _packed(None, [0, 1])[0].sheets == [""]


def test_many_pictures_are_read_with_their_files_held_open_once():
    class Archive:
        opened = 0

        def __call__(self, index: int) -> np.ndarray:
            raise AssertionError("opens the archive for every image")

        @contextmanager
        def held(self) -> Iterator[object]:
            self.opened += 1
            yield _noise

    archive = Archive()
    packed, _ = _packed(archive, range(50))
    assert archive.opened == 1
    assert (packed.sizes > 0).all()


def _data(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def _numbers(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(40, size=16)


@pytest.fixture(scope="module")
def page(report) -> str:
    explorer = Explorer(report)
    explorer.pictures(None)
    return explorer.html()


def test_the_page_has_the_columns_of_images_csv_with_all_their_digits(report, page):
    data = _data(page)
    assert ["name", *(each["name"] for each in data["columns"])] == list(report.images)
    columns = {each["name"]: each for each in data["columns"]}
    for name in ("complexity", "vulnerability", "nearest_train_distance"):
        assert np.array_equal(_numbers(columns[name]["numbers"], "<f8"), report.images[name], equal_nan=True)
    assert columns["digest"]["texts"] == report.images["digest"]
    nearest = columns["nearest_train"]
    names = data["pointed"][nearest["role"]]["names"]
    assert [names[code] for code in _numbers(nearest["codes"], "<i4")] == report.images["nearest_train"]
    assert len(names) == len(set(report.images["nearest_train"])), "each training image lies in the sheets once"


def test_no_name_leaves_its_text_and_only_the_own_script_and_style_run(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "file:" not in policy, "the pictures lie in the page"
    outside = re.sub(r"<script\b.*?</script>", "", page, flags=re.S)
    assert not re.search(r"\son\w+=|javascript:|https?://", outside)
    raw = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert not set("<>&") & set(raw)
    assert raw.isascii()
    assert _data(page)["names"][: len(HOSTILE)][0] == HOSTILE[0]
    assert "\\x1b" in _data(page)["names"][5], "control characters show as escapes"


def test_a_picture_that_a_metric_made_of_an_image_is_shown_with_it():
    made = _noise(7)

    @dataclasses.dataclass(frozen=True)
    class Reconstructed:
        score: float
        pictures: Pictures

    rows = (PictureRow("", (RoleImage("generated", 2), made, RoleImage("train", 1), _noise(9))),)
    grid = Pictures("", ("image", "reconstruction", "image", "reconstruction"), rows)
    report = make_report(6, size=8)
    report.metrics["piad"] = MetricEntry("piad", Reconstructed(1.0, grid), {"generated": 6}, "anomaly")
    explorer = Explorer(report)
    explorer.pictures(None)
    (index, pictures), = explorer.data()["more"].items()  # fmt: skip
    assert index == 2
    assert [each["title"] for each in pictures] == ["reconstruction"], "that of a training image is not this one's"
    uri = pictures[0]["pictures"]["sheets"][0]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert np.array_equal(sheet[: made.shape[0], : made.shape[1]], made)


def test_words_of_a_column_can_be_chosen_and_texts_be_searched():
    report = make_report(6, pictures=False)
    report.images["digest"][1] = report.images["digest"][0]  # one copy makes no classes
    report.images["label"] = ["cat", "dog", "cat", "", "dog", "cat"]
    explorer = Explorer(report)
    explorer.pictures(None)
    label = next(each for each in explorer.data()["columns"] if each["name"] == "label")
    assert next(each for each in explorer.data()["columns"] if each["name"] == "digest")["kind"] == "text"
    assert label["words"] == ["", "cat", "dog"]
    assert _numbers(label["codes"], "<i4").tolist() == [1, 2, 1, 0, 2, 1]


def test_above_the_limit_the_pictures_lie_in_a_folder_and_leave_with_their_page(tmp_path, monkeypatch):
    report = make_report(30, size=8)
    monkeypatch.setattr(explore, "EMBEDDED", 20)
    files = report.save(tmp_path / "run", explore=True)
    folder = tmp_path / "run" / "explore"
    names = _data(files["explore.html"].read_text())["pictures"]["sheets"]
    assert names == ["explore/generated-0000.png"]
    assert {each.name for each in folder.iterdir()} == {"generated-0000.png", "nearest-train-0000.png"}
    assert "img-src data: 'self' file:" in files["explore.html"].read_text()
    assert 'href="explore.html"' in files["report.html"].read_text()
    assert "data:image" not in files["explore.html"].read_text()

    (tmp_path / "run" / "gate.json").write_text("{}")  # another file: the folders cannot be exchanged
    again = report.save(tmp_path / "run")
    assert "explore.html" not in again
    assert not folder.exists(), "thumbnails of an earlier run"
    assert not (tmp_path / "run" / "explore.html").exists()
    assert 'href="explore.html"' not in again["report.html"].read_text()
    assert (tmp_path / "run" / "gate.json").exists()


def test_the_page_is_written_where_it_costs_little_or_is_asked_for(monkeypatch):
    report = make_report(30, size=8)
    assert wanted(report, "auto") == (True, "")
    assert wanted(report, False) == (False, "")
    monkeypatch.setattr(explore, "EMBEDDED", 20)
    written, reason = wanted(report, "auto")
    assert not written
    assert "explore=true" in reason
    assert wanted(report, True)[0]
    assert not wanted(make_report(30, pictures=False), True)[0], "features have no pictures"
    assert not wanted(make_report(0), True)[0]


def test_of_more_images_than_a_page_holds_evenly_spaced_ones_are_shown_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(explore, "MOST", 10)
    report = make_report(37, size=8)
    explorer = Explorer(report)
    explorer.pictures(None)
    assert explorer.chosen.tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert "10 of 37 images, evenly spaced" in explorer.html()
    values = next(each for each in explorer.data()["columns"] if each["name"] == "vulnerability")
    assert np.array_equal(_numbers(values["numbers"], "<f8"), report.images["vulnerability"][explorer.chosen])
