"""What a run says of how far it is, where there is a terminal and where there is none."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.errors import DONE, REJECTED, USER
from genaudit.tasks.run import progress as module
from genaudit.tasks.run.progress import Plan, Progress, Step

SMALL = ("feature_model=pixels", "feature_model.size=4")


def test_a_line_says_rate_and_time_left_of_the_step_and_of_all() -> None:
    plan = Plan({"generated": 600.0, "reference": 400.0}, done=100.0, seconds=10.0)
    step = Step("embedding, generated", 500, work=500.0, plan=plan, started=0.0)
    assert step.line(3.0) == "embedding, generated: 0 of 500 images after 3.0 s"
    step.count = 200
    # 200 in 20 s: 10 a second, 300 left; of all 300 of 1,000 are done in 30 s
    expected = "embedding, generated: 200 of 500 images, 10 a second, 30.0 s left; all of it: 1 min 10 s left"
    assert step.line(20.0) == expected
    step.work = None
    assert step.line(20.0).endswith("30.0 s left")


def test_time_left_is_none_before_anything_is_done_and_zero_at_the_end() -> None:
    assert Plan({"a": 100.0}).left() is None
    assert Plan({"a": 100.0}, 100.0, 7.0).left() == 0
    assert Plan({"a": 100.0}, 120.0, 7.0).left() == 0
    assert Plan({"a": 100.0}, 25.0, 5.0).left(25.0, 15.0) == pytest.approx(20.0)


def test_steps_add_up_to_the_plan() -> None:
    progress = Progress(False)
    progress.plan.parts = {"a": 10.0, "b": 20.0}
    with progress.bar("a", 10, work=10.0) as advance:
        advance(10)
    with progress.bar("judge", 3, unit="metrics") as advance:
        advance(3)
    with contextlib.suppress(KeyboardInterrupt), progress.bar("b", 10, work=20.0) as advance:
        advance(5)
        raise KeyboardInterrupt
    assert progress.plan.done == 20.0
    assert progress.plan.seconds > 0


def _wait_for(said: Callable[[], str], text: str) -> str:
    """What was said, once it holds a text: the test waits for no longer than it must."""
    shown = ""
    for _ in range(1000):
        shown += said()
        if text in shown:
            return shown
        time.sleep(0.01)
    raise AssertionError(shown)


def test_without_a_terminal_lines_come_also_while_one_call_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    monkeypatch.setattr(module, "FIRST", 0.01)
    progress = Progress()
    progress.plan.parts = {"generated": 100.0}
    with progress.bar("embedding [red], generated\x1b", 100, work=100.0) as advance:
        _wait_for(lambda: capsys.readouterr().err, "0 of 100 images after")
        advance(40)
        shown = _wait_for(lambda: capsys.readouterr().err, "; all of it: ")
    assert "genaudit: embedding [red], generated\\x1b: 40 of 100 images" in shown
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr().err == ""  # it ended with the step


@pytest.mark.parametrize("silent", ["progress", "rank", "terminal"])
def test_nobody_is_told_twice(silent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Not with progress=false, not by other ranks, and not beside a bar."""
    if silent == "rank":
        monkeypatch.setenv("RANK", "1")
    if silent == "terminal":
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert not Progress(silent != "progress").lines


def test_a_run_says_its_plan_and_keeps_a_log(
    make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [str(make_images("gen", 8)), f"reference={make_images('ref', 6, seed=1)}"]
    keys = [*SMALL, "metric=[kd,as]", f"store={tmp_path / 'store'}", f"out={tmp_path / 'out'}"]
    assert main(["evaluate", *sets, *keys]) == DONE
    shown = capsys.readouterr()
    assert "measures embedding pixels of 8 generated, 6 reference images\n" in shown.err
    assert (
        "measures anomaly pixels of 8 generated, 6 reference images, about 101 passes of the network an image"
        in shown.err
    )
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "genaudit evaluate" in log.splitlines()[1]
    assert "measures embedding pixels" in log
    assert "kd" in log
    assert log.endswith("exit code 0\n")
    (new,) = make_images("more", 1, seed=2).iterdir()
    new.rename(tmp_path / "gen" / f"new{new.suffix}")
    assert main(["evaluate", *sets, *keys]) == DONE
    assert "of 9 generated (8 in the store), 6 reference (6 in the store) images" in capsys.readouterr().err
    assert main(["evaluate", *sets, *keys]) == DONE
    assert "measures" not in capsys.readouterr().err  # all rows are stored
    again = [*keys, f"store={tmp_path / 'another'}", "progress=false"]
    assert main(["evaluate", *sets, *again]) == DONE
    assert capsys.readouterr().err == ""
    assert "measures embedding pixels" in (tmp_path / "out" / "log.txt").read_text()


def test_quiet_and_json(make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [str(make_images("gen", 8)), f"reference={make_images('ref', 8, seed=1)}"]
    keys = [*SMALL, "metric=[kd]", f"store={tmp_path / 'store'}", f"out={tmp_path / 'out'}"]
    assert main(["evaluate", *sets, *keys, "--quiet"]) == DONE
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert "kd" in (tmp_path / "out" / "log.txt").read_text()
    assert main(["evaluate", *sets, *keys, "require=kd > 1e9", "--json"]) == REJECTED
    shown = capsys.readouterr()
    assert shown.err == ""
    (line,) = shown.out.splitlines()
    told = json.loads(line)
    assert Path(told["report"]).is_file()
    assert Path(told["gate"]).is_file()
    assert told["exit_code"] == REJECTED
    assert "verdict" in told
    assert main(["gate", str(tmp_path / "out"), "require=kd < 1e9", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["passed"] is True
    assert main(["gate", str(tmp_path / "out"), "require=kid < 1e9", "--json"]) == USER
    shown = capsys.readouterr()
    assert "did you mean kd" in json.loads(shown.out)["error"]
    assert "did you mean kd" in shown.err
    assert main(["list", "datasets", "-q"]) == DONE
    assert capsys.readouterr().out == ""
    assert main(["list", "datasets"]) == DONE  # one command's switch is not the next one's
    assert capsys.readouterr().out
