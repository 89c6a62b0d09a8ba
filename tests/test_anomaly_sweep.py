"""The anomaly measure's settings swept in one command, and its presets chosen by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.errors import DONE


def test_a_sweep_of_the_papers_parameters_is_one_command(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    samples, real = make_images("samples", 4), make_images("real", 5, seed=1)
    keys = [*tiny, "metric=[as,as_i]", "anomaly.path_steps=3", "anomaly.attack_steps=2", "metric.as.fn.permutations=9"]
    keys += ["metric.as.fn.bootstraps=9"]
    # five images are no 64, which is as many as an attack of images this small takes at a time
    monkeypatch.setattr("genaudit.measures.vulnerability.attack_group", lambda size: 5)
    sweep = ["--multirun", "anomaly.eps=0.05,0.01", "anomaly.direction=gaussian,uniform"]
    assert main(["evaluate", str(samples), f"reference={real}", *keys, *sweep]) == DONE
    reports = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/multirun/*/*/report.json"))]
    settings = [next(iter(report["measures"].values()))["about"] for report in reports]
    assert [(each["eps"], each["direction"]) for each in settings] == [
        (0.05, "gaussian"),
        (0.05, "uniform"),
        (0.01, "gaussian"),
        (0.01, "uniform"),
    ]
    assert len({next(iter(report["measures"].values()))["fingerprint"] for report in reports}) == 4
    details = reports[0]["metrics"]["as"]["details"]
    assert {"noise_share_generated", "noise_share_reference", "null_mean", "null_95", "gap"} <= set(details)
    assert details["complexity"]["expected"] == "generated lower"


def test_the_robust_preset_gives_standard_errors_and_levels_in_images_csv(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    samples, real = make_images("samples", 6), make_images("real", 5, seed=1)
    keys = [*tiny, "anomaly=robust", "metric=[as_i]", f"out={out}"]
    assert main(["evaluate", str(samples), f"reference={real}", *keys]) == DONE
    heads = (out / "images.csv").read_text().splitlines()[0].split(",")
    assert {"as_i", "as_i_se", "as_i_level", "complexity_se", "vulnerability_se"} <= set(heads)
    assert "as_i_level" in (out / "report.html").read_text()


def test_the_papers_one_draw_has_no_standard_errors_and_that_is_no_fault(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    """Columns of measured numbers may be empty, where features must be finite."""
    keys = [*tiny, "anomaly=paper", "anomaly.path_steps=3", "anomaly.attack_steps=1", "metric=[as_i]"]
    assert main(["evaluate", str(make_images("samples", 3)), *keys, f"out={tmp_path / 'out'}"]) == DONE
    lines = [line.split(",") for line in (tmp_path / "out" / "images.csv").read_text().splitlines()]
    assert "complexity" in lines[0]
    assert "complexity_se" not in lines[0]
