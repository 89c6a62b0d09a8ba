"""Reports in trackers: TensorBoard's own files read back; Weights & Biases and MLflow by stand-ins for their clients.

wandb and mlflow are not installed for the tests. The stand-ins take what wandb's `Run.log(data, step)` and `wandb.Table
(columns, data)` and mlflow's `log_metrics(metrics, step)` and `log_text(text, artifact_file)` take, by those names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import genaudit
from genaudit.errors import UserError
from genaudit.integrations.loggers import numbers, to_mlflow, to_tensorboard, to_wandb


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng = np.random.default_rng(0)
    generated, reference = rng.integers(0, 256, (2, 12, 8, 8, 3), dtype=np.uint8)
    return genaudit.evaluate(
        generated=generated,
        reference=reference,
        metrics=["kd", "irs"],
        feature_model="pixels",
        store=str(tmp_path_factory.mktemp("store")),
    )


def test_numbers_are_the_reports(report: Any) -> None:
    found = numbers(report, "x/")
    document = report.to_dict()["metrics"]
    for metric, entry in document.items():
        for name, each in entry["values"].items():
            for end, place in (("value", ""), ("lower", "_lower"), ("upper", "_upper")):
                if each[end] is None:
                    assert f"x/{metric}/{name}{place}" not in found
                else:
                    assert found[f"x/{metric}/{name}{place}"] == each[end]
    assert len(found) > 5


def test_tensorboard_shows_the_numbers(report: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in (100, 200):
            written = to_tensorboard(report, writer, step)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(written)
    for name, value in written.items():
        seen = events.Scalars(name)
        assert [each.step for each in seen] == [100, 200]
        assert seen[0].value == pytest.approx(value, rel=1e-6)  # float32 in the file
    assert bool(report.warnings) == any("warnings" in tag for tag in events.Tags()["tensors"])


def test_weights_and_biases_gets_one_record(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[tuple[dict[str, Any], int | None]] = []

    class Run:
        def log(self, data: dict[str, Any], step: int | None = None) -> None:
            records.append((data, step))

    class Table:
        def __init__(self, columns: list[str], data: list[list[Any]]) -> None:
            self.columns, self.data = columns, data

    assert to_wandb(report, Run(), 7) == records[0][0] == numbers(report, "genaudit/")
    assert records[0][1] == 7
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=Run(), Table=Table))
    to_wandb(report, table=True)
    table = records[1][0]["genaudit/images"]
    assert table.columns[:2] == ["name", "digest"]
    assert len(table.data) == 12
    assert all(len(row) == len(table.columns) for row in table.data)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None, Table=Table))
    with pytest.raises(UserError, match=r"wandb\.init"):
        to_wandb(report)


def test_mlflow_gets_numbers_and_the_document(report: Any) -> None:
    logged: dict[str, Any] = {}

    class Client:
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            logged["metrics"] = metrics, step

        def log_text(self, text: str, artifact_file: str) -> None:
            logged[artifact_file] = text

    to_mlflow(report, Client(), 3)
    assert logged["metrics"] == (numbers(report, "genaudit/"), 3)
    assert json.loads(logged["genaudit/report.json"]) == report.to_dict()
    # MLflow's names may hold letters, digits and these
    assert all(set(name) <= set("_-. /") | set(filter(str.isalnum, name)) for name in logged["metrics"][0])


@pytest.mark.parametrize(("call", "name"), [(to_wandb, "wandb"), (to_mlflow, "mlflow")])
def test_a_missing_tracker_is_named(report: Any, call: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"pip install {name}"):
        call(report)
