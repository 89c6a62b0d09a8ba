"""The one fit loop: steps, a log, checkpoints that survive SIGKILL, and resuming bit for bit where they were taken.

A trainer is anything with `iterations`, `iteration`, `step`, `state_dict` and `load_state_dict` whose `step` depends on
its state alone (`genaudit.likelihood.trainer`, `genaudit.piad.trainer`). In the run's folder are

    checkpoint.pt   the latest state; written beside it, flushed to the disk, then renamed: whole or absent
    log.csv         a row every so many iterations, each number in full; no times, so that two runs can be compared

A signal (`genaudit.interrupts`) ends a run after the step in hand, with a checkpoint of it. A run that diverges ends
with an error: no checkpoint is taken of values that are not finite, so that the last one that is stays.

A run that resumes first cuts the rows that were logged after its checkpoint: log and weights are those of a run that
was never killed. Under torchrun rank 0 alone reads and writes files, and hands the state to the others.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol

import numpy as np

from genaudit import interrupts
from genaudit.atomic import atomic_write, sweep
from genaudit.errors import Diverged, UserError, reason_of
from genaudit.folder_lock import locked
from genaudit.reading import load_torch, open_regular, read_bytes
from genaudit.resumed import check_same

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
SEAL = b"genaudit sha256:"
# of checkpoints: the share of a run's time that writing them takes, what they add to a disk's wear, the longest wait
SHARE, BYTES_A_SECOND, MOST_SECONDS = 0.02, 100e9 / 86_400, 1800.0
P = ParamSpec("P")


class Trainable(Protocol):
    """What `fit` needs of a trainer; `iteration` counts the steps done."""

    @property
    def iterations(self) -> int: ...

    @property
    def iteration(self) -> int: ...

    def step(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def finite(self, look: bool) -> bool:
        """Whether parameters and losses are finite; `look`: and what the model makes of a batch, too."""


@dataclass(frozen=True)
class Fitted:
    """resumed: iterations that were done before this call. seconds: spent on steps and log, over all calls."""

    resumed: int
    seconds: float


def _alone(
    train: Callable[Concatenate[Trainable, Path | str, P], Fitted],
) -> Callable[Concatenate[Trainable, Path | str, P], Fitted]:
    """Holds the folder's lock while it trains: of two trainings in one folder, one would cut the other's log."""

    @functools.wraps(train)
    def alone(trainer: Trainable, folder: Path | str, *args: P.args, **knobs: P.kwargs) -> Fitted:
        if _rank() != 0:
            return train(trainer, folder, *args, **knobs)
        Path(folder).mkdir(parents=True, exist_ok=True)
        with locked(Path(folder), "trained"):
            sweep(Path(folder), 0)  # under the lock nobody else writes here
            return train(trainer, folder, *args, **knobs)

    return alone


@_alone
def fit(
    trainer: Trainable,
    folder: Path | str,
    *,
    record: Callable[[Any], Mapping[str, float]],
    log: Sequence[str],
    every: int = 50,
    checkpoint_seconds: float = 30.0,
    watch: Callable[[int], Mapping[str, float] | None] | None = None,
    advance: Callable[[int], None] | None = None,
    show: Callable[[Mapping[str, float]], None] | None = None,
    on_resume: Callable[[int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Fitted:
    """Runs a trainer to its end, from the folder's checkpoint on where there is one.

    Args:
        trainer: moved to where the checkpoint was taken, then trained. folder: made where it is missing.
        record: a step's result => numbers to log. log: their names, the log's columns after `iteration`; what a row
            lacks is left empty.
        every: iterations between two rows; the last iteration has one too.
        checkpoint_seconds: time between two checkpoints at least; there is one at the end. Writing takes no more than a
            fiftieth of the time and 100 GB a day: a large model is kept more rarely, at least every half hour. 0: after
            every iteration, whatever that costs.
        watch: called after each of those iterations with its number, on every rank; may give further numbers of `log`.
        advance: told how many more iterations are done, those before a resumption at once.
        show: given each row as it is logged.
        on_resume: told the iteration of the checkpoint, where there is one, before the first step.
        settings: what besides the trainer's own state must be the same to resume (numbers, strings): the digest of the
            images, for example.

    Raises:
        UserError: the folder's checkpoint is of other settings, or damaged, or another process trains there.
        Diverged: losses or parameters are not finite.
        KeyboardInterrupt: a signal came; the checkpoint is of the step that was in hand.
    """
    folder = Path(folder)
    writes = _rank() == 0
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
    seconds = _resume(trainer, folder, dict(settings or {}))
    resumed = trainer.iteration
    started, before = time.monotonic(), seconds
    keeper = _Keeper(trainer, folder, dict(settings or {}), resumed)
    if resumed and on_resume is not None:
        on_resume(resumed)
    if resumed and advance is not None:
        advance(resumed)
    lines = _open_log(folder / LOG, log, resumed) if writes else None
    try:
        with interrupts.deferred():
            while trainer.iteration < trainer.iterations:
                result = trainer.step()
                i = trainer.iteration
                last = i == trainer.iterations
                if i % every == 0 or last:
                    row = {"iteration": i, **record(result), **((watch(i) if watch is not None else None) or {})}
                    if lines is not None:
                        _write_row(lines, row, log)
                        if show is not None:
                            show(row)
                    keeper.check(look=last)
                if advance is not None:
                    advance(1)
                seconds = before + time.monotonic() - started
                stopped = _on_any_rank(interrupts.requested())
                if lines is not None and (stopped or last or keeper.due(checkpoint_seconds)):
                    os.fsync(lines.fileno())  # a checkpoint never knows of rows that the disk doesn't
                    keeper.save(seconds)
                if stopped and not last:
                    raise KeyboardInterrupt
    finally:
        if lines is not None:
            lines.close()
    return Fitted(resumed, seconds)


class _Keeper:
    """The checkpoints of a run: none is of values that are not finite."""

    def __init__(self, trainer: Trainable, folder: Path, settings: dict[str, Any], kept: int) -> None:
        self.trainer, self.path, self.settings = trainer, folder / CHECKPOINT, settings
        self.kept = kept  # the iteration of the checkpoint on the disk; 0 for none
        self.saved = time.monotonic()
        self.least = 0.0  # seconds between two checkpoints that their cost asks for

    def due(self, seconds: float) -> bool:
        least = max(seconds, min(self.least, MOST_SECONDS)) if seconds else 0.0
        return time.monotonic() - self.saved >= least

    def check(self, *, look: bool = False) -> None:
        """Raises `Diverged` where the training did."""
        if self.trainer.finite(look):
            return
        there = f"the checkpoint of iteration {self.kept:,} is kept in {self.path.parent}" if self.kept else (
            "there is no checkpoint from before"
        )  # fmt: skip
        raise Diverged(
            f"the training diverged: at iteration {self.trainer.iteration:,} its loss or its parameters are not "
            f"finite; {there}, and no model is written. A lower learning rate, in another out=, may help."
        )

    def save(self, seconds: float) -> None:
        self.check()
        started = time.monotonic()
        _save(self.trainer, self.path, self.settings, seconds)
        self.kept, self.saved = self.trainer.iteration, time.monotonic()
        self.least = max((self.saved - started) / SHARE, self.path.stat().st_size / BYTES_A_SECOND)


def read_log(folder: Path | str) -> dict[str, np.ndarray]:
    """The columns of a run's log.csv by name, float64 (rows,), NaN where a row has no number; `iteration` is one.

    Raises:
        UserError: there is no log.
    """
    path = Path(folder) / LOG
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        whole = [row for row in rows if len(row) == len(header)]  # a row that is being written may be short
        return {name: np.array([float(row[i] or "nan") for row in whole]) for i, name in enumerate(header)}
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{folder} holds no log of a training run ({LOG})") from error


def _rank() -> int:
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _on_any_rank(wish: bool) -> bool:
    """Whether any rank has the wish: one that stopped alone would leave the others waiting for it."""
    import torch
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return wish
    flag = torch.tensor([float(wish)])
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def _resume(trainer: Trainable, folder: Path, settings: dict[str, Any]) -> float:
    """Sets the trainer to the folder's checkpoint and returns the seconds spent until it was taken."""
    import torch.distributed as dist

    data = None
    if _rank() == 0 and (folder / CHECKPOINT).exists():
        try:
            data = read_bytes(folder / CHECKPOINT, 1 << 40)
        except OSError as error:
            raise UserError(f"{folder / CHECKPOINT} cannot be read ({error.strerror or error})") from error
    if dist.is_available() and dist.is_initialized():
        box = [data]
        dist.broadcast_object_list(box, 0)
        data = box[0]
    if data is None:
        return 0.0
    where = folder / CHECKPOINT
    again = f"remove {where} to begin again, or give another out="
    try:
        if not _whole(data):
            raise ValueError("its checksum does not agree")
        state = load_torch(data)
        then, seconds, of_trainer = dict(state["settings"]), float(state["seconds"]), state["trainer"]
    except Exception as error:  # whatever a damaged or foreign file makes of the reader
        raise UserError(f"{where} cannot be read as a checkpoint: {again}") from error
    try:
        check_same({**dict.fromkeys(then), **settings}, then)
        trainer.load_state_dict(of_trainer)
    except UserError as error:
        raise UserError(f"{where}: {error}; {again}") from None
    except (ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"{where} is of another model or recipe ({reason_of(error)}); {again}") from error
    return seconds


