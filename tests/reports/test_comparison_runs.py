"""Many finished runs: what was swept names them, steps order them; a front, an order by a value; no folded number."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from genaudit.errors import UserError
from genaudit.reports.comparison import Comparison, compare
from genaudit.reports.comparison_runs import Difference, front_of, run_named, sort_by
from genaudit.reports.files import json_text
from genaudit.reports.styled import Column, Fitted, shortened
from genaudit.reports.swept import labels_of_swept, steps_of, swept

from .synthetic import make_report


def finished(folder: Path, *, shift: float = 0.0, source: str = "samples", **config: Any) -> Path:
    folder.mkdir(parents=True)
    document = make_report(20, pictures=False, shift=shift).to_dict()
    document["images"]["generated"]["source"] = source
    document["config"] = {**document["config"], **config}
    (folder / "report.json").write_text(json_text(document), errors="backslashreplace")
    return folder


def of_steps(tmp_path: Path, shifts: dict[int, float]) -> Comparison:
    return compare([finished(tmp_path / f"{n}", shift=s, source=f"runs/step_{n}") for n, s in shifts.items()])


def shown(comparison: Comparison, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(comparison.console(plain=True))
    return stream.getvalue()


def test_runs_of_a_sweep_are_called_by_what_was_swept(tmp_path: Path) -> None:
    runs = [finished(tmp_path / f"{n}", seed=n, limit=limit) for n, limit in ((0, 5), (1, 5), (2, 9))]
    comparison = compare(runs)
    assert [run.label for run in comparison.runs] == ["seed=0, limit=5", "seed=1, limit=5", "seed=2, limit=9"]
    document = comparison.to_dict()
    assert document["swept"] == {"seed": ["0", "1", "2"], "limit": ["5", "5", "9"]}
    assert document["steps"] is None  # a seed is no step


def test_a_network_is_named_once_though_every_metric_holds_it() -> None:
    def config(name: str, k: int = 5) -> dict[str, Any]:
        network = {"_target_": "a.B", "name": name, "size": 8}
        return {"feature_model": network, "metric": {"prdc": {"measure": network, "fn": {"k": k}}}}

    keys = swept([config("resnet50"), config("dinov2")])
    assert keys == {"feature_model": ["resnet50", "dinov2"]}
    keys = swept([config("resnet50", 3), config("resnet50", 5)])
    assert labels_of_swept(keys, 2) == ["k=3", "k=5"]
    assert swept([config("resnet50")] * 2) == {}


@pytest.mark.parametrize(
    ("labels", "keys", "steps"),
    [
        (["step_9", "step_100"], {}, [9.0, 100.0]),
        (["a/epoch=3", "a/epoch=10"], {}, [3.0, 10.0]),
        (["model1/kimg000200", "model2/kimg000400"], {}, [200.0, 400.0]),
        (["m3_final_8", "m3_final_16"], {}, [8.0, 16.0]),  # alike but for one number
        (["m1_8", "m2_16"], {}, None),  # two numbers differ: which is the step?
        (["vae", "gan"], {}, None),
        (["step_9", "step_9/again"], {}, None),
        (["seed=0", "seed=1"], {"seed": ["0", "1"]}, None),
        (["step=10", "step=20"], {"sampler.step": ["10", "20"]}, [10.0, 20.0]),
    ],
)
def test_steps_are_read_where_there_is_no_doubt(
    labels: list[str], keys: dict[str, list[str]], steps: list[float] | None
) -> None:
    assert steps_of(labels, keys) == steps


def test_runs_with_steps_stand_in_their_order_with_their_cells(tmp_path: Path) -> None:
    comparison = of_steps(tmp_path, {200: 0.2, 9: 0.1, 30: 0.0})
    assert comparison.view.steps == [9.0, 30.0, 200.0]
    assert [run.label for run in comparison.runs] == ["step_9", "step_30", "step_200"]
    (row,) = [row for row in comparison.rows if row.name == "as"]
    assert [round(cell.value.value, 3) for cell in row.cells if cell] == [0.3, 0.2, 0.4]
    sort_by(comparison, "as")
    assert [run.label for run in comparison.runs] == ["step_30", "step_9", "step_200"]
    sort_by(comparison, "irs_inf")  # the larger the better, and it falls with the shift
    assert [run.label for run in comparison.runs] == ["step_30", "step_9", "step_200"]
    assert comparison.view.steps == [30.0, 9.0, 200.0]
    sort_by(comparison, "step")
    assert comparison.view.steps == [9.0, 30.0, 200.0]


def test_the_files_of_many_runs_hold_the_same(tmp_path: Path) -> None:
    comparison = of_steps(tmp_path, {1: 0.0, 2: 0.1})
    comparison.view.baseline = "step_1"
    names = ("irs", "irs_inf", "higher", "step_2", "step_1")
    comparison.view.differences = [Difference(*names, 0.5, 0.6, 0.01, True, "relabelling")]
    comparison.view.front = front_of(comparison, ["as", "irs_inf"])
    files = comparison.write(tmp_path / "out")
    document = json.loads(files["comparison.json"].read_text())
    with open(files["runs.csv"], newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["run"] for line in lines] == ["step_1", "step_2"]
    assert [float(line["step"]) for line in lines] == document["steps"] == [1.0, 2.0]
    for row in document["rows"]:
        for cell, line in zip(row["cells"], lines, strict=True):
            if cell["value"] is not None:
                assert float(line[f"{row['metric']}.{row['name']}"]) == cell["value"]
    (difference,) = document["differences"]
    assert difference["difference"] == pytest.approx(-0.1)
    assert difference["improves"] is False
    with open(files["differences.csv"], newline="") as stream:
        assert next(csv.DictReader(stream))["improves"] == "False"
    assert document["pareto"]["front"] == ["step_1"]
    page = files["comparison.html"].read_text()
    for text in ("Over the steps", "Less step_1", "Pareto front", "p = 0.01, worse"):
        assert text in page, text
    assert page.count("<script") == 1, "the page's own"


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8), st.booleans())
def test_the_front_is_what_no_other_run_beats(points: list[tuple[int, int]], twice: bool) -> None:
    from genaudit.reports.compared import RankedValue, Row, Run
    from genaudit.reports.values import Value

    points = points * (1 + twice)
    runs = [Run(str(place), Path(), {}) for place in range(len(points))]
    rows = [
        Row(name, name, better, tuple(RankedValue(Value(float(p[axis]), None, None, better)) for p in points))
        for axis, (name, better) in enumerate((("fd", "lower"), ("recall", "higher")))
    ]
    front = front_of(Comparison(runs, rows), ["fd", "recall"])
    on = {int(run) for run, _, _, is_on in front.points if is_on}
    gains = np.array([(-x, y) for x, y in points])
    for place, gain in enumerate(gains):
        beaten = ((gains >= gain).all(axis=1) & (gains > gain).any(axis=1)).any()
        assert (place in on) == (not beaten)


def test_names_that_are_not_there_are_answered_with_what_is(tmp_path: Path) -> None:
    comparison = of_steps(tmp_path, {1: 0.0, 2: 0.1})
    for wrong, said in (
        (["irs_in", "as"], "did you mean irs_inf"),
        (["as"], "two values"),
        (["as_i_median", "as"], "neither"),
    ):
        with pytest.raises(UserError, match=said):
            front_of(comparison, wrong)
    with pytest.raises(UserError, match="did you mean step_2"):
        run_named(comparison, "step_3", "baseline")
    assert run_named(comparison, str(tmp_path / "2"), "baseline") == 1
    assert run_named(comparison, "step_2", "baseline") == 1


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize("count", [2, 4, 9])
def test_no_number_is_folded(width: int, count: int, tmp_path: Path) -> None:
    """Every number, interval and rank of the widest console stands in a narrow one too, whole."""
    names = [f"a_folder_of_a_long_name/with_a_model/step_{n:06}" for n in range(count)]
    runs = [finished(tmp_path / f"{n}", shift=n / 30, source=name) for n, name in enumerate(names)]
    comparison = compare(runs)
    comparison.view.baseline = comparison.runs[0].label
    label = comparison.runs[1].label
    comparison.view.differences = [
        Difference("irs", "irs_inf", "higher", label, comparison.runs[0].label, 0.5123, 0.6, 0.0123, True, "test")
    ]
    text = shown(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    table = text[: text.index("Best in bold")]
    whole = shown(comparison, 1000)
    pattern = r"≈? ?-?[\d.]+ #\d+|[\d.]+ to [\d.]+"
    assert sorted(re.findall(pattern, table)) == sorted(re.findall(pattern, whole[: whole.index("Best in bold")]))
    assert "p = 0.012 worse" in text
    for n in range(count):
        assert f"step_{n:06}" in table  # the end of a name tells runs apart


def test_columns_that_do_not_fit_stand_in_a_further_table() -> None:
    names = [Column(Text("run"), [Text("a"), Text("b")])]
    columns = [Column(Text(f"value {n}"), [Text("1.234567"), Text("2")], right=True) for n in range(5)]
    parts = list(Fitted(names, columns).parts(36))
    assert [len(part) for part in parts] == [3, 2]
    assert [len(part) for part in Fitted(names, columns).parts(1)] == [1] * 5  # one column at the least
    assert shortened("x" * 28) == "x" * 28
    assert len(shortened("y" * 99)) == 28
