"""`genaudit list`, and what the command line says to words that were meant otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.tasks.listing import _group
from genaudit.tasks.run.metric_list import QUESTIONS, cost_of, in_default, metrics_table, questions_of


def test_every_metric_says_which_question_it_answers_and_what_it_costs() -> None:
    for name, config, _ in _group("metric"):
        for node in config.values():
            assert questions_of(node), name
            assert set(questions_of(node)) <= set(QUESTIONS) - {""}
            assert cost_of(node)[0].isdigit(), name


def test_the_table_keeps_whole_numbers_and_says_of_which_roles_one_is_needed() -> None:
    _, rows = metrics_table(list(_group("metric")), in_default())
    shown = {row[0]: row for row in rows if row}
    assert shown["ais"][3] == "20,000 steps"  # 500 temperatures, 4 chains, 10 leapfrog steps
    assert shown["irs"][2] == "train or reference"
    assert shown["authpct"][2] == "[reference], train"
    assert shown["ct"][2] == "reference, train"


def test_one_metric_says_on_which_network_it_is_what_its_authors_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "metrics", "fd"]) == DONE
    assert "feature_model=fid_inception: on another network it is no FID" in capsys.readouterr().out


def test_the_default_set_is_evaluates() -> None:
    from genaudit.tasks.run.from_python import compose

    assert sorted(in_default()) == sorted(compose("evaluate", []).metric)


def test_metrics_stand_under_their_questions_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    options = list(_group("metric"))
    header, rows = metrics_table(options, in_default())
    assert all(len(row) == len(header) for row in rows)
    heads = [row[0] for row in rows if row[0] in QUESTIONS.values()]
    assert heads == [text for question, text in QUESTIONS.items() if question]
    named = [row[0] for row in rows if row[0] and row[0] not in heads]
    assert sorted(named) == sorted(name for name, _, _ in options)
    marked = {row[0] for row in rows if row[1] == "default"}
    assert marked == set(in_default())
    assert main(["list", "metrics"]) == DONE
    shown = capsys.readouterr().out
    places = [shown.index(each) for each in ("Are the samples good?", "\nfd ", "Are they diverse?", "\nvendi ")]
    assert places == sorted(places)


def test_a_metric_of_ones_own_stands_under_no_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metric").mkdir()
    text = "own:\n  measure: ${feature_model}\n  fn: {_target_: genaudit.metrics.kernel.judge, _partial_: true}\n"
    (tmp_path / "metric" / "own.yaml").write_text(text)
    assert main(["list", "metrics", "--config-dir", str(tmp_path)]) == DONE
    shown = capsys.readouterr().out
    assert shown.index("Of other questions") < shown.index("\nown ")


@pytest.mark.parametrize("name", ["prdc", "recall"])
def test_all_of_one_metric(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "metrics", name]) == DONE
    shown = capsys.readouterr().out
    for each in ("in the default set  yes", "reference", "1 pass", "recall: ↑ higher is better", "metric.prdc.fn.k=5"):
        assert each in shown
    assert "Kynkäänniemi" in shown
    assert "genaudit.metrics.prdc.judge" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "gen", "ref"], "did you mean reference=ref?"),
        (["reject", "gen", "images"], "did you mean train=images?"),
        (["gate", "run", "other"], "did you mean baseline=other?"),
        (["evaluate", "a", "b", "c"], "unexpected argument 'b': settings are written key=value"),
        (["explain", "a", "b"], "unexpected argument 'b': settings"),
        (["evaluate", "gen", "metric=[precision]"], "'precision' is a value of prdc: write metric=[prdc]"),
        (["evaluate", "gen", "metric=[kd,irs_inf]"], "'irs_inf' is a value of irs: write metric=[irs]"),
        (["evaluate", "gen", "metric=[fid]"], "unknown metric 'fid'; did you mean fd?"),
        (["evaluate", "gen", "feature_model=resnet18"], "feature_model=timm feature_model.name=resnet18"),
        (["list", "metrics", "fdd"], "there is no metric 'fdd': did you mean fd"),
        (["list", "tables", "x"], "of tables all are listed"),
        (["list", "metrics", "a", "b"], "unexpected argument"),
    ],
)
def test_what_was_meant_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == USER
    assert said in capsys.readouterr().err
