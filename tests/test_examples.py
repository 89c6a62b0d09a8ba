"""The examples run; only their sizes are made small."""

from __future__ import annotations

import gzip
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Fashion-MNIST's files with made images: a bright bar at a random place."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = np.zeros((60, 28, 28), np.uint8)
        for image in images:
            top = rng.integers(0, 20)
            image[top : top + 8] = rng.integers(100, 256)
        header = np.array([2051, 60, 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    return tmp_path


def test_the_training_loop_gates_its_checkpoints_and_leaves_a_report(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data)
    sizes = ["--steps", "4", "--every", "2", "--train", "60", "--samples", "40", "--width", "4"]
    sizes += ["--feature-model", "pixels"]
    monkeypatch.setattr(sys, "argv", ["train_and_gate.py", "--data", str(data), *sizes])
    runpy.run_path(str(EXAMPLES / "train_and_gate.py"), run_name="__main__")
    shown = capsys.readouterr().out
    for step in (2, 4):  # noise, after so few steps
        assert f"step {step}: loss" in shown
    assert "reject after" in shown
    report = json.loads((data / "runs" / "flow" / "report.json").read_text())
    assert report["images"]["generated"]["count"] == 40
    assert {"kd", "prdc", "irs", "authpct"} <= set(report["metrics"])


def test_the_launchers_keys_are_those_of_the_launcher() -> None:
    """Against the fields of hydra-submitit-launcher 1.2, which is not installed here."""
    import yaml

    known = {
        *("submitit_folder", "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes"),
        *("name", "stderr_to_stdout", "partition", "qos", "comment", "constraint", "exclude", "gres", "cpus_per_gpu"),
        *("gpus_per_task", "mem_per_gpu", "mem_per_cpu", "account", "signal_delay_s", "max_num_timeout"),
        *("additional_parameters", "array_parallelism", "setup"),
    }
    keys = set(yaml.safe_load((EXAMPLES / "slurm" / "hydra" / "launcher" / "gpu.yaml").read_text()))
    assert keys - {"defaults"} <= known
