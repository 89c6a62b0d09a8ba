"""The peers' metrics through the command line: values, columns, cautions and reasons reach the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from genaudit.cli import main
from genaudit.data import open_images
from genaudit.demo import load_vae_decoder
from genaudit.errors import DONE, USER
from genaudit.store import Store

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
    prints = {name: each["fingerprint"] for name, each in document["measures"].items()}
    logits = Store(tmp_path / "store").rows_of(
        document["images"]["generated"]["digest"], prints["logits efficientnet_lite0"]
    )
    # torch-fidelity's order, thirds of it, and exp of the mean divergence from each third's mean prediction
    order, scores = np.random.RandomState(2020).permutation(30), []
    for part in np.split(np.asarray(logits, np.float64)[order], 3):
        log_p = log_softmax(part, axis=1)
        scores.append(np.exp((np.exp(log_p) * (log_p - np.log(np.exp(log_p).mean(axis=0)))).sum(axis=1).mean()))
    assert score["value"] == pytest.approx(np.mean(scores), rel=1e-9)
    # Student's t of 2 degrees of freedom at 97.5 %; a score is 1 at least
    half = 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)
    expected = [max(1, np.mean(scores) - half), np.mean(scores) + half]
    assert [score["lower"], score["upper"]] == pytest.approx(expected, rel=1e-6)
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


def _mean_speed(folder: str) -> float:
    """E |dG(z(t))/dt|^2 / pixels along the slerp of each image's latents, by forward-mode derivatives in float64."""
    decoder, speeds = load_vae_decoder().double(), []
    for digest in open_images(folder).digests:
        random = torch.Generator().manual_seed(int.from_bytes(digest.tobytes()[:8], "little") % 2**63)
        a, b = torch.randn(2, 10, generator=random, dtype=torch.float64)
        t = torch.rand((), generator=random).double()
        angle = torch.arccos(torch.nn.functional.cosine_similarity(a, b, dim=0))

        def image(t: torch.Tensor, a: torch.Tensor = a, b: torch.Tensor = b, w: torch.Tensor = angle) -> torch.Tensor:
            return decoder(((((1 - t) * w).sin() * a + (t * w).sin() * b) / w.sin())[None])

        _, speed = torch.func.jvp(image, (t,), (torch.ones_like(t),))
        speeds.append(float(speed.square().mean()))
    return float(np.mean(speeds))


def test_path_length_speaks_of_the_generator_and_asks_for_one(
    sets: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = (sets[0], "metric=[ppl]", "metric.ppl.measure.distance=l2")
    document = _run(tmp_path / "a", *keys, "generator=demo_vae")
    entry = document["metrics"]["ppl"]
    assert entry["details"]["mean_of_all"] == pytest.approx(_mean_speed(sets[0]), rel=0.02)  # steps of 1e-4 in float32
    assert entry["details"] | {"distance": "l2", "steps": 30} == entry["details"]
    again = _run(tmp_path / "b", *keys, "generator=demo_vae")
    assert again["metrics"]["ppl"] == entry
    assert main(["evaluate", *keys, f"out={tmp_path / 'c'}"]) == USER
    assert "a generator is needed" in " ".join(capsys.readouterr().err.split())