def _save(trainer: Trainable, path: Path, settings: dict[str, Any], seconds: float) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save({"trainer": trainer.state_dict(), "settings": settings, "seconds": seconds}, buffer)
    try:
        with atomic_write(path, durable=True) as temporary:
            temporary.write_bytes(_with_checksum(buffer.getvalue()))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); a checkpoint from before is kept"
        ) from error


def _with_checksum(data: bytes) -> bytes:
    """A file of `torch.save`, which is a zip, with the SHA-256 of what stands before it as the zip's comment."""
    end = data.rfind(b"PK\x05\x06")
    head = data[: end + 20] + (len(SEAL) + 64).to_bytes(2, "little") + data[end + 22 :] + SEAL
    return head + hashlib.sha256(head).hexdigest().encode()


def _whole(data: bytes) -> bool:
    """Whether a checkpoint's checksum agrees; one from before there was a checksum is taken as it is."""
    if SEAL not in data[-200:]:
        return data[-2:] == b"\x00\x00"  # a zip without a comment
    return hashlib.sha256(data[:-64]).hexdigest().encode() == data[-64:]


def _open_log(path: Path, names: Sequence[str], iteration: int) -> Any:
    """The log, open for more rows; rows of later iterations than the checkpoint's are cut."""
    kept = [",".join(["iteration", *names])]
    if path.exists() and iteration:
        try:
            with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))[1:]
            whole = [row for row in rows if len(row) == 1 + len(names) and int(row[0]) <= iteration]
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(
                f"{path} is damaged ({reason_of(error)}); remove it to continue without the rows so far"
            ) from error
        kept += [",".join(row) for row in whole]
    with atomic_write(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept))
    return open(path, "a")


def _write_row(file: Any, row: Mapping[str, float], names: Sequence[str]) -> None:
    unknown = set(row) - {"iteration", *names}
    if unknown:
        raise ValueError(f"the log has no column {', '.join(sorted(unknown))}")
    numbers = [repr(float(row[name])) if name in row else "" for name in names]
    file.write(",".join([str(row["iteration"]), *numbers]) + "\n")
    file.flush()
