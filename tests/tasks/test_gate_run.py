"""Rules on the command line: on a run as it ends, and on finished runs without measuring again."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import genaudit
from genaudit.cli import hydra_arguments, main
from genaudit.errors import DONE, REJECTED, UNDECIDED, USER, UserError
from genaudit.integrations.testing import assert_metrics
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.rules import read_rules
from genaudit.verbs import VERBS

DOCS = Path(__file__).resolve().parents[2] / "docs"
METRICS = ("metric=[fd,kd,prdc]", "progress=false")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of a reference, of a good model and of a shifted one, and a finished run of each."""
    folder = tmp_path_factory.mktemp("gate")
    rng = np.random.default_rng(0)
    for name, shift in (("reference", 0.0), ("good", 0.0), ("bad", 1.0), ("twin", 0.0)):
        np.savez(folder / f"{name}.npz", features=(rng.normal(size=(120, 6)) + shift).astype(np.float32))
    for name in ("good", "bad", "twin"):
        assert evaluate(folder, name) == DONE
    return folder


def evaluate(folder: Path, name: str, *more: str, out: str = "") -> int:
    sources = [str(folder / f"{name}.npz"), f"reference={folder / 'reference.npz'}"]
    return main(["evaluate", *sources, *METRICS, f"store={folder / 'store'}", f"out={folder / (out or name)}", *more])


