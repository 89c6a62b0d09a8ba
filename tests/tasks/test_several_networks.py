"""A run with several networks gives what a run with each gives, and decodes every image once."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import genaudit
from genaudit.cli import main
from genaudit.data import ImageSet
from genaudit.errors import DONE, USER

TIMM = ("name=test_resnet", "pretrained=false", "size=32")
BOTH = ("feature_model=[pixels,timm]", "feature_model.pixels.size=8", *(f"feature_model.timm.{key}" for key in TIMM))
ALONE = {
    "pixels": ("feature_model=pixels", "feature_model.size=8"),
    "timm": ("feature_model=timm", *(f"feature_model.{key}" for key in TIMM)),
}
METRICS = ("metric=[fd,kd,prdc,as_i,is]", "anomaly.path_steps=3", "anomaly.attack_steps=2")


@pytest.fixture
def sets(make_images: Callable[..., Path]) -> tuple[str, str]:
    return str(make_images("gen", 24, seed=1)), f"reference={make_images('ref', 24, seed=2)}"


def _run(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, "progress=false", f"out={out}"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    return document


def test_values_are_those_of_each_network_alone_in_every_format(
    sets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = _run(tmp_path / "both", *sets, *BOTH, *METRICS, "skip=true", f"store={tmp_path / 'one'}")
    said = capsys.readouterr().out
    wanted: dict[str, Any] = {}
    for network, keys in ALONE.items():
        alone = _run(tmp_path / network, *sets, *keys, *METRICS, "skip=true", f"store={tmp_path / network}-store")
        wanted |= {f"{metric}@{network}": entry for metric, entry in alone["metrics"].items()}
        for measure, use in alone["measures"].items():
            assert both["measures"][measure]["fingerprint"] == use["fingerprint"]
    assert {"fd@pixels", "fd@timm", "prdc@timm", "as_i@pixels"} <= both["metrics"].keys()
    assert both["metrics"] == wanted
    assert "is@pixels" in both["skipped_metrics"]
    schema = json.loads(Path(genaudit.__file__).parent.joinpath("reports", "schema.json").read_text())
    jsonschema.validate(both, schema)
    with (tmp_path / "both" / "metrics.csv").open() as file:
        assert {row["metric"] for row in csv.DictReader(file)} == wanted.keys()
    with (tmp_path / "both" / "images.csv").open() as file:
        columns = next(csv.reader(file))
    assert {"as_i@pixels", "as_i@timm"} <= set(columns)
    page = (tmp_path / "both" / "report.html").read_text()
    assert "fd@timm" in page
    assert "Distance between Gaussians" in page  # explained by the metric's own name
    assert "fd@pixels" in said
    (again,) = [line for line in both["command"].split() if line.startswith("feature_model=[")]
    assert again == BOTH[0]


def test_each_image_is_decoded_once_whatever_is_asked(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    original = ImageSet.read

    def read(self: ImageSet, index: int) -> np.ndarray:
        counted[f"{self.policy.role} {self.names[index]}"] += 1
        return original(self, index)

    monkeypatch.setattr(ImageSet, "read", read)
    genaudit.evaluate(
        generated=str(make_images("gen", 7, seed=1)),
        reference=str(make_images("ref", 6, seed=2)),
        metrics=["fd", "kd", "is", "sfd", "as_i", "llr"],
        feature_model=["efficientnet_lite0", "pixels"],
        density_model="fashion_mnist",
        general_model="png",
        store=str(tmp_path / "rows"),
        progress=False,
        skip=True,
        **{
            "feature_model.efficientnet_lite0.size": 32,
            "feature_model.pixels.size": 8,
            "anomaly.path_steps": 2,
            "anomaly.attack_steps": 1,
        },
    )
    assert len(counted) == 13
    assert set(counted.values()) == {1}


def test_a_metric_that_one_network_cannot_give_is_absent_there_alone(sets: tuple[str, str], tmp_path: Path) -> None:
    lite = ("feature_model=[efficientnet_lite0,pixels]", "feature_model.efficientnet_lite0.size=32")
    document = _run(tmp_path / "out", sets[0], *lite, "metric=[is]")
    assert list(document["metrics"]) == ["is@efficientnet_lite0"]
    assert "has no classifier" in document["skipped_metrics"]["is@pixels"]
    assert main(["evaluate", sets[0], "feature_model=[pixels,timm]", "feature_model.timm.name=test_vit",
                 "feature_model.timm.pretrained=false", "metric=[is]", f"out={tmp_path / 'x'}"]) == USER  # fmt: skip


def test_features_have_one_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", features=np.random.default_rng(0).normal(size=(20, 4)))
    file = str(tmp_path / "a.npz")
    assert main(["evaluate", file, f"reference={file}", *BOTH, "metric=[fd]", f"out={tmp_path / 'x'}"]) == USER
    assert "several networks" in capsys.readouterr().err


def test_runs_of_several_networks_are_compared_network_by_network(
    make_images: Callable[..., Path], sets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, generated in (("first", sets[0]), ("second", str(make_images("other", 24, seed=3)))):
        _run(tmp_path / name, generated, sets[1], *BOTH, "metric=[fd,kd]", f"store={tmp_path / 'rows'}")
    words = ["compare", str(tmp_path / "first"), str(tmp_path / "second"), f"store={tmp_path / 'rows'}"]
    assert main([*words, "relabellings=20", f"out={tmp_path / 'comparison'}", "progress=false"]) == DONE
    document = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    rows = {row["metric"]: row for row in document["rows"]}
    assert rows.keys() == {"fd@pixels", "fd@timm", "kd@pixels", "kd@timm"}
    # the rows are found again and the metric's own function judges them: no fall-back to intervals
    assert not [each for each in document["warnings"] if each["code"] == "no-rows"]
