"""The fit loop: a run that is killed and resumed is, bit for bit, a run that was never killed."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit import interrupts, training
from genaudit.errors import Diverged, UserError
from genaudit.training import fit, read_log

ITERATIONS = 23


class Toy:
    """Adam on a line, with noise from (seed, iteration)."""

    def __init__(self, rate: float = 0.1) -> None:
        self.iterations, self.iteration, self.rate = ITERATIONS, 0, rate
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.adam = torch.optim.Adam([self.weight], lr=rate)

    def step(self) -> float:
        noise = torch.randn(3, generator=torch.Generator().manual_seed(self.iteration))
        loss = (self.weight - noise).square().sum()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.iteration += 1
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        state = {"weight": self.weight.detach(), "adam": self.adam.state_dict()}
        return {"iteration": self.iteration, "rate": self.rate, **state}

    def finite(self, look: bool) -> bool:
        return bool(torch.isfinite(self.weight).all())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["rate"] != self.rate:
            raise ValueError("the rate changed")
        self.iteration = state["iteration"]
        self.adam.load_state_dict(state["adam"])
        with torch.no_grad():
            self.weight.copy_(state["weight"])


def train(folder: Path, toy: Toy | None = None, **knobs: Any) -> Toy:
    toy = toy or Toy()
    fit(toy, folder, log=("loss", "twice"), record=lambda loss: {"loss": loss}, every=3, checkpoint_seconds=0, **knobs)
    return toy


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_training import read_log, train
def watch(iteration, at):  # the row of this iteration is logged and its checkpoint is not
    if iteration == at:
        os.kill(os.getpid(), signal.SIGKILL)
for at in {kills}:
    child = os.fork()  # each run is a process of its own; torch is imported once
    if child == 0:
        train(Path({folder!r}), show=lambda row: watch(row["iteration"], at))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    print(read_log(Path({folder!r}))["iteration"][-1])
"""


