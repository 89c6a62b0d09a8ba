"""Assertions for other projects' tests, and the page that shows them in continuous integration."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from genaudit import demo
from genaudit.cli import main
from genaudit.integrations.testing import assert_diverse, assert_metrics
from tests.forked import codes_of, start

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ci.md"


def _colours(count: int, seed: int, base: np.ndarray | None = None) -> np.ndarray:
    """(count, 8, 8, 3) uint8: every image a colour of its own, or of those of `base`."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (count, 1, 1, 3)) if base is None else base[rng.integers(0, len(base), count)]
    return np.broadcast_to(colours, (count, 8, 8, 3)).astype(np.uint8)


TRAIN = _colours(800, 0)
KEYS: dict[str, Any] = {"feature_model": "pixels", "feature_model.size": 8}


def test_diverse_samples_pass_and_collapsed_ones_do_not() -> None:
    verdict = assert_diverse(_colours(400, 1, TRAIN[:, :1, :1]), TRAIN, irs_target=0.8, **KEYS)
    assert verdict.decision == "accept"
    with pytest.raises(
        AssertionError, match=r"not diverse enough for irs_target=0\.8: 100 samples retrieve \d different"
    ):
        assert_diverse(_colours(100, 1, TRAIN[:3, :1, :1]), TRAIN, irs_target=0.8, **KEYS)


def test_too_few_samples_fail_unless_they_may_pass() -> None:
    few = _colours(5, 1, TRAIN[:, :1, :1])
    with pytest.raises(AssertionError, match=r"undecided.*more samples"):
        assert_diverse(few, TRAIN, irs_target=0.8, **KEYS)
    assert assert_diverse(few, TRAIN, irs_target=0.8, undecided="pass", **KEYS).decision == "undecided"
    with pytest.raises(ValueError, match="fail or pass"):
        assert_diverse(few, TRAIN, undecided="maybe", **KEYS)


def test_bounds_of_metrics_hold_or_are_named() -> None:
    generated, reference, keys = _colours(50, 1), TRAIN[:60], {"metrics": ["kd", "prdc"], **KEYS}
    report = assert_metrics(generated, reference, below={"kd": 1e9}, above={"precision": 0.0}, **keys)
    assert set(report.metrics) == {"kd", "prdc"}
    with pytest.raises(AssertionError, match=r"precision is [0-9.]+, not above 1.5; .*recall"):
        assert_metrics(generated, reference, above={"precision": 1.5, "recall": 2}, **keys)
    with pytest.raises(AssertionError, match="kd"):
        assert_metrics(generated, reference, below={"kd": report.metrics["kd"].values["kd"].value}, by="upper", **keys)
    with pytest.raises(ValueError, match="there are kd, precision"):
        assert_metrics(generated, reference, below={"fid": 1}, **keys)
    for wrong in ({}, {"below": {"kd": 1}, "by": "middle"}):
        with pytest.raises(ValueError, match=r"below=|by must be"):
            assert_metrics(generated, reference, **wrong, **keys)


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as the page supposes it: samples/, train/ and held_out/, here the demo's."""
    monkeypatch.chdir(tmp_path)
    for name, own in (("samples.zip", "vae"), ("train.zip", "train"), ("held_out.zip", "held_out")):
        (tmp_path / name).symlink_to(demo.path(own))
    return tmp_path


def test_the_pages_workflow_is_one_and_its_commands_run(project: Path) -> None:
    (text,) = _blocks("yaml")
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    (job,) = workflow["jobs"].values()
    assert job["runs-on"].startswith("ubuntu")
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
    commands = [line for step in job["steps"] for line in step.get("run", "").splitlines()]
    own = [line for line in commands if line.startswith("genaudit ")]
    assert len(own) == 2
    quick = ["feature_model=pixels", "feature_model.size=8"]
    for line in own:
        assert main([*shlex.split(line)[1:], *quick]) in (0, 3, 4)
    assert "pytest" in " ".join(commands)
    (summary,) = [line.split()[1] for line in commands if "GITHUB_STEP_SUMMARY" in line]
    assert "| rule | value |" in (project / summary).read_text()


def test_the_pages_test_file_runs(project: Path) -> None:
    (text,) = _blocks("python")
    own = '**{"feature_model": "pixels", "feature_model.size": 8}'
    quick = text.replace("irs_target=0.5", f"irs_target=0.5, {own}").replace("above={", f"{own}, above={{")
    assert quick.count(own) == 2
    (project / "test_samples.py").write_text(quick)
    codes_of(start(_pytest, ["-q", "-p", "no:cacheprovider", "test_samples.py"], out=project / "printed.txt"))
    said = (project / "printed.txt").read_text()
    # whether the demo's samples are good enough is not the question: every test ran and judged
    assert re.search(r"2 (passed|failed)|1 failed, 1 passed", said), said
    assert set(re.findall(r"^E +([\w.]*Error)\b", said, flags=re.M)) <= {"AssertionError"}


def _pytest(arguments: list[str]) -> int:
    """As in a process that no test has started."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    return int(pytest.main(arguments))


def test_the_examples_of_the_page_on_integrations_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.with_name("integrations.md").read_text()
    metrics, trackers = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    names: dict[str, Any] = {}
    exec(metrics, names)
    assert {"kd", "precision", "recall", "density", "coverage", "authpct"} == set(names["values"])
    low, high = names["interval"]
    assert low <= float(names["values"]["precision"]) <= high
    exec(trackers, names)
    assert list((tmp_path / "logs").iterdir())
