"""The four files: schema, exact columns, the same bytes for the same inputs, and never half written."""

from __future__ import annotations

import csv
import json
import math
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from genaudit.reports import html
from genaudit.reports.files import json_text, write
from genaudit.reports.report import MetricEntry, Report

from .synthetic import HOSTILE, Clouds, make_report

SCHEMA = json.loads((files("genaudit.reports") / "schema.json").read_text())


@pytest.fixture
def plain_html(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "render", lambda report, **also: "<!doctype html>")


def test_the_schema_is_a_schema_and_every_report_fits_it(tmp_path, plain_html):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for n in (0, 1, 40):
        document = json.loads(write(make_report(n), tmp_path)["report.json"].read_text())
        jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_report_json_has_full_precision_and_null_with_a_warning_for_what_is_not_finite(tmp_path, plain_html):
    report = make_report(40)
    document = json.loads(write(report, tmp_path)["report.json"].read_text())
    assert document["schema"] == "genaudit/report/2"
    ends = {"lower": 0.15, "upper": 0.26, "better": "lower", "real": None, "real_ratio": None}
    assert document["metrics"]["as"]["values"]["as"] == {"value": 0.2} | ends
    assert document["metrics"]["mine"]["values"]["mine"]["value"] == 1234567.125
    assert document["metrics"]["irs"]["details"]["settings"]["alpha"] == 0.5
    assert math.isnan(report.metrics["as_i"].values["as_i_mean"].value)
    assert document["metrics"]["as_i"]["values"]["as_i_mean"]["value"] is None
    lost = [warning for warning in document["warnings"] if warning["code"] == "non-finite"]
    assert [warning["metric"] for warning in lost] == ["as_i"]
    assert lost[0]["message"].endswith(": as_i_mean.")
    assert {"code": "model-not-validated", "metric": "as"}.items() <= document["warnings"][1].items()
    assert list(document["images"]) == ["generated", "reference", "train"]
    assert document["images"]["generated"]["skipped"][0]["name"] == "a<script>.png"


def test_report_json_is_the_same_bytes_whatever_the_order_of_what_has_none():
    first = make_report(30)
    second = make_report(30, created="2026-01-01T00:00:00")
    second.environment = dict(reversed(first.environment.items()))
    second.measures = dict(reversed(second.measures.items()))
    second.roles = dict(reversed(second.roles.items()))
    second.roles["reference"].converted = {"P": 2, "L": 60}
    second.roles["generated"].skipped = list(reversed(second.roles["generated"].skipped))
    first_document, second_document = first.to_dict(), second.to_dict()
    assert first_document.pop("created") != second_document.pop("created")
    assert json_text(first_document) == json_text(second_document)


def test_metrics_csv_has_one_row_a_value_and_empty_cells_for_no_number(tmp_path, plain_html):
    with open(write(make_report(40), tmp_path)["metrics.csv"], newline="") as stream:
        rows = list(csv.reader(stream))
    assert ",".join(rows[0]) == (
        "metric,name,value,lower,upper,better,measure,n_generated,n_reference,n_train,"
        "real,real_lower,real_upper,real_ratio,real_n,real_source,at_real_n"
    )
    assert rows[1] == ["as", "as", "0.2", "0.15", "0.26", "lower", "anomaly", "40", "60", "30", *[""] * 7]
    assert rows[2] == ["as_i", "as_i_mean", "", "", "", "none", "anomaly", "40", "60", "30", *[""] * 7]
    assert [row[1] for row in rows[1:]] == ["as", "as_i_mean", "as_i_median", "learned", "irs_inf", "mine"]


def test_images_csv_reads_back_hostile_names_exactly_and_names_the_nearest_images(tmp_path, plain_html):
    report = make_report(40)
    path = write(report, tmp_path)["images.csv"]
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "name",
        "digest",
        "complexity",
        "vulnerability",
        "nearest_train",
        "nearest_train_distance",
    ]
    for name, row in zip(HOSTILE, rows[: len(HOSTILE)], strict=True):
        assert row["name"] == name.encode("utf-8", "backslashreplace").decode()
    assert len(rows) == 40
    assert rows[3]["complexity"] == ""  # NaN
    assert float(rows[0]["complexity"]) == report.metrics["as"].result.complexity[0]
    assert rows[5]["nearest_train"] == f"train/{report.metrics['irs'].result.nearest[5]:03d}.png"
    assert rows[0]["digest"] == report.images["digest"][0]
    assert len(rows[0]["digest"]) == 32


def test_equal_columns_are_not_repeated_and_namesakes_are_prefixed():
    report = make_report(10)
    same, other = report.metrics["as"].result.complexity, np.arange(10.0)
    entries = {
        "as": report.metrics["as"],
        "again": MetricEntry("again", Clouds(0.1, complexity=same), {}, "anomaly"),
        "other": MetricEntry("other", Clouds(0.1, complexity=other), {}, "anomaly"),
        "short": MetricEntry("short", Clouds(0.1, complexity=other[:4]), {}, "anomaly"),
    }
    made = Report("", "", {}, {}, 0, {}, {}, entries, images={"name": report.names["generated"]})
    assert list(made.images) == ["name", "complexity", "vulnerability", "other_complexity"]
    assert [(warning.code, warning.metric) for warning in made.warnings if warning.code == "column-shape"] == [
        ("column-shape", "short")
    ]


def test_without_images_the_files_are_still_whole(tmp_path, plain_html):
    report = Report("", "", {}, {}, 0, {}, {}, {"mine": MetricEntry("mine", 0.5, {"generated": 3}, "embedding")})
    paths = write(report, tmp_path)
    assert paths["images.csv"].read_text() == "name,digest\n"
    jsonschema.validate(json.loads(paths["report.json"].read_text()), SCHEMA)


@pytest.mark.parametrize("broken", ["html", "json"])
def test_a_failure_in_the_middle_leaves_the_earlier_files_and_no_temporary_ones(tmp_path: Path, monkeypatch, broken):
    monkeypatch.setattr(html, "render", lambda report, **also: "<!doctype html>")
    report = make_report(5)
    before = {name: path.read_bytes() for name, path in write(report, tmp_path).items()}

    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(*((html, "render", fail) if broken == "html" else (Report, "to_dict", fail)))
    with pytest.raises(RuntimeError, match="disk is full"):
        write(make_report(7), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(RuntimeError, match="disk is full"):
        write(make_report(7), tmp_path / "fresh")
    assert list((tmp_path / "fresh").iterdir()) == []