def test_killed_and_resumed_gives_the_weights_and_the_log_of_a_run_never_killed(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    kills = (9, 12, 23)  # 23: the last iteration, before its checkpoint
    code = KILLED.format(here=str(Path(__file__).parent), folder=str(tmp_path / "killed"), kills=kills)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [float(each) for each in done.stdout.split()] == list(kills)
    resumed = train(tmp_path / "killed")
    assert resumed.iteration == ITERATIONS
    assert torch.equal(resumed.weight, whole.weight)
    assert (tmp_path / "killed/log.csv").read_bytes() == (tmp_path / "whole/log.csv").read_bytes()


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    train(tmp_path)
    toy, rows = Toy(), []
    fitted = fit(toy, tmp_path, log=("loss", "twice"), record=lambda loss: rows.append(loss) or {}, every=1)
    assert fitted.resumed == toy.iteration == ITERATIONS
    assert rows == []


def test_a_torn_temporary_file_of_a_checkpoint_is_removed(tmp_path: Path) -> None:
    whole = train(tmp_path)
    torn = tmp_path / ".checkpoint.pt.0123456789ab.tmp"
    torn.write_bytes(b"PK torn")
    again = train(tmp_path)
    assert torch.equal(again.weight, whole.weight)
    assert not torn.exists()


def test_a_checkpoint_of_other_settings_is_the_users_mistake(tmp_path: Path) -> None:
    train(tmp_path, settings={"images": "abc"})
    with pytest.raises(UserError, match=r"images \(now def, then abc\)"):
        train(tmp_path, settings={"images": "def"})
    with pytest.raises(UserError, match="the rate changed"):
        train(tmp_path, Toy(0.2), settings={"images": "abc"})


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        train(tmp_path)


@pytest.mark.parametrize("place", [60, 500, -100, -1])
def test_a_bit_that_flipped_in_a_checkpoint_is_noticed(place: int, tmp_path: Path) -> None:
    """Weights that decayed by a bit would train on without a word."""
    train(tmp_path)
    data = bytearray((tmp_path / "checkpoint.pt").read_bytes())
    data[place] ^= 4
    (tmp_path / "checkpoint.pt").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        train(tmp_path)


def test_a_checkpoint_is_a_file_of_torch_save_and_one_without_a_checksum_is_read(tmp_path: Path) -> None:
    whole = train(tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save(state, tmp_path / "checkpoint.pt")
    assert torch.equal(train(tmp_path).weight, whole.weight)


def test_a_second_training_in_the_folder_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(iteration: int) -> None:
        if not refused:
            with pytest.raises(UserError, match=f"trained by another process .process {os.getpid()} on ") as error:
                train(tmp_path)
            refused.append(str(error.value))

    whole = train(tmp_path / "whole")
    assert torch.equal(train(tmp_path, watch=meanwhile).weight, whole.weight)
    assert refused
    assert (tmp_path / "log.csv").read_bytes() == (tmp_path / "whole/log.csv").read_bytes()
    assert train(tmp_path).iteration == ITERATIONS  # the lock is gone
    assert not list(tmp_path.glob(".lock"))


HELD = """
import sys, time
from pathlib import Path
from genaudit.folder_lock import locked
with locked(Path(sys.argv[1]), "trained"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("supported", [True, False])
def test_a_lock_dies_with_its_process(supported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HELD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    if not supported:  # a file system without locks: the file itself is one
        monkeypatch.setattr("genaudit.folder_lock._lock", lambda descriptor: None)
    with pytest.raises(UserError, match=f"process {holder.pid} on"):
        train(tmp_path)
    holder.kill()
    holder.wait()
    assert train(tmp_path).iteration == ITERATIONS


def test_without_locks_the_process_of_another_host_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaudit.folder_lock._lock", lambda descriptor: None)
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        train(tmp_path)


def test_the_log_holds_every_nth_row_and_the_last_in_full_precision(tmp_path: Path) -> None:
    shown: list[Any] = []
    advanced: list[int] = []
    train(
        tmp_path, watch=lambda i: {"twice": 2.0 * i} if i % 6 == 0 else None, show=shown.append, advance=advanced.append
    )
    log = read_log(tmp_path)
    assert list(log) == ["iteration", "loss", "twice"]
    assert log["iteration"].tolist() == [3, 6, 9, 12, 15, 18, 21, 23]
    assert log["loss"].tolist() == [row["loss"] for row in shown]
    assert np.isnan(log["twice"]).tolist() == [True, False] * 3 + [True, True]
    assert sum(advanced) == ITERATIONS


def test_reading_no_log_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log"):
        read_log(tmp_path)


class Diverging(Toy):
    """Its weights are NaN from some iteration on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def step(self) -> float:
        loss = super().step()
        if self.iteration < self.at:
            return loss
        with torch.no_grad():
            self.weight.fill_(math.nan)
        return math.nan


def test_a_training_that_diverges_ends_with_the_last_finite_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"diverged: at iteration 11 .* checkpoint of iteration 10 is kept"):
        train(tmp_path, Diverging(11))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["trainer"]
    assert state["iteration"] == 10
    assert torch.isfinite(state["weight"]).all()
    assert torch.equal(train(tmp_path).weight, train(tmp_path / "other").weight)  # one that does not diverge resumes


def test_a_training_that_diverges_before_its_first_checkpoint_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="no checkpoint from before"):
        fit(Diverging(1), tmp_path, log=("loss",), record=lambda loss: {"loss": loss}, every=1)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_step_keeps_that_step_and_a_resumed_run_is_the_same(
    number: signal.Signals, tmp_path: Path
) -> None:
    class Signalled(Toy):
        def step(self) -> float:
            if self.iteration == 7:
                os.kill(os.getpid(), number)
            return super().step()

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt), interrupts.handled():
        fit(
            Signalled(), tmp_path / "cut", log=("loss", "twice"), record=lambda loss: {"loss": loss}, every=3
        )  # its own checkpoints would come after 30 seconds
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] == 8
    assert torch.equal(train(tmp_path / "cut").weight, whole.weight)
    assert (tmp_path / "cut" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


def test_a_disk_that_fills_costs_no_checkpoint_from_before_and_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, []

    def fills(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 6:  # the log's and the checkpoint's in turn: with the third checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fills)
    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be written \(No space left on device\)"):
        train(tmp_path)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.csv"]
    assert torch.equal(train(tmp_path).weight, train(tmp_path / "other").weight)


class Clock:
    """A clock that steps and writing move on."""

    def __init__(self) -> None:
        self.now, self.written = 0.0, list[float]()

    def monotonic(self) -> float:
        return self.now


class Slow(Toy):
    """A step a second."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.iterations = clock, 5000

    def step(self) -> float:
        self.clock.now += 1
        self.iteration += 1
        return 0.0


@pytest.mark.parametrize(("cost", "size"), [(10.0, 100), (0.0, 532_000_000), (0.0, 100), (200.0, 100)])
def test_checkpoints_take_a_small_share_of_time_and_of_a_disk(
    cost: float, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def save(trainer: Any, path: Path, settings: Any, seconds: float) -> None:
        clock.written.append(clock.now)
        clock.now += cost
        with path.open("wb") as file:
            file.truncate(size)  # of that length, on no disk

    monkeypatch.setattr(training, "time", clock)
    monkeypatch.setattr(training, "_save", save)
    fit(Slow(clock), tmp_path, log=("loss",), record=lambda loss: {"loss": loss}, every=5000, checkpoint_seconds=30)
    gaps = np.diff(clock.written)
    asked = max(30, min(max(cost / 0.02, size / (100e9 / 86_400)), 1800)) + cost
    # the first comes after 30 s, when nothing is known of its cost; the last at the end of the run
    assert clock.written[0] == 30
    np.testing.assert_allclose(gaps[:-1], np.ceil(asked), atol=1)
    assert len(gaps) >= 1
    if size > 1000:
        assert size * len(clock.written) / clock.now * 86_400 < 220e9  # 1.5 TB a day without it
