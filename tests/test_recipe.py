"""A recipe's steps: kept, read back, and several at a time in processes of their own."""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from genaudit import recipe
from genaudit.errors import UserError
from genaudit.folder_lock import locked
from genaudit.recipe import Context


def context(folder: Path, at_once: int) -> Context:
    return Context("laptop", folder, None, folder / "store", at_once=at_once)


def test_steps_at_a_time_run_with_one_thread_in_other_processes_and_are_kept(tmp_path: Path) -> None:
    computes: dict[str, Any] = {"process": os.getpid, "threads": torch.get_num_threads}
    computes |= {f"power{i}": functools.partial(operator.pow, 2, i) for i in range(5)}
    process, threads, *powers = found = context(tmp_path, 2).steps(computes)
    assert process != os.getpid()
    assert threads == 1
    assert powers == [1, 2, 4, 8, 16]
    assert context(tmp_path, 2).steps(computes) == found  # read back
    assert context(tmp_path / "alone", 1).steps(computes)[0] == os.getpid()


def test_a_last_round_that_is_not_full_shares_the_threads(tmp_path: Path) -> None:
    def threads(at_once: int, steps: int) -> list[int]:
        computes = {f"step{i}": torch.get_num_threads for i in range(steps)}
        found: list[int] = context(tmp_path / f"{steps} by {at_once}", at_once).steps(computes)
        return found

    assert threads(2, 3) == [1, 1, 2]
    assert threads(4, 2) == [2, 2]


def test_what_a_step_raises_comes_through_and_those_that_ended_are_kept(tmp_path: Path) -> None:
    computes = {f"over{i}": functools.partial(operator.truediv, 1, i) for i in (1, 0)}
    with pytest.raises(ZeroDivisionError):
        context(tmp_path, 2).steps(computes)
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["over1.json"]


def test_a_process_that_was_killed_is_explained(tmp_path: Path) -> None:
    computes = {f"exit{i}": functools.partial(os._exit, i) for i in range(2)}
    with pytest.raises(UserError, match="OMP_NUM_THREADS=1"):
        context(tmp_path, 2).steps(computes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"16", b"17"),
        lambda data: b"[1, 2]",
        lambda data: b"\xff\xfe",
        lambda data: b"",
    ],
)
def test_a_damaged_step_is_computed_again(damage: Any, tmp_path: Path) -> None:
    computes = {f"power{i}": functools.partial(operator.pow, i, 2) for i in (3, 4)}
    assert context(tmp_path, 1).steps(computes) == [9, 16]
    file = tmp_path / "steps" / "power4.json"
    file.write_bytes(damage(file.read_bytes()))
    shown: list[str] = []
    again = context(tmp_path, 1)
    again.report = shown.append
    assert again.steps(computes) == [9, 16]
    assert shown == ["power4"]


PROGRAM = """\
import functools, os, sys, time
from pathlib import Path
from genaudit.recipe import Context

def wait(folder):
    Path(folder, f"{os.getpid()}.started").touch()
    time.sleep(600)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    steps = {name: functools.partial(wait, str(folder)) for name in ("one", "two")}
    Context("laptop", folder, None, folder, at_once=2).steps(steps)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_an_interrupted_run_ends_its_processes_within_seconds_and_says_nothing_of_them(tmp_path: Path) -> None:
    program = PROGRAM.replace("import functools", "import functools, signal").replace(
        "    Context(", "    signal.signal(signal.SIGTERM, signal.default_int_handler)\n    Context("
    )
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(2, tmp_path)
        workers = [Path("/proc", path.stem) for path in tmp_path.glob("*.started")]
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=30)[1]
        assert not [worker for worker in workers if worker.exists()]
        assert said.count("Traceback") == 1  # of the program itself, which is not the command line
        assert said.strip().endswith("KeyboardInterrupt")
    finally:
        run.kill()


def wait_for(count: int, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.started"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_no_process_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    """Else the next run would find it training in the same folder."""
    (tmp_path / "program.py").write_text(PROGRAM)
    run = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path)])
    workers: list[Path] = []
    deadline = time.monotonic() + 120
    try:
        while len(workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
            workers = [Path("/proc", path.stem) for path in tmp_path.glob("*.started")]
        assert len(workers) == 2
        run.send_signal(signal.SIGKILL)
        run.wait()
        while any(worker.exists() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not [worker for worker in workers if worker.exists()]
    finally:
        run.kill()


def test_processes_that_make_one_table_divide_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here two threads, each of which has descriptors, and so locks, of its own."""
    monkeypatch.setattr(recipe, "POLL_SECONDS", 0.01)
    computed: list[str] = []
    results: list[Any] = []

    def compute(name: str) -> str:
        computed.append(name)
        time.sleep(0.02)
        return name

    def run() -> None:
        results.append(context(tmp_path, 1).steps({name: functools.partial(compute, name) for name in "abcdef"}))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [list("abcdef")] * 2
    assert sorted(computed) == list("abcdef")  # each by one of them


