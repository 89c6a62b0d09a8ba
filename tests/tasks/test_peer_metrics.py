"""The peers' metrics through the command line: values, columns, cautions and reasons reach the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.errors import DONE, USER

OF_FEATURES = ("fd_infinity", "cmmd", "swd", "mind", "realism", "rarity", "fkea", "mifid", "fld", "cdc")


def _run(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, f"out={out}", "progress=false"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    return document


@pytest.fixture
def sets(make_images: Callable[..., Path]) -> tuple[str, str, str]:
    generated, reference, train = (str(make_images(n, 30, seed=s)) for n, s in (("gen", 1), ("ref", 2), ("train", 3)))
    return generated, f"reference={reference}", f"train={train}"


def test_all_of_one_pass_with_columns_and_cautions(sets: tuple[str, ...], tiny: list[str], tmp_path: Path) -> None:
    document = _run(
        tmp_path / "out", *sets, *tiny, f"metric=[{','.join(OF_FEATURES)}]", "metric.fkea.fn.frequencies=20",
        "metric.swd.fn.directions=10", "metric.mind.fn.directions=10",
    )  # fmt: skip
    assert set(document["metrics"]) == set(OF_FEATURES), document["skipped_metrics"]
    assert len(document["measures"]) == 1  # one embedding serves them all
    codes = {(warning["metric"], warning["code"]) for warning in document["warnings"]}
    assert ("cmmd", "another-network") in codes
    assert ("fd_infinity", "fewer-samples-than-dimensions") in codes
    values = {name: each["value"] for entry in document["metrics"].values() for name, each in entry["values"].items()}
    # Both take the directions of the run's seed: 3D times the square, D = 96.
    assert values["mind"] == pytest.approx(3 * 96 * values["swd"] ** 2, rel=1e-9)
    with open(tmp_path / "out" / "images.csv") as file:
        rows = list(csv.DictReader(file))
    assert np.median([float(row["realism"]) for row in rows]) == pytest.approx(values["realism_median"], rel=1e-6)
    rated = [float(row["rarity"]) for row in rows if row["rarity"]]
    assert np.mean(rated) == pytest.approx(values["rarity_mean"], rel=1e-6)


def test_logits_and_spatial_features_are_measures_of_their_own(sets: tuple[str, ...], tmp_path: Path) -> None:
    document = _run(
        tmp_path / "out", *sets[:2], "feature_model=efficientnet_lite0", "feature_model.size=32", "metric=[is,sfd]",
        "metric.is.fn.splits=3",
    )  # fmt: skip
    assert set(document["measures"]) == {"logits efficientnet_lite0", "spatial features efficientnet_lite0"}
    score = document["metrics"]["is"]["values"]["inception_score"]
    assert 1 <= score["lower"] <= score["value"] <= score["upper"] <= 1000
    assert document["metrics"]["is"]["details"]["classes"] == 1000
    (said,) = [each["message"] for each in document["warnings"] if each["code"] == "another-network"]
    assert said.startswith(
        "On efficientnet_lite0 is is no Inception Score and sfd is no sFID, which are defined on fid_"
    )


def test_a_network_without_classifier_ends_with_one_sentence(
    sets: tuple[str, ...], tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", sets[0], *tiny, "metric=[is]", f"out={tmp_path / 'out'}"]) == USER
    assert "has no classifier" in " ".join(capsys.readouterr().err.split())


def test_infinity_is_an_order_of_the_vendi_score(sets: tuple[str, ...], tiny: list[str], tmp_path: Path) -> None:
    base = _run(tmp_path / "a", sets[0], *tiny, "metric=[vendi]")
    other = _run(tmp_path / "b", sets[0], *tiny, "metric=[vendi]", "metric.vendi.fn.q=infinity")
    first, last = (each["metrics"]["vendi"]["values"]["vendi"]["value"] for each in (base, other))
    assert 1 <= last < first
    assert other["metrics"]["vendi"]["details"]["q"] == "infinity"
    assert "non-finite" not in {warning["code"] for warning in other["warnings"]}


def test_path_length_speaks_of_the_generator_and_asks_for_one(
    sets: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = (sets[0], "metric=[ppl]", "metric.ppl.measure.distance=l2")
    document = _run(tmp_path / "a", *keys, "generator=demo_vae")
    entry = document["metrics"]["ppl"]
    assert entry["values"]["ppl"]["value"] > 0
    assert entry["details"] | {"distance": "l2", "steps": 30} == entry["details"]
    again = _run(tmp_path / "b", *keys, "generator=demo_vae")
    assert again["metrics"]["ppl"] == entry
    assert main(["evaluate", *keys, f"out={tmp_path / 'c'}"]) == USER
    assert "a generator is needed" in " ".join(capsys.readouterr().err.split())
