"""`genaudit compare` over a folder of runs: which runs it finds, differences from a baseline, orders and fronts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.errors import DONE, USER, UserError
from genaudit.tasks.run.finished import find_runs

METRICS = "metric=[fd,prdc]"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two generated sets, one of them shifted; `jobs` is the folder that Hydra made."""
    folder = tmp_path_factory.mktemp("sweep")
    rng = np.random.default_rng(0)
    for name, shift in (("reference", 0.0), ("good", 0.0), ("bad", 1.0)):
        np.savez(folder / f"{name}.npz", features=(rng.normal(size=(100, 5)) + shift).astype(np.float32))
    generated = f"generated={folder / 'good.npz'},{folder / 'bad.npz'}"
    keys = [f"reference={folder / 'reference.npz'}", METRICS, f"store={folder / 'store'}", "progress=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["evaluate", "--multirun", generated, *keys]) == DONE
    (made,) = (folder / "runs" / "multirun").iterdir()  # by Hydra, and named after the time
    made.rename(folder / "jobs")
    return folder


def compared(sweep: Path, out: Path, *words: str) -> dict[str, Any]:
    assert main(["compare", *words, f"store={sweep / 'store'}", f"out={out}", "progress=false"]) == DONE
    document: dict[str, Any] = json.loads((out / "comparison.json").read_text())
    return document


def test_a_sweeps_folder_is_compared_with_its_differences_from_a_baseline(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["baseline=good.npz", "sort=fd", "pareto=[fd,recall]"]
    document = compared(sweep, tmp_path / "out", str(sweep / "jobs"), *keys)
    assert [run["label"] for run in document["runs"]] == ["good.npz", "bad.npz"]
    assert document["sorted_by"] == "fd"
    assert document["pareto"]["front"] == ["good.npz"]
    differences = {each["name"]: each for each in document["differences"]}
    assert set(differences) == {"fd", "precision", "recall", "density", "coverage"}
    for each in differences.values():
        assert (each["run"], each["baseline"]) == ("bad.npz", "good.npz")
        assert each["test"].startswith("relabelling")
        assert each["difference"] == each["value"] - each["baseline_value"]
    assert differences["fd"]["differs"] is True
    assert differences["fd"]["improves"] is False
    assert differences["fd"]["p_value"] < 0.001
    shown = capsys.readouterr().out
    assert "less good.npz" in shown
    assert "Pareto front of fd and prdc.recall: good.npz" in shown
    with open(tmp_path / "out" / "runs.csv", newline="") as file:
        assert [line["run"] for line in csv.DictReader(file)] == ["good.npz", "bad.npz"]


def test_two_halves_of_one_law_do_not_differ_from_each_other(sweep: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(5).normal(size=(200, 5)).astype(np.float32)
    runs = []
    for name, part in (("one", rows[:100]), ("other", rows[100:])):
        np.savez(tmp_path / f"{name}.npz", features=part)
        keys = [f"reference={sweep / 'reference.npz'}", METRICS, f"store={sweep / 'store'}", "progress=false"]
        assert main(["evaluate", str(tmp_path / f"{name}.npz"), *keys, f"out={tmp_path / name}"]) == DONE
        runs.append(str(tmp_path / name))
    document = compared(sweep, tmp_path / "out", runs[0], f"baseline={runs[1]}")  # which need not be named twice
    assert len(document["differences"]) == 5
    assert not any(each["differs"] for each in document["differences"])


def test_what_a_shells_pattern_names_beside_the_runs_is_passed_over(sweep: Path, tmp_path: Path) -> None:
    jobs = sweep / "jobs"
    there = sorted(str(path) for path in jobs.iterdir())
    assert str(jobs / "multirun.yaml") in there
    found = [str(jobs / name) for name in ("0", "1")]
    for given in (there, [str(jobs / "multirun.yaml")], [str(jobs)], [str(jobs / "*")]):
        assert find_runs(given) == found, given
    assert find_runs([found[1], found[0]]) == [found[1], found[0]]
    assert find_runs([found[0], found[0]]) == [found[0]] * 2  # the same run twice was asked for
    assert find_runs([str(sweep)]) == found  # at any depth


def test_folders_without_runs_are_named(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no report.json, nor does a folder in it"):
        find_runs([str(tmp_path / "empty")])
    with pytest.raises(UserError, match=r"at least two runs.*is one"):
        find_runs([str(sweep / "jobs" / "0")])
    runs = str(sweep / "jobs")
    for key, said in (
        ("sort=fdd", "did you mean fd?"),
        ("baseline=nobody", "they are called"),
        ("pareto=[fd]", "two values"),
        ("pareto=[fd,nothing]", "the runs have no such value"),
    ):
        assert main(["compare", runs, key, f"out={tmp_path / 'out'}"]) == USER
        assert said in capsys.readouterr().err, key


def test_runs_that_were_judged_on_another_reference_are_not_tested(sweep: Path, tmp_path: Path) -> None:
    keys = [METRICS, f"store={sweep / 'store'}", "progress=false", f"out={tmp_path / 'other'}"]
    assert main(["evaluate", str(sweep / "good.npz"), f"reference={sweep / 'bad.npz'}", *keys]) == DONE
    other = str(tmp_path / "other")
    document = compared(sweep, tmp_path / "out", other, str(sweep / "jobs" / "0"), f"baseline={other}")
    assert all(each["p_value"] is None for each in document["differences"])
    assert {each["reason"] for each in document["differences"]} == {"the reference images differ"}
