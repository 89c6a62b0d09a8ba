"""FDr through the command line: its parts are added and reported, denominators are floors or published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import genaudit
from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.integrations.torchmetrics import Audit
from genaudit.tasks.run.finished import NoRows, judge_of

SETS = {"gen": (24, 1), "ref": (26, 2), "train": (30, 3)}
TWO = ("feature_model=[pixels,timm]", "feature_model.pixels.size=4", "feature_model.timm.name=test_resnet",
       "feature_model.timm.pretrained=false", "feature_model.timm.size=32")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    root = tmp_path_factory.mktemp("fdr")
    for name, (count, seed) in SETS.items():
        (root / name).mkdir()
        rng = np.random.default_rng(seed)
        for place in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / name / f"{place}.png")
    return root


def _run(folder: Path, out: str, *arguments: str) -> dict[str, Any]:
    roles = (str(folder / "gen"), f"reference={folder / 'ref'}", f"store={folder / 'store'}")
    assert main(["evaluate", *roles, *arguments, "progress=false", f"out={folder / out}"]) == DONE
    document: dict[str, Any] = json.loads((folder / out / "report.json").read_text())
    return document


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, Any]:
    return _run(folder, "two", *TWO, "metric=[fdr]", f"train={folder / 'train'}", "require=['fdr <= 100']")


def _ratio(entry: dict[str, Any]) -> float:
    value = entry["values"]["fd"]
    ours = value["value"] if value["real"]["generated"] is None else value["real"]["generated"]
    return float(ours / value["real"]["value"])


def test_fdr_alone_brings_fd_on_every_network_and_is_the_mean_of_its_real_ratios(two: dict[str, Any]) -> None:
    assert list(two["metrics"]) == ["fd@pixels", "fd@timm", "fdr"]
    ratios = {network: _ratio(two["metrics"][f"fd@{network}"]) for network in ("pixels", "timm")}
    entry = two["metrics"]["fdr"]
    assert entry["values"]["fdr"]["value"] == pytest.approx(sum(ratios.values()) / 2, rel=1e-12)
    assert entry["details"]["ratios"] == pytest.approx(ratios, rel=1e-12)
    assert entry["details"]["denominator_of"] == {"pixels": "train", "timm": "train"}
    assert entry["n"] == {"generated": 24, "reference": 26}
    assert set(entry["measure"].split(" + ")) == set(two["measures"])
    schema = json.loads(Path(genaudit.__file__).parent.joinpath("reports", "schema.json").read_text())
    jsonschema.validate(two, schema)


def test_one_network_has_its_own_ratio_and_moments_have_no_floor(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = ("feature_model=pixels", "feature_model.size=4")
    one = _run(folder, "one", *pixels, "metric=[fdr,fd]")
    assert one["metrics"]["fdr"]["values"]["fdr"]["value"] == pytest.approx(_ratio(one["metrics"]["fd"]), rel=1e-12)
    assert one["metrics"]["fdr"]["details"]["denominator_of"] == {"pixels": "reference_halves"}
    moments = folder / "moments.npz"
    assert main(["moments", str(folder / "ref"), f"out={moments}", *pixels, f"store={folder / 'store'}"]) == DONE
    roles = (str(folder / "gen"), f"reference={moments}", f"store={folder / 'store'}", f"out={folder / 'none'}")
    capsys.readouterr()
    assert main(["evaluate", *roles, *pixels, "metric=[fdr]"]) == USER
    assert "pixels has no denominator" in capsys.readouterr().err
    # an own denominator is one, and the report says whose it is
    own = _run(folder, "own", *pixels, "metric=[fdr]", f"reference={moments}", "+metric.fdr.fn.published.pixels=2.5")
    entry = own["metrics"]["fdr"]
    assert entry["values"]["fdr"]["value"] == pytest.approx(
        own["metrics"]["fd"]["values"]["fd"]["value"] / 2.5, rel=1e-12
    )
    assert entry["details"]["denominator_of"] == {"pixels": "published"}
    assert ("fdr", "published-denominators") in {(each["metric"], each["code"]) for each in own["warnings"]}


def test_a_name_of_ours_on_another_network_takes_the_floor(folder: Path) -> None:
    """feature_model.dinov2_l14 may be set to anything; its published denominator is that of DINOv2."""
    (folder / "own" / "preset").mkdir(parents=True, exist_ok=True)
    text = """# @package _global_
    defaults:
      - /feature_model@feature_model.dinov2_l14: pixels
      - /feature_model@feature_model.mine: pixels
      - override /feature_model: []
      - override /metric: [fdr]
    preset: {name: mine, source: me/mine, counts: {}}
    feature_model: {dinov2_l14: {size: 4}, mine: {size: 2}}
    metric: {fdr: {fn: {published: {dinov2_l14: 14.19, mine: 3.0, timm: 1.0}}}}
    """
    (folder / "own" / "preset" / "mine.yaml").write_text(text.replace("\n    ", "\n"))
    other = _run(folder, "other", "preset=mine", "--config-dir", str(folder / "own"))
    sources = {"dinov2_l14": "reference_halves", "mine": "published"}
    assert other["metrics"]["fdr"]["details"]["denominator_of"] == sources


def test_a_denominator_that_is_none_is_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles = (str(folder / "gen"), f"reference={folder / 'ref'}", "feature_model=pixels", "metric=[fdr]")
    for given in ("{pixels:0}", "{pixels:much}", "2"):
        assert main(["evaluate", *roles, f"metric.fdr.fn.published={given}", f"out={folder / 'bad'}"]) == USER
        said = capsys.readouterr().err
        assert "metric.fdr.fn.published must be a mapping (each value a positive number) or null" in said
        assert not (folder / "bad").exists()


def test_what_takes_rows_says_that_there_are_none(two: dict[str, Any]) -> None:
    with pytest.raises(NoRows, match="made of the values of fd"):
        judge_of(two, "fdr")
    with pytest.raises(Exception, match="fdr is made of real floors"):
        Audit(["fdr"], feature_model="pixels")


def test_without_a_reference_it_says_what_it_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["evaluate", str(folder / "gen"), "metric=[fdr]", "feature_model=pixels", f"out={folder / 'no'}"]) == USER
    )
    assert "fdr: needs reference=" in capsys.readouterr().err


def test_a_metric_that_is_no_mapping_is_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(folder / "gen"), "metric=[kd]", "+metric.extra=word"]) == USER
    assert "metric.extra must be a mapping" in " ".join(capsys.readouterr().err.split())


def test_a_measure_that_is_no_mapping_is_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(folder / "gen"), "metric=[kd]", "metric.kd.measure=word"]) == USER
    assert "a metric's measure must be a mapping with _target_" in " ".join(capsys.readouterr().err.split())
