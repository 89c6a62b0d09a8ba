"""A report in a notebook: text, HTML, frames, figures."""

from __future__ import annotations

import html.parser
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genaudit
from genaudit import UserError
from genaudit.reports.report import Report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    rng = np.random.default_rng(0)
    arrays = {role: rng.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8) for role in ("generated", "reference", "train")}
    keys = {"feature_model.size": 8, "store": str(tmp_path_factory.mktemp("store")), "progress": False}
    return genaudit.evaluate(**arrays, metrics=["fd", "prdc", "irs"], feature_model="pixels", **keys)


@pytest.mark.parametrize("notebook", [False, True])
def test_a_report_shows_as_the_consoles_table(notebook: bool, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: notebook)  # where rich shows tables on its own
    lines = repr(report).splitlines()
    heads = [line.split()[:2] for line in lines]
    assert heads[0] == ["Are", "the"]  # the verdict's first question
    assert ["network", "pixels:"] in heads  # what everything was measured on
    assert ["metric", "value"] in heads
    assert any(line.split()[:2] == ["prdc", "precision"] for line in lines)
    assert max(map(len, lines)) <= 110
    assert len(repr(report)) < 20_000
    assert "\x1b" not in repr(report)


def test_a_notebook_shows_a_table_whose_text_is_escaped(report: Report) -> None:
    class Cells(html.parser.HTMLParser):
        cells: list[str] = []  # noqa: RUF012
        tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.tags.append(tag)
            if tag == "td":
                self.cells.append("")

        def handle_data(self, data: str) -> None:
            if self.cells:
                self.cells[-1] += data

    report.skipped_metrics["evil"] = "<script>alert(1)</script>"
    try:
        parser = Cells()
        parser.feed(report._repr_html_())
    finally:
        del report.skipped_metrics["evil"]
    assert {"fd", "precision", "irs_relative"} <= set(parser.cells)
    assert "script" not in parser.tags


def test_values_are_had_by_their_names(report: Report) -> None:
    assert report["fd"] is report.metrics["fd"]
    assert report["precision"] == report.metrics["prdc"].values["precision"]
    with pytest.raises(KeyError, match="there are fd, prdc"):
        report["recal"]


def test_frames_hold_what_the_files_hold(report: Report, tmp_path: Path) -> None:
    import pandas

    report.save(tmp_path)
    values, images = report.to_frame(), report.images_frame()
    pandas.testing.assert_frame_equal(values, pandas.read_csv(tmp_path / "metrics.csv"), check_dtype=False)
    written = pandas.read_csv(tmp_path / "images.csv", dtype={"name": str, "digest": str})
    pandas.testing.assert_frame_equal(images, written, check_dtype=False)
    pandas.testing.assert_frame_equal(images, pandas.read_parquet(tmp_path / "images.parquet"), check_dtype=False)
    assert values.set_index("name").loc["precision", "value"] == report["precision"].value


def test_a_run_without_pyarrow_leaves_no_parquet_of_an_earlier_run(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report.save(tmp_path)
    assert (tmp_path / "images.parquet").exists()
    monkeypatch.setattr("genaudit.reports.files.find_spec", lambda name: None)
    (tmp_path / "notes.txt").touch()  # the folder is not exchanged as a whole then
    report.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "explore.html",
        "report.json", "metrics.csv", "images.csv", "report.html", "notes.txt"
    }  # fmt: skip


def test_a_pyarrow_that_does_not_fit_the_other_packages_counts_as_none(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = importlib.import_module

    def fail(name: str, package: str | None = None) -> Any:
        if name == "pyarrow":
            raise ImportError("pyarrow requires NumPy 2.0 or newer, found 1.26.0")
        return load(name, package)

    monkeypatch.setattr("genaudit.reports.files.importlib.import_module", fail)
    report.save(tmp_path / "run")
    assert (tmp_path / "run" / "images.csv").exists()
    assert not (tmp_path / "run" / "images.parquet").exists()


def test_frames_without_pandas_say_what_to_install(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"genaudit-images\[frames\]"):
        report.to_frame()


def test_the_pages_plots_are_figures(make_images: Callable[..., Path], tmp_path: Path) -> None:
    keys = {"feature_model.name": "test_resnet", "feature_model.pretrained": False, "feature_model.size": 32}
    made = genaudit.evaluate(
        str(make_images("a", 12)), str(make_images("b", 12, seed=1)), metrics=["as"], feature_model="timm", **keys
    )
    figures = made.figures()
    assert figures
    for title, figure in figures.items():
        assert figure.get_suptitle() == title
        figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_dir_lists_what_there_is() -> None:
    assert set(dir(genaudit)) == set(genaudit.__all__)
    for name in genaudit.__all__:
        assert getattr(genaudit, name) is not None
