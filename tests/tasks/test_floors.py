"""The real floor of a run, from rows that are measured anyway."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genaudit
from genaudit.metrics import authpct, ct, frechet, irs, kernel, prdc
from genaudit.metrics.vendi import vendi_score
from genaudit.tasks.run.judging import values_of

METRICS = ["irs", "fd", "kd", "prdc", "vendi", "authpct", "ct"]


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {role: rng.normal(size=(n, 6)).astype(np.float32) for role, n in
            (("generated", 160), ("reference", 160), ("train", 250))}  # fmt: skip


def test_the_floor_of_what_takes_train_is_the_metrics_own_number_of_real_images(rows, tmp_path: Path) -> None:
    report = genaudit.evaluate(**rows, metrics=METRICS, store=tmp_path, progress=False)
    real = {name: each.real for entry in report.metrics.values() for name, each in entry.values.items()}
    # as many reference images as generated ones: the floor is judged on all of them
    assert real["authpct"].value == pytest.approx(report.metrics["authpct"].details["authpct_reference"], rel=1e-12)
    inf = report.metrics["irs"].values["irs_inf_reference"].value
    assert real["irs_inf"].value == pytest.approx(inf, rel=1e-12)
    assert {real[name].source for name in ("fd", "kd", "precision", "vendi")} == {"train"}
    assert {real[name].source for name in ("authpct", "irs_alpha")} == {"reference"}
    assert real["ct"].source == "reference_halves"
    assert real["irs_inf_reference"] is None
    for name in ("fd", "precision", "recall", "coverage"):
        assert real[name].lower < report.metrics["prdc" if name != "fd" else "fd"].values[name].value < real[name].upper
    assert real["vendi"].lower < vendi_score(rows["train"][:160]) < real["vendi"].upper


def test_training_images_that_are_reference_images_do_not_play(rows, tmp_path: Path) -> None:
    rows["train"] = np.concatenate([rows["reference"], rows["train"][:30]])
    report = genaudit.evaluate(**rows, metrics=["kd"], store=tmp_path, progress=False)
    assert report.metrics["kd"].values["kd"].real.n == 30


def test_points_are_the_values_of_the_metrics(rows) -> None:
    for name, module in (
        ("fd", frechet),
        ("kd", kernel),
        ("prdc", prdc),
        ("authpct", authpct),
        ("ct", ct),
        ("irs", irs),
    ):
        takes = {key: each for key, each in rows.items() if key in module.judge.__code__.co_varnames}
        rest = {key: each for key, each in takes.items() if key != "generated"}
        fast = values_of(name, module.judge, {}, confidence=0.95, seed=0)(**rest)(rows["generated"])
        whole = genaudit.reports.values.describe(module.judge(**takes), name).values
        assert fast
        for key, value in fast.items():
            assert value == pytest.approx(whole[key].value, rel=1e-9), key


def test_training_images_that_no_metric_takes_are_embedded_as_often_as_there_are_generated_ones(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    from genaudit.cli import main

    sets = [str(make_images(n, count, seed=s)) for n, count, s in (("gen", 24, 1), ("ref", 24, 2), ("train", 60, 3))]
    arguments = [sets[0], f"reference={sets[1]}", f"train={sets[2]}", *tiny, f"out={tmp_path / 'out'}"]
    assert main(["evaluate", *arguments, "metric=[fd]"]) == 0
    document: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text())
    (use,) = document["measures"].values()
    assert use["computed"] == 24 + 24 + 24
    floor = document["metrics"]["fd"]["values"]["fd"]["real"]
    assert (floor["n"], floor["source"]) == (24, "train")
    with open(tmp_path / "out" / "metrics.csv") as file:
        (row,) = csv.DictReader(file)
    assert float(row["real"]) == floor["value"]
    assert row["real_source"] == "train"
    assert "real images" in (tmp_path / "out" / "report.html").read_text()


def test_large_sets_have_a_verdict_from_parts_and_copies_in_them_are_found(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("genaudit.verdict.real_floor.PART", 150)
    monkeypatch.setattr("genaudit.verdict.real_floor.LONG", 1e5)
    rng = np.random.default_rng(7)
    rows = {role: rng.normal(size=(600, 4)).astype(np.float32) for role in ("generated", "reference", "train")}
    metrics = ["irs", "kd", "prdc", "authpct"]
    report = genaudit.evaluate(**rows, metrics=metrics, store=tmp_path, progress=False)
    assert {each.answer for each in report.verdict.answers.values()} <= {"as_real", "no"}
    for each in report.verdict.answers.values():
        assert "from parts of 150 images" in each.sentence
    assert report.to_dict()["metrics"]["kd"]["values"]["kd"]["real"]["from_parts"] is True
    # copies of other training images than a part of these would hold
    copies = rows["train"] + rng.normal(scale=0.02, size=(600, 4)).astype(np.float32)
    copied = genaudit.evaluate(**rows | {"generated": copies}, metrics=metrics, store=tmp_path, progress=False)
    assert copied.verdict.memorised.answer == "yes"
    narrow = rows["reference"][:5].repeat(120, 0) + rng.normal(scale=0.02, size=(600, 4)).astype(np.float32)
    few = genaudit.evaluate(**rows | {"generated": narrow}, metrics=metrics, store=tmp_path, progress=False)
    assert few.verdict.diversity.answer in ("worse", "much_worse")
