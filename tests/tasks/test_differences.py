"""Whether runs differ is decided by a test on the rows that they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.errors import DONE
from genaudit.reports.decisions import holm
from genaudit.stats.two_sets import relabelling_pvalues


def _run(folder: Path, store: Path, generated: np.ndarray, reference: np.ndarray, *more: str) -> str:
    """An evaluated run of features, given in files."""
    folder.mkdir()
    for name, rows in (("generated", generated), ("reference", reference)):
        np.savez(folder / f"{name}.npz", features=rows.astype(np.float32))
    given = [str(folder / "generated.npz"), f"reference={folder / 'reference.npz'}"]
    out = folder / "run"
    assert main(["evaluate", *given, f"store={store}", f"out={out}", "progress=false", *more]) == DONE
    return str(out)


def _compared(out: Path, store: Path, *runs: str) -> dict[str, Any]:
    assert main(["compare", *runs, f"store={store}", f"out={out}", "progress=false"]) == DONE
    document: dict[str, Any] = json.loads((out / "comparison.json").read_text())
    return document


@pytest.fixture
def laws() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 6)), rng.normal(size=(120, 6)), rng.normal(size=(120, 6)) + 0.8


METRICS = "metric=[fd,kd,prdc]"


def test_a_shifted_run_differs_and_a_run_of_the_same_law_does_not(laws: Any, tmp_path: Path) -> None:
    reference, good, shifted = laws
    other = np.random.default_rng(1).normal(size=(120, 6))
    runs = [
        _run(tmp_path / name, tmp_path / "store", rows, reference, METRICS)
        for name, rows in (("a", good), ("b", other), ("c", shifted))
    ]
    document = _compared(tmp_path / "out", tmp_path / "store", *runs)
    rows = {row["name"]: row for row in document["rows"]}
    for name in ("fd", "kd"):
        assert "relabelling" in rows[name]["test"]
        differs = [cell["differs_from_best"] for cell in rows[name]["cells"]]
        assert differs[2] is True
        assert sorted(map(str, differs[:2])) == ["False", "None"]
    assert not [each for each in document["warnings"] if each["code"] == "no-rows"]


def test_without_rows_it_says_so_and_falls_back_to_the_intervals(laws: Any, tmp_path: Path) -> None:
    reference, good, shifted = laws
    first, second = (
        _run(tmp_path / name, tmp_path / "store", rows, reference, METRICS)
        for name, rows in (("a", good), ("b", shifted))
    )
    (tmp_path / "b" / "generated.npz").unlink()
    document = _compared(tmp_path / "out", tmp_path / "store", first, second)
    (warning,) = [each for each in document["warnings"] if each["code"] == "no-rows"]
    assert "fd, kd, prdc" in warning["message"]
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["fd"]["test"] == "standard errors of the intervals"
    assert rows["fd"]["cells"][1]["differs_from_best"] is True


def test_unequal_counts_have_no_rank_until_they_are_made_equal(laws: Any, tmp_path: Path) -> None:
    reference, good, shifted = laws
    runs = [
        _run(tmp_path / name, tmp_path / "store", rows, reference, METRICS)
        for name, rows in (("a", good), ("b", shifted[:60]))
    ]
    document = _compared(tmp_path / "out", tmp_path / "store", *runs)
    rows = {row["name"]: row for row in document["rows"]}
    assert [cell["rank"] for cell in rows["fd"]["cells"]] == [None, None]
    assert "equal_n" in rows["fd"]["unranked"]
    assert [cell["rank"] for cell in rows["kd"]["cells"]] == [1, 2]  # unbiased at any number
    document = _compared(tmp_path / "equal", tmp_path / "store", *runs, "equal_n=true")
    rows = {row["name"]: row for row in document["rows"]}
    assert [cell["rank"] for cell in rows["fd"]["cells"]] == [1, 2]
    assert any(each["code"] == "equal-n" and "60 generated" in each["message"] for each in document["warnings"])


def test_halves_of_one_set_are_called_different_no_more_often_than_the_level() -> None:
    # 300 pairs at the level 0.05: at most 0.05 + 4·sqrt(0.05·0.95/300) = 0.10; and a shift is found.
    rng = np.random.default_rng(0)

    def statistic(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(rows.mean()), "largest": float(rows.max()), "spread": float(rows.var())}

    found = [
        relabelling_pvalues(statistic, rng.exponential(size=(40, 1)), rng.exponential(size=(30, 1)), seed=i)
        for i in range(300)
    ]
    for name in ("mean", "largest", "spread"):
        assert np.mean([each[name] < 0.05 for each in found]) < 0.10, name
    shifted = relabelling_pvalues(statistic, rng.exponential(size=(40, 1)), rng.exponential(size=(30, 1)) + 2)
    assert shifted["mean"] < 1e-4


def test_holms_correction_counts_questions_that_were_not_asked() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, float("nan")], 10)[0] == pytest.approx(0.1)
    assert np.isnan(holm([0.01, float("nan")])[1])


def test_unequal_numbers_are_said_for_the_metrics_that_they_bias_and_intervals_say_what_they_are_about(
    laws: Any, tmp_path: Path
) -> None:
    reference, good, _ = laws
    run = Path(_run(tmp_path / "a", tmp_path / "store", good[:60], reference, METRICS))
    report = json.loads((run / "report.json").read_text())
    (warning,) = [each for each in report["warnings"] if each["code"] == "counts-differ"]
    assert warning["message"].startswith("fd, prdc: 60 generated and 120 reference images")
    assert "over new generated and reference images" in report["metrics"]["kd"]["values"]["kd"]["interval"]
