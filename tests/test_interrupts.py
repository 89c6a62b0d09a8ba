"""SIGINT and SIGTERM: what is in hand is kept, a sentence is said, the exit code is 130."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genaudit import interrupts
from genaudit.cli import main
from genaudit.errors import INTERRUPTED
from genaudit.store import measuring

PIXELS = ("feature_model=pixels", "feature_model.size=4", "progress=false", "device=cpu")
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_interruption_and_the_handlers_are_the_callers_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupts.handled():
        send(number)
    assert signal.getsignal(number) == before


def test_signals_that_are_ignored_stay_ignored() -> None:
    """A shell starts what runs behind `&` with SIGINT ignored, nohup with SIGHUP."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupts.handled():
            send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_work_under_deferred_is_finished_first() -> None:
    done = []

    def work() -> None:
        with interrupts.handled(), interrupts.deferred():
            send(signal.SIGTERM)
            assert interrupts.requested()
            done.append("finished")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["finished"]
    assert not interrupts.requested()


def test_a_later_signal_insists_and_one_sent_twice_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def work() -> None:
        with interrupts.handled(), interrupts.deferred():
            send(signal.SIGINT)
            send(signal.SIGINT)
            done.append("sent twice")
            monkeypatch.setattr(interrupts, "AGAIN_SECONDS", 0.0)
            send(signal.SIGINT)
            done.append("the later one was not heard")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["sent twice"]


def test_without_the_command_line_deferred_leaves_signals_alone() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interrupts.deferred():
        assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_rows_that_were_measured_or_in_flight_are_kept(
    number: signal.Signals,
    make_images: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = make_images("gen", 24)
    start, calls = measuring._Running.start, []

    def interrupted(self: Any, *arguments: Any) -> Any:
        begun = start(self, *arguments)
        calls.append(begun)
        if len(calls) == 3:
            begun()  # this batch is ready, and none of its rows has been collected
            send(number)
        return begun

    monkeypatch.setattr(measuring._Running, "start", interrupted)
    arguments = ["evaluate", str(folder), "metric=[vendi]", *PIXELS, "batch_size=4", f"store={tmp_path / 's'}"]
    assert main([*arguments, f"out={tmp_path / 'out'}"]) == INTERRUPTED
    said = capfd.readouterr().err
    assert "interrupted" in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["log.txt"]
    monkeypatch.undo()
    assert main([*arguments, f"out={tmp_path / 'out'}"]) == 0
    (use,) = json.loads((tmp_path / "out" / "report.json").read_text())["measures"].values()
    assert use["reused"] >= 8  # two batches that were in flight, of which no row had been collected
    assert use["computed"] == 24 - use["reused"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_whole_sweep(
    number: signal.Signals,
    make_images: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = []

    def evaluate(*arguments: Any, **keys: Any) -> None:
        begun.append(arguments)
        send(number)

    monkeypatch.setattr("genaudit.tasks.evaluate.evaluate", evaluate)
    sweep = ["evaluate", str(make_images("gen", 2)), *PIXELS, "metric=[vendi]", "--multirun", "seed=0,1,2"]
    assert main(sweep) == INTERRUPTED
    assert len(begun) == 1
