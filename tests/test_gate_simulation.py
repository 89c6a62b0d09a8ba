"""A short version of scripts/gate_simulation.py: level and power on Gaussian features, beside the former gate."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "gate_simulation.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate_simulation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gate_simulation", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SAMPLES", (250,))
    monkeypatch.setattr(module, "TARGETS", (0.8, 1.0))
    return module


def test_perfect_models_pass_and_collapsed_ones_do_not_where_the_former_gate_rejects_all(
    script: ModuleType, tmp_path: Path
) -> None:
    """32 dimensions: retrieval is uneven, and Eq. 9 rejects perfect models."""
    seeds = 12
    records = []
    for seed in range(seeds):
        models = ["perfect", "tenth"] if seed < 3 else ["perfect"]
        name, found = script.work(("gaussian", 32, 400, seed, models))
        records += found
        with (tmp_path / "gaussian.jsonl").open("a") as stream:
            stream.write(json.dumps({"name": name, "records": found}) + "\n")

    def rate(**what: object) -> float:
        chosen = [each["rejected"] for each in records if all(each[key] == value for key, value in what.items())]
        assert chosen, what
        return float(np.mean(chosen))

    perfect = [e["rejected"] for e in records if e["model"] == "perfect" and e["mode"] != "former"]
    # 96 decisions that share 12 training sets; half of them (target 0.8) lie far below alpha
    assert np.mean(perfect) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / seeds / 2)
    assert rate(model="perfect", mode="former", calibration="held_out_train", target=1.0) > 0.9
    for mode in ("fixed", "sequential"):
        assert rate(model="tenth", mode=mode, calibration="reference") == 1
        # 80 of 400 training images are set aside: a tenth is seen in most runs
        assert rate(model="tenth", mode=mode, calibration="held_out_train") >= 0.5
    shown = script.tables(tmp_path)
    assert "Perfect models rejected at alpha = 0.05" in shown
    assert "| reference | fixed | 0.8 |" in shown
