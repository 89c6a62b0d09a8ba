"""`genaudit compare column=...`: correlations of the runs' values with a user's numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.reports.files import json_text
from genaudit.tasks.compare import read_column

from .synthetic import make_report


def _runs(tmp_path: Path, names: list[str]) -> list[str]:
    paths = []
    for place, name in enumerate(names):
        folder = tmp_path / name
        folder.mkdir()
        document = make_report(10, pictures=False, shift=0.05 * place).to_dict()
        document["images"]["generated"]["source"] = f"samples/{name}"
        (folder / "report.json").write_text(json_text(document), errors="backslashreplace")
        paths.append(str(folder))
    return paths


def test_values_are_correlated_with_the_columns_numbers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runs = _runs(tmp_path, ["a", "b", "c", "d"])
    table = tmp_path / "people.csv"
    table.write_text("run,liked\nd,1\nc,2\nb,4\na,8\n")  # as grows with every run, people like each less
    out = tmp_path / "out"
    assert main(["compare", *runs, f"column={table}", f"out={out}"]) == DONE
    with open(out / "correlations.csv", newline="") as stream:
        rows = {(row["name"], row["kind"]): row for row in csv.DictReader(stream)}
    assert float(rows["as", "spearman"]["value"]) == pytest.approx(-1)
    assert float(rows["as", "kendall"]["upper"]) == pytest.approx(-1)
    assert -1 < float(rows["as", "pearson"]["value"]) < -0.8
    assert {row["n"] for row in rows.values()} == {"4"}
    document = json.loads((out / "comparison.json").read_text())
    assert len(document["correlations"]) == len(rows)
    page = (out / "comparison.html").read_text()
    assert "Correlations with liked" in page
    plots = page.split("<svg ")[1:]
    varied = {name for (name, _), row in rows.items() if row["value"]}  # equal values correlate with nothing
    assert len(plots) == len(varied)
    assert all(f">{name}<" in plots[0].replace(" ", "") for name in "abcd")
    assert "spearman" in capfd.readouterr().out


def test_the_human_study_is_there_with_its_41_models_and_names_runs_by_their_model(tmp_path: Path) -> None:
    numbers, name = read_column("human_error_rates", None)
    assert (len(numbers), name) == (41, "error_rate")
    assert numbers["cifar10/PFGMPP"] == 0.4358
    runs = _runs(tmp_path, ["PFGMPP", "ACGAN", "RESFLOW"])
    out = tmp_path / "out"
    assert main(["compare", *runs, "column=human_error_rates", f"out={out}"]) == DONE
    assert (out / "correlations.csv").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("run,x\na,1\n", "three runs"),
        ("name,x\na,1\n", "column `run`"),
        ("run,x,y\na,1,2\n", "column_name"),
        ("run,x\na,one\n", "not a number"),
    ],
)
def test_a_column_that_does_not_do_is_exit_code_2(
    content: str, word: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "column.csv").write_text(content)
    runs = _runs(tmp_path, ["a", "b", "c"])
    assert main(["compare", *runs, f"column={tmp_path / 'column.csv'}"]) == USER
    assert word in capfd.readouterr().err
