"""The runs' verdicts in a comparison: first in every format, and no rank for the diversity of a model that copies."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from genaudit.reports.comparison import compare

from .test_comparison import cells, run


def judged(memorised: str = "no", quality: str = "as_real", **more: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        each = {"evidence": [], "next": None}
        document["verdict"] = {
            "rule": "verdict/1",
            "comparable": {"answer": "yes", "findings": []},
            "quality": {"answer": quality, "sentence": "Of <b>numbers</b>.", **each},
            "diversity": {"answer": "cannot_tell", "sentence": "Few.", "evidence": [], "next": "Give more."},
            "memorised": {"answer": memorised, "sentence": "Of copies.", **each},
            **more,
        }
        values = document["metrics"]["irs"]["values"]
        values["irs_alpha"] = {**values["irs_inf"], "better": "higher"}

    return change


def test_the_verdicts_are_the_first_rows_of_every_format(tmp_path: Path) -> None:
    paths = [run(tmp_path / "a", change=judged()), run(tmp_path / "b", change=judged("yes", "much_worse"))]
    comparison = compare([*paths, run(tmp_path / "c")])  # c: of an earlier version, without a verdict
    written = comparison.write(tmp_path / "out")
    document = json.loads(written["comparison.json"].read_text())
    assert [each["question"] for each in document["verdicts"]] == ["quality", "diversity", "memorised"]
    assert list(document).index("verdicts") < list(document).index("rows")
    assert [(each["run"], each["answer"]) for each in document["verdicts"][0]["cells"]] == [
        ("a", "as_real"),
        ("b", "much_worse"),
    ]
    with open(written["comparison.csv"], newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(each["metric"], each["name"], each["run"], each["value"]) for each in lines[:6]] == [
        ("verdict", question, label, answers[label == "b"])
        for question, answers in (
            ("quality", ("as_real", "much_worse")),
            ("diversity", ("cannot_tell", "cannot_tell")),
            ("memorised", ("no", "yes")),
        )
        for label in ("a", "b")
    ]
    assert all(each["metric"] != "verdict" and None not in each.values() for each in lines[6:])
    stream = io.StringIO()
    Console(file=stream, width=160).print(comparison.console(plain=True))
    printed = stream.getvalue().splitlines()
    assert printed[1].split()[:2] == ["verdict", "quality"]
    assert "much worse than real images" in printed[1]
    page = written["comparison.html"].read_text()
    body = page[page.index("<tbody") :]
    assert body.index("Are they memorised?") < body.index('scope="rowgroup">as')
    assert "Of &lt;b&gt;numbers" in body


def test_runs_without_verdicts_have_no_such_rows(tmp_path: Path) -> None:
    comparison = compare([run(tmp_path / "a"), run(tmp_path / "b")])
    assert comparison.verdicts == []
    assert "Are they" not in comparison.write(tmp_path / "out")["comparison.html"].read_text()


@pytest.mark.parametrize("answer", ["some", "yes", "no", "cannot_tell"])
def test_the_diversity_of_a_model_that_copies_has_no_rank_and_its_other_values_have(tmp_path: Path, answer) -> None:
    # b is the best of all by every value that a shift moves: irs_inf falls, as rises with it
    shifts = (("a", 0.05), ("b", 0.0), ("c", 0.3))
    paths = [run(tmp_path / k, shift=by, change=judged(answer if k == "b" else "no")) for k, by in shifts]
    comparison = compare(paths)
    copies = answer in ("some", "yes")
    for name in ("irs_inf", "irs_alpha"):
        found = cells(comparison, name)
        assert [each.rank for each in found] == ([1, None, 2] if copies else [2, 1, 3])
        assert [bool(each.unranked) for each in found] == [False, copies, False]
        assert (found[1].p_value is None) == copies or found[1].rank == 1
        assert found[0].overlaps_best is True
    assert [each.rank for each in cells(comparison, "as")] == [2, 1, 3]
    stream = io.StringIO()
    Console(file=stream, width=160).print(comparison.console(plain=True))
    (line,) = [each for each in stream.getvalue().splitlines() if "irs_inf " in each]
    assert ("†" in line) == copies
    page = comparison.write(tmp_path / "out")["comparison.html"].read_text()
    assert ("no rank: it repeats training images" in page) == copies


def test_a_copying_model_without_an_interval_leaves_the_others_ranks(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        judged("yes")(document)
        document["metrics"]["irs"]["values"]["irs_inf"].update(lower=None, upper=None)

    comparison = compare([run(tmp_path / "a"), run(tmp_path / "b", change=change), run(tmp_path / "c", shift=0.1)])
    assert [each.rank for each in cells(comparison, "irs_inf")] == [1, None, 2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d["measures"]["anomaly"].update(fingerprint="00" * 16), "measured differently"),
        (lambda d: d["metrics"]["as"]["n"].update(generated=400), "number of images"),
        (lambda d: d["images"]["reference"].update(digest="00" * 16), "reference images differ"),
    ],
)
def test_what_was_measured_otherwise_has_no_rank(tmp_path: Path, change, why: str) -> None:
    comparison = compare([run(tmp_path / "a"), run(tmp_path / "b", shift=0.1, change=change)])
    (row,) = [row for row in comparison.rows if row.name == "as"]
    assert [each.rank for each in row.cells] == [None, None]
    assert why in row.unranked
    page = comparison.write(tmp_path / "out")["comparison.html"].read_text()
    assert f"no rank: {row.unranked}" in page
