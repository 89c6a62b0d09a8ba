"""`genaudit reproduce` and `genaudit list tables` as a user meets them: files, sentences, exit codes, resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.errors import DEFECT, DONE, USER
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table

RUNS: list[str] = []  # the steps that were computed, by every recipe of these tests
FAILS: list[str] = []  # steps that raise


class Steps:
    """A recipe of two steps, the second of which fails while it is asked to."""

    def __init__(self, value: float = 1.0, needs_data: bool = False) -> None:
        self.value, self.needs_data = value, needs_data

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        return [Need("a dataset", data is not None or not self.needs_data, "data=DIR with it")]

    def run(self, context: Context) -> Table:
        first = context.step("first", lambda: self._compute("first"))
        second = context.step("second", lambda: self._compute("second"))
        return Table("steps", "Steps", "nowhere", (Cell("a", "x", first + second, 2.0),), context.scale)

    def _compute(self, name: str) -> float:
        RUNS.append(name)
        if name in FAILS:
            raise RuntimeError("cut off")
        return self.value


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    RUNS.clear()
    FAILS.clear()
    yield
    FAILS.clear()


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Keys that add recipes of a user's own."""
    folder = tmp_path / "own" / "table"
    folder.mkdir(parents=True)
    target = f"_target_: {__name__}.Steps"
    (folder / "steps.yaml").write_text(f"# Steps of a test\n{target}\nvalue: 1.0\n")
    (folder / "needy.yaml").write_text(f"# Needs data\n{target}\nneeds_data: true\n")
    return ["--config-dir", str(folder.parent), f"out={tmp_path / 'out'}"]


def test_agreement_of_feature_models_runs_on_what_ships(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but three of the laptop's nine are left out here, for time."""
    networks = (
        "Random,Random_ResNet-18,Random_ViT-Ti,EfficientNet-Lite0,EfficientNet-Lite1,EfficientNet-Lite2,Lite0_stage_3"
    )
    keys = [f"table.without=[{networks},Lite0_stage_5]", "table.laptop_models.Lite0_stage_1.size=16"]
    where = [f"store={tmp_path / 'store'}", f"out={tmp_path / 'out'}", "progress=false"]
    assert main(["reproduce", "table=irs_fig11", *keys, *where]) == DONE
    document = json.loads((tmp_path / "out" / "irs_fig11.json").read_text())
    rows = {cell["row"]: cell["recomputed"] for cell in document["cells"]}
    assert {"Lite0 stage 1 and Pixels", "Pixels and Pixels 8", "consensus of 2 or more"} <= set(rows)
    assert rows["Pixels and Pixels 8"] > rows["Lite0 stage 1 and Pixels"] > 0
    assert "Without Random, Random ResNet-18" in document["differs"]


def test_a_table_is_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "irs_fig9", f"out={tmp_path / 'out'}"]) == DONE
    assert "3 reproduced" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "irs_fig9.json").read_text())
    assert document["verdicts"]["reproduced"] == 3
    assert document["command"].startswith("genaudit reproduce")
    files = {f"irs_fig9.{kind}" for kind in ("csv", "html", "json")} | {"log.txt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files


def test_a_run_that_was_cut_off_goes_on_after_its_last_step(own: list[str], tmp_path: Path) -> None:
    FAILS.append("second")
    assert main(["reproduce", "table=steps", *own]) == DEFECT
    assert RUNS == ["first", "second"]
    FAILS.clear()
    assert main(["reproduce", "table=steps", *own]) == DONE
    assert RUNS == ["first", "second", "second"]
    assert main(["reproduce", "table=steps", *own]) == DONE
    assert len(RUNS) == 3  # all read back
    (cell,) = json.loads((tmp_path / "out" / "steps.json").read_text())["cells"]
    assert (cell["recomputed"], cell["verdict"]) == (2.0, "reproduced")


def test_another_setting_does_not_read_old_steps(own: list[str], tmp_path: Path) -> None:
    assert main(["reproduce", "table=steps", *own]) == DONE
    assert main(["reproduce", "table=steps", "table.value=30", *own]) == DONE
    assert len(RUNS) == 4
    (cell,) = json.loads((tmp_path / "out" / "steps.json").read_text())["cells"]
    assert (cell["recomputed"], cell["verdict"]) == (60.0, "differs")
    document = json.loads((tmp_path / "out" / "steps.json").read_text())
    assert document["differs"] == "Replaced, with the YAML's own value in brackets: table.value=30 (1.0)."


def test_what_is_missing_is_said_before_it_starts(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "table=needy", *own]) == USER
    message = capsys.readouterr().err
    assert "a dataset: data=DIR with it" in message
    assert "Traceback" not in message
    assert RUNS == []


def test_all_makes_what_can_be_made_and_lists_the_rest(
    own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaudit.tasks.reproduce.names", lambda: ["needy", "likelihood_section_s6", "steps"])
    FAILS.append("second")
    assert main(["reproduce", "table=all", *own]) == DEFECT
    first = json.loads((tmp_path / "out" / "index.json").read_text())
    assert first["made"] == {}
    assert "cut off" in first["not_made"]["steps"][0]
    assert (tmp_path / "out" / "steps.traceback.txt").exists()
    FAILS.clear()
    assert main(["reproduce", "table=all", *own]) == DONE
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["made"] == {"steps": {"reproduced": 1}}
    assert index["not_made"]["needy"] == ["a dataset: data=DIR with it"]
    assert any("published numbers only" in reason for reason in index["not_made"]["likelihood_section_s6"])
    assert 'href="steps.html"' in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce"], ["table=NAME", "genaudit list tables"]),
        (["reproduce", "irs_fig99"], ["unknown table 'irs_fig99'", "did you mean irs_fig9"]),
        (["reproduce", "irs_fig9", "scale=huge"], ["scale must be laptop, desk or paper, got huge"]),
        (["reproduce", "irs_fig9", "data=/does/not/exist"], ["data=/does/not/exist"]),
        (["reproduce", "irs_fig9", "table.nonesuch=1"], ["table.nonesuch"]),
        (["reproduce", "irs_table6", "scale=paper", "offline=true"], ["Missing", "weights of CLIP", "images of FFHQ"]),
        (["reproduce", "likelihood_section_s6"], ["published numbers only", "no numbers"]),
    ],
)
def test_what_the_user_got_wrong_is_said_with_exit_code_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == USER
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert "Traceback" not in message


def test_the_listing_says_what_each_table_needs(
    own: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a few tables: composing all of them takes seconds, and tests/papers/test_table_configs.py asks each."""
    some = ["irs_section11", "irs_table5", "likelihood_table_s1", "needy", "steps"]
    monkeypatch.setattr("genaudit.tasks.run.recipes.names", lambda: some)
    monkeypatch.setattr("genaudit.reports.styled.PLAIN_WIDTH", 400)  # no cell is folded
    assert main(["list", "tables", "offline=true", *own[:2]]) == DONE
    shown = capsys.readouterr().out
    for word in (*some, "dombrowski2025 Section 11", "published numbers only", "needs a dataset", "Dynamic", "ready"):
        assert word in shown
    assert "FIDs of the GANs" in shown  # published, and of no recipe
