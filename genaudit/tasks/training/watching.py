"""What a training shows while it learns, whatever it trains: looks at watched images, printed lines, a page."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.errors import one_line
from genaudit.metrics.result import Curve
from genaudit.output import told
from genaudit.reports.training import TrainingPage, png, tile
from genaudit.tasks.run.environment import command_line
from genaudit.training import read_log

LOOKS = 20  # at the watched images, over a whole run
WATCHED = 512  # images of each kind that are watched
PATIENCE = 5.0  # seconds between two printed lines


class Learning(Protocol):
    """What is shown of a trainer."""

    device: Any

    @property
    def iterations(self) -> int: ...


class Watcher:
    """Called by the fit loop at each row of the log; about `LOOKS` times a run it looks (`look`)."""

    def __init__(self, trainer: Learning, every: int, *, apart: int = 1) -> None:
        """
        Args:
            every: iterations between rows of the log. apart: iterations between two looks at least.
        """
        self.iterations = trainer.iterations
        self.every = every * max(1, round(trainer.iterations / LOOKS / every), math.ceil(apart / every))

    def __call__(self, iteration: int) -> dict[str, float]:
        if iteration % self.every and iteration != self.iterations:
            return {}
        return self.look()

    def look(self) -> dict[str, float]:
        """Further numbers of this row of the log."""
        raise NotImplementedError


class Console:
    """The lines that are printed while a model learns.

    Args:
        model: what learns, with its size. images: how many of which source. note: how, in a few words.
        labels: what a line shows => its columns of the log; a row that lacks one is shown without.
    """

    def __init__(
        self, out: Path, trainer: Learning, model: str, images: str, labels: Mapping[str, Sequence[str]], note: str = ""
    ) -> None:
        self.out, self.trainer, self.labels, self.printed = out, trainer, labels, time.monotonic()
        told.begin_log()
        print(
            f"{model} on {one_line(images)}: {trainer.iterations:,} iterations on {trainer.device}{note}; out={out}",
            flush=True,
        )

    def resume(self, iteration: int) -> None:
        total = self.trainer.iterations
        what = "the training was done before" if iteration == total else "resuming from its checkpoint"
        print(f"{self.out}: {what}, iteration {iteration:,} of {total:,}", flush=True)

    def show(self, row: Mapping[str, float]) -> None:
        """A line of a row of the log, unless the last line was printed a moment ago; looks and the end always."""
        now, looked = time.monotonic(), any(key.startswith("auroc") for key in row)
        if now - self.printed < PATIENCE and not looked and row["iteration"] != self.trainer.iterations:
            return
        self.printed = now
        shown = {label: [row[key] for key in keys] for label, keys in self.labels.items() if set(keys) <= set(row)}
        parts = [f"{label} {'/'.join(f'{value:.4g}' for value in values)}" for label, values in shown.items()]
        print(f"  {int(row['iteration']):>9,}  {'  '.join(parts)}", flush=True)

    def end(self, seconds: float, files: Sequence[str], then: str = "") -> None:
        """How long it took, what was written, and the command that uses it."""
        milliseconds = 1000 * seconds / self.trainer.iterations
        following = f"\nnext: {then}" if then else ""
        print(
            f"{self.trainer.iterations:,} iterations in {seconds:,.0f} s ({milliseconds:,.1f} ms each); written "
            f"{self.out}/ {', '.join(files)}{following}"
        )


def parameters(*networks: Any) -> str:
    """How many numbers networks learn, for people."""
    return f"{sum(p.numel() for network in networks for p in network.parameters()):,} parameters"


class Page:
    """train.html of a run: curves of its log, pictures, facts, remarks."""

    def __init__(self, out: Path) -> None:

        self.out, self.log = out, read_log(out)
        self.curves: list[Any] = []
        self.pictures: list[tuple[str, bytes]] = []

    def curve(self, title: str, y: str, **columns: str) -> bool:
        """Draws columns of the log, by label, over the rows in which any has a number; whether there was one.

        Labels are given with _ for spaces. Columns that the log lacks are left out.
        """

        lines = {label.replace("_", " "): self.log[name] for label, name in columns.items() if name in self.log}
        if not lines:
            return False
        there = np.isfinite(np.stack(list(lines.values()))).any(axis=0)
        if there.any():
            x = self.log["iteration"][there]
            self.curves.append(Curve(title, "iteration", y, x, {name: line[there] for name, line in lines.items()}))
        return bool(there.any())

    def picture(self, caption: str, name: str) -> None:
        """A PNG of the run's folder, where it is there."""
        if (self.out / name).exists():
            self.pictures.append((caption, (self.out / name).read_bytes()))

    def write(self, title: str, facts: Sequence[tuple[str, str]], remarks: Sequence[str] = ()) -> None:

        command = command_line("train")
        TrainingPage(title, command, facts, remarks, self.curves, self.pictures).write(self.out / "train.html")


def write_picture(path: Path, images: np.ndarray, columns: int | None = None) -> None:
    """A grid of images (N, H, W, C) uint8 as a PNG, complete or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(png(tile(images, columns)))