def test_a_step_that_is_computed_elsewhere_is_waited_for_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "POLL_SECONDS", 0.01)
    one, told = context(tmp_path, 1), list[str]()
    place = one.folder / "locks" / "x"
    place.mkdir(parents=True)
    (one.folder / "steps").mkdir()
    with locked(place, "computed"):
        release = threading.Timer(0.1, lambda: one.folder.joinpath("steps", "x.json").write_text(_kept(5)))
        release.start()
        one.report = told.append
        assert one.step("x", lambda: pytest.fail("computed twice")) == 5
    assert told == ["x: waiting for another process, which computes it"]


def test_a_file_that_tables_share_is_made_once_while_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "POLL_SECONDS", 0.01)
    made: list[str] = []
    waited: list[str] = []
    found: list[Path] = []

    def make(path: Path, table: str) -> None:
        made.append(table)
        time.sleep(0.05)
        path.write_text(table)

    def run(table: str) -> None:
        one = Context("paper", tmp_path / table, None, tmp_path / "store", report=waited.append)
        found.append(one.shared_file("images", "set.npy", functools.partial(make, table=table)))

    threads = [threading.Thread(target=run, args=(table,)) for table in ("one", "another")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(made) == 1
    assert waited == ["set.npy: waiting for another process, which makes it"]
    assert {path.read_text() for path in found} == set(made)
    assert found == [tmp_path / "images" / "set.npy"] * 2


def test_a_training_that_another_table_runs_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables have steps of their own and share the model: the one that comes second must not fail."""
    monkeypatch.setattr(recipe, "POLL_SECONDS", 0.01)
    one = context(tmp_path / "one", 1)
    folder = one.training_folder("glow", {"seed": 0})
    folder.mkdir(parents=True)
    tried: list[int] = []

    def train() -> str:
        tried.append(1)
        with locked(folder, "trained"):  # as `genaudit.training.fit` does
            return "trained"

    with contextlib.ExitStack() as another:
        another.enter_context(locked(folder, "trained"))
        threading.Timer(0.1, another.close).start()
        assert one.steps({"x": train}) == ["trained"]
        assert len(tried) > 1


def test_what_another_process_ended_just_before_we_had_the_lock_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = context(tmp_path / "table", 1)
    ended = {"computed": one.folder / "steps" / "x.json", "made": tmp_path / "images" / "set.npy"}

    @contextlib.contextmanager
    def late(place: Path, what: str) -> Iterator[None]:
        ended[what].parent.mkdir(parents=True, exist_ok=True)
        ended[what].write_text(_kept(5))
        yield

    monkeypatch.setattr(recipe, "locked", late)
    assert one.step("x", lambda: pytest.fail("computed twice")) == 5
    assert one.shared_file("images", "set.npy", lambda path: pytest.fail("made twice")) == ended["made"]


def _kept(result: Any) -> str:
    return json.dumps({"sha256": recipe._checksum(result), "result": result})