def gate(folder: Path, name: str, *more: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and gate.json where the gate judged."""
    out = folder / "gates"
    shutil.rmtree(out, ignore_errors=True)
    code = main(["gate", str(folder / name), f"store={folder / 'store'}", f"out={out}", *more])
    document = json.loads((out / "gate.json").read_text()) if (out / "gate.json").exists() else {}
    return code, document


def test_exit_codes_of_a_finished_run(place: Path) -> None:
    assert gate(place, "good", "require=recall >= 0.5")[0] == DONE
    code, document = gate(place, "bad", "require=['recall <= 1', 'recall >= 0.99']")
    assert code == REJECTED
    assert [each["holds"] for each in document["rules"]] == [True, False]
    lower = json.loads((place / "good" / "report.json").read_text())["metrics"]["prdc"]["values"]["recall"]["lower"]
    between = f"require=recall >= {lower + 0.001}"
    assert gate(place, "good", between)[0] == DONE
    assert gate(place, "good", between, "strict=true")[0] == UNDECIDED
    assert gate(place, "good", f"require=recall >= {lower}", "strict=true")[0] == DONE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["require=recal >= 1"], "did you mean recall?"),
        (["require=recall >> 1"], "character 9"),
        (["require=[recall > 0, fid < 3]"], "there is no value 'fid'"),
        (["require=[]"], "there is no rule in it"),
        (["require=[3]"], "require must be"),
        ([], "gate needs rules"),
        (["strict=true"], "belongs to rules"),
        (["require=nowhere.yaml"], "require=nowhere.yaml cannot be read"),
        (["require=recall >= baseline"], "give baseline=RUN"),
        (["require=recall >= baseline", "baseline=nowhere"], "nowhere does not exist"),
        (["require=recall >= 0", "strict=perhaps"], "strict must be true or false"),
        (["require=recall >= 0", "relabellings=3"], "relabellings must be"),
        (["require=recall >= 0", "requires=1"], "did you mean require"),
    ],
)
def test_what_a_user_can_mend(place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = gate(place, "good", *arguments)
    shown = capsys.readouterr().err
    assert code == USER
    assert said in shown
    assert "Traceback" not in shown
    assert not document


def test_a_run_that_is_none(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = "require=recall >= 0.5"
    (tmp_path / "report.json").write_text('{"schema": "genaudit/report/1"}')
    (tmp_path / "empty").mkdir()
    for run, said in (
        (tmp_path / "no", "does not exist"),
        (tmp_path / "empty", "no report.json"),
        (tmp_path, "does not fit"),
    ):
        assert main(["gate", str(run), rule]) == USER
        assert said in capsys.readouterr().err
        assert main(["gate", str(place / "good"), "require=recall >= baseline", f"baseline={run}"]) == USER
        assert said in capsys.readouterr().err
    assert main(["gate", rule]) == USER
    assert "gate needs a run" in capsys.readouterr().err


def test_the_files_stand_beside_the_report_unless_told_otherwise(place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "good", tmp_path / "run")
    assert main(["gate", str(run / "report.json"), "require=recall >= 0.5"]) == DONE
    assert {"gate.json", "gate.xml", "gate.md", "report.json"} <= {path.name for path in run.iterdir()}
    before = (run / "report.json").read_bytes()
    assert main(["gate", str(run), "require=recall >= 2"]) == REJECTED
    log = (run / "log.txt").read_text()  # each judgement adds to the log of the run
    places = [log.index(text) for text in ("genaudit evaluate", "gate passed", "gate failed", "exit code 3")]
    assert places == sorted(places)
    assert log.count("genaudit gate") == 2
    assert json.loads((run / "gate.json").read_text())["passed"] is False
    assert (run / "report.json").read_bytes() == before


def test_rules_come_from_a_file_a_list_or_a_string(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("require:\n  - recall >= 0.6  # most of it\n  - verdict.memorised != yes\n")
    assert [str(each) for each in read_rules(str(file))] == ["recall >= 0.6", "verdict.memorised != yes"]
    assert [str(each) for each in read_rules("fd < 3")] == ["fd < 3"]
    assert [str(each) for each in read_rules(["fd < 3", "kd < 2"])] == ["fd < 3", "kd < 2"]
    for text, said in (
        ("require: recall >= 0.6", None),
        ("- recall >= 0.6", "under the key require"),
        ("require: []", "there is no rule in it"),
        ("require: [1]", "1 is no rule"),
        ("require: [{a: b}]", "is no rule"),
        ("require: [a > 1]\nstrict: true", "unknown key 'strict'"),
        ("require: [", "is no YAML"),
        ("", "under the key require"),
        ("require: ['recall >> 1']", "character 9"),
        ("\x00", "is no YAML"),
    ):
        file.write_text(text)
        if said is None:
            assert len(read_rules(str(file))) == 1
        else:
            with pytest.raises(UserError, match=said):
                read_rules(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no YAML"):
        read_rules(str(file))
    with pytest.raises(UserError, match="cannot be read"):
        read_rules(str(tmp_path))


@pytest.mark.parametrize(
    ("word", "arrives"),
    [
        ("require=recall >= 0.6", "require='recall >= 0.6'"),
        ("require=[recall >= 0.6, kd<=baseline+0.1]", "require=['recall >= 0.6','kd<=baseline+0.1']"),
        ("require=['recall >= 0.6', \"kd <= 3\"]", "require=['recall >= 0.6', \"kd <= 3\"]"),
        ("require=[verdict.memorised!=yes]", "require=['verdict.memorised!=yes']"),
        ("require=rules.yaml", "require='rules.yaml'"),
        ("require=null", "require=null"),
        ("require=['a, b'.lower > 1, c > 2]", "require=['\\'a, b\\'.lower > 1','c > 2']"),
        ("require=${x} > 1", "require='\\${x} > 1'"),
    ],
)
def test_rules_arrive_as_they_were_typed(word: str, arrives: str) -> None:
    assert hydra_arguments("gate", ["run", word])[-1] == arrives


def test_an_evaluation_is_judged_after_its_report_is_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(place, "bad", "require=[recall >= 0.99, fd.lower > 0]", out="judged") == REJECTED
    shown = capsys.readouterr().out
    assert (
        shown.index("report.json")
        < shown.index("gate failed")
        < shown.index("recall >= 0.99")
        < shown.index("gate.xml")
    )
    there = {path.name for path in (place / "judged").iterdir()}
    assert {"report.json", "report.html", "gate.json", "gate.xml", "gate.md"} <= there
    with_rules, without = (json.loads((place / name / "report.json").read_text()) for name in ("judged", "bad"))
    for document in (with_rules, without):
        for key in ("created", "environment", "measures"):
            del document[key]
    assert with_rules == without  # rules judge a report and are no part of it
    # the gate of a run that is replaced is not left beside the new one
    assert evaluate(place, "good", out="judged") == DONE
    assert not (place / "judged" / "gate.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["require=recal >= 1"], "there is no value 'recal': did you mean recall? (metric= chooses"),
        (["require=vendi >= 1"], "there is no value 'vendi'"),
        (["require=recall >"], "the rule ends"),
        (["require=verdict.quality != bad"], "its answers are"),
        (["require=recall >= baseline"], "give baseline=RUN"),
        (["baseline=somewhere"], "belongs to rules"),
        (["require=irs_inf > 0", "metric=[irs,prdc]", "reference=null", "skip=true"], "metric irs needs"),
    ],
)
def test_bad_rules_are_found_before_anything_is_measured(
    place: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("genaudit.tasks.evaluate.measure_roles", lambda *_: pytest.fail("it was measured"))
    assert evaluate(place, "good", *arguments, out="never") == USER
    assert said in capsys.readouterr().err
    assert not (place / "never").exists()


def test_a_baseline_is_read_before_its_place_is_taken(place: Path) -> None:
    assert evaluate(place, "good", out="last") == DONE
    rules = ["require=['recall >= baseline - 0.1', 'fd <= baseline * 1.2']", f"baseline={place / 'last'}"]
    assert evaluate(place, "bad", *rules, out="last") == REJECTED
    document = json.loads((place / "last" / "gate.json").read_text())
    assert document["rules"][1]["baseline"] < document["rules"][1]["value"]


def test_a_difference_is_tested_on_the_rows_that_runs_share(place: Path) -> None:
    rules = ["require=['fd <= baseline', 'kd <= baseline']", f"baseline={place / 'good'}"]
    for name, differs in (("bad", True), ("twin", False)):
        _, document = gate(place, name, *rules)
        for each in document["rules"]:
            assert each["difference"]["test"].startswith("relabelling")
            assert each["difference"]["exceeds_interval"] is differs
            assert (each["difference"]["p_value"] < 0.01) is differs
            assert each["difference"]["value"] == pytest.approx(each["value"] - each["baseline"])
    _, document = gate(place, "bad", *rules, "relabellings=0")
    assert {each["difference"]["test"] for each in document["rules"]} == {None}
    assert document["rules"][1]["difference"]["exceeds_interval"] is True  # by the intervals


def test_a_run_of_other_real_images_is_not_compared(place: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", features=np.random.default_rng(9).normal(size=(120, 6)).astype(np.float32))
    sources = [str(place / "good.npz"), f"reference={tmp_path / 'other.npz'}"]
    assert main(["evaluate", *sources, *METRICS, f"store={place / 'store'}", f"out={tmp_path / 'run'}"]) == DONE
    code, document = gate(place, "good", "require=fd <= baseline + 100", f"baseline={tmp_path / 'run'}")
    assert code == UNDECIDED
    assert document["rules"][0]["reason"] == "not comparable with the baseline: the reference images differ"


def test_each_run_of_a_pattern_is_judged_and_the_last_one_decides(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("reference", "step_2", "step_10")):
        make_images(name, 24, seed=seed)
    monkeypatch.chdir(tmp_path)
    keys = ["reference=reference", "metric=[kd]", "feature_model=pixels", "feature_model.size=4", "progress=false"]
    assert main(["evaluate", "step_*", *keys, "out=all"]) == DONE
    first, last = (
        json.loads((tmp_path / "all" / name / "report.json").read_text())["metrics"]["kd"]["values"]["kd"]["value"]
        for name in ("step_2", "step_10")
    )
    assert first != last
    sign = "<" if last < first else ">"  # which the last one keeps and the first one breaks
    rule = f"require=kd {sign} {(first + last) / 2!r}"
    assert main(["evaluate", "step_*", *keys, "out=all", rule]) == DONE
    passed = [json.loads((tmp_path / "all" / n / "gate.json").read_text())["passed"] for n in ("step_2", "step_10")]
    assert passed == [False, True]
    opposite = rule.replace(sign, "<" if sign == ">" else ">")
    assert main(["evaluate", "step_*", *keys, "out=all", opposite]) == REJECTED
    # a sweep: each job has a gate of its own
    sweep = ["gate", "all/step_10", "--multirun", f"require='{rule[8:]}','{opposite[8:]}'", "out=swept"]
    assert main(sweep) == REJECTED
    assert [json.loads((tmp_path / "swept" / n / "gate.json").read_text())["passed"] for n in "01"] == [True, False]


def test_from_python_the_same_rules_are_assertions(place: Path) -> None:
    sources = {"generated": str(place / "good.npz"), "reference": str(place / "reference.npz"), "metrics": ["prdc"]}
    assert_metrics(**sources, require="recall >= 0.5")
    with pytest.raises(AssertionError, match=r"recall is 0\.\d+, not above 3; recall > 2 fails: 0\.\d+ .*not above 2"):
        assert_metrics(**sources, require=["recall > 2"], above={"recall": 3})
    with pytest.raises(AssertionError, match="is undecided: kd has no ratio"):
        assert_metrics(**(sources | {"metrics": ["kd"]}), require="kd.real_ratio < 2")
    rules = ["recall >= baseline - 0.001", "precision == baseline"]
    assert_metrics(**sources, require=rules, baseline=place / "good")
    with pytest.raises(UserError, match="give baseline=RUN"):
        assert_metrics(**sources, require=rules)
    with pytest.raises(UserError, match="assert_metrics"):
        genaudit.evaluate(**sources, require=["recall > 2"])


def test_the_rules_of_the_pages_and_of_the_help_are_rules(tmp_path: Path) -> None:
    text = (DOCS / "gating.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.M | re.S)
    (tmp_path / "rules.yaml").write_text(block)
    assert len(read_rules(str(tmp_path / "rules.yaml"))) == 5
    pages = [text, (DOCS / "ci.md").read_text(), (DOCS.parent / "README.md").read_text(), VERBS["gate"].help]
    commands = [line.strip() for page in pages for line in page.splitlines() if line.strip().startswith("genaudit ")]
    judging = [shlex.split(line) for line in commands if "require=" in line and "RUN" not in line]
    assert len(judging) >= 9
    for words in judging:
        cfg = compose(words[1], [word for word in hydra_arguments(words[1], words[2:])])
        if not str(cfg.require).endswith(".yaml"):
            read_rules(cfg.require if isinstance(cfg.require, str) else list(cfg.require))
    (example,) = re.findall(r"^```json\n(.*?)^```", text, flags=re.M | re.S)
    schema = json.loads((files("genaudit.reports") / "gate_schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads(example))


def test_the_verdict_of_a_run_decides(place: Path) -> None:
    """Rules read the verdict that `evaluate` writes: whatever it answers, the rule that says so holds."""
    code, _ = gate(place, "bad", "require=[verdict.quality == much_worse]")
    answers = {
        key: each["answer"]
        for key, each in json.loads((place / "bad" / "report.json").read_text())["verdict"].items()
        if isinstance(each, dict)
    }
    assert {"comparable", "quality", "diversity", "memorised"} <= set(answers)
    assert code == (DONE if answers["quality"] == "much_worse" else REJECTED)
    for question, answer in answers.items():
        assert gate(place, "bad", f"require=verdict.{question} == {answer}")[0] == DONE
        if answer != "cannot_tell":
            assert gate(place, "bad", f"require=verdict.{question} != {answer}")[0] == REJECTED
