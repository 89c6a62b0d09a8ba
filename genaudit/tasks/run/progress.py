"""Progress on standard error: bars with rate and time left on a terminal, a line every half minute elsewhere.

A bar appears for what takes longer than a second. Where nobody watches (SLURM, CI, `2> file`) a line says how many
images are done, the rate and the time left, and, where the work was planned, the time left for all of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from genaudit.errors import one_line
from genaudit.output import told
from genaudit.reports.digits import show_seconds

Advance = Callable[[int], None]
PATIENCE = 1.0  # seconds before a bar appears
EVERY = 30.0  # seconds between lines where there is no terminal
FIRST = 5.0  # seconds after which the time for all of the work is estimated


@dataclass
class Plan:
    """The work of a run, in passes of a network over an image, and what of it is done in how many seconds."""

    parts: Mapping[str, float] = field(default_factory=dict)  # by role
    done: float = 0.0
    seconds: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def left(self, done: float = 0.0, seconds: float = 0.0) -> float | None:
        """Seconds left for all of it, when a step under way has done so much in so many; None before anything is."""
        passes, spent = self.done + done, self.seconds + seconds
        return spent / passes * max(0.0, self.total - passes) if passes > 0 else None


@dataclass
class Step:
    """What a bar counts: `work` is its part of the plan, `unit` what is counted."""

    label: str
    total: int
    unit: str = "images"
    work: float | None = None
    plan: Plan = field(default_factory=Plan)
    count: int = 0
    started: float = field(default_factory=time.monotonic)

    def line(self, now: float) -> str:
        """`embedding, generated: 1,200 of 6,000 images, 38.2 a second, 2 min 05 s left; all of it: 7 min 10 s left`."""
        elapsed = now - self.started
        text = f"{one_line(self.label)}: {self.count:,} of {self.total:,} {self.unit}"
        if not self.count:
            return f"{text} after {show_seconds(elapsed)}"
        own = show_seconds(elapsed / self.count * (self.total - self.count))
        text += f", {self.count / elapsed:,.3g} a second, {own} left"
        left = self.plan.left(self.part, elapsed) if self.work else None
        return text if left is None else f"{text}; all of it: {show_seconds(left)} left"

    @property
    def part(self) -> float:
        """The work that is done of it."""
        return (self.work or 0.0) * self.count / max(1, self.total)


class Progress:
    """Makes bars: `with progress.bar("embedding", 1000) as advance: advance(8)`."""

    def __init__(self, wanted: bool = True) -> None:
        wanted = wanted and not told.quiet
        self.shown = wanted and sys.stderr.isatty()
        self.lines = wanted and not self.shown and os.environ.get("RANK", "0") == "0"
        self.wanted = wanted
        self.plan = Plan()

    def note(self, text: str) -> None:
        """A line of what is coming or done, where progress is wanted; in the log in any case."""
        if self.wanted:
            told.note(text)
        else:
            told.log(f"genaudit: {text}\n")

    @contextlib.contextmanager
    def bar(self, label: str, total: int, *, unit: str = "images", work: float | None = None) -> Iterator[Advance]:
        """A bar over `total` images; the function it gives is told how many more are done.

        Args:
            unit: what is counted where it is not images. work: its part of the plan; None: it is no part of it.
        """
        step = Step(label, total, unit, work, self.plan)
        try:
            with self._bar(step) if self.shown else _lines(step, self.lines) as advance:
                yield advance
        finally:
            self.plan.done += step.part
            self.plan.seconds += (time.monotonic() - step.started) if work else 0.0

    @contextlib.contextmanager
    def _bar(self, step: Step) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),  # it may hold names of files
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task(one_line(step.label), total=step.total, rate="")
        visible = False

        def advance(done: int) -> None:
            nonlocal visible
            step.count += done
            elapsed = time.monotonic() - step.started
            if not visible and elapsed > PATIENCE:
                bar.start()
                visible = True
            rate = f"{step.count / max(elapsed, 1e-9):,.1f}/s"
            left = self.plan.left(step.part, elapsed) if step.work else None
            bar.update(task, completed=step.count, rate=rate if left is None else f"{rate}, all {show_seconds(left)}")

        try:
            yield advance
        finally:
            if visible:
                bar.stop()

    @contextlib.contextmanager
    def scan(self, label: str, *, unit: str = "images") -> Iterator[Callable[[int, int], None]]:
        """A bar whose length is known only later; the function it gives is told `(done, total)`."""
        with contextlib.ExitStack() as stack:
            advance: Advance | None = None
            seen = 0

            def progress(done: int, total: int) -> None:
                nonlocal advance, seen
                if advance is None:
                    advance = stack.enter_context(self.bar(label, total, unit=unit))
                advance(done - seen)
                seen = done

            yield progress


@contextlib.contextmanager
def _lines(step: Step, wanted: bool) -> Iterator[Advance]:
    """A line now and then, from a thread of its own: what takes long may be one call."""

    def advance(done: int) -> None:
        step.count += done

    if not wanted:
        yield advance
        return
    ended = threading.Event()

    def tell() -> None:
        wait = FIRST if step.work and step.plan.done == 0 else EVERY
        while not ended.wait(wait):
            told.note(step.line(time.monotonic()))
            wait = EVERY

    thread = threading.Thread(target=tell, name="genaudit progress", daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        ended.set()
        thread.join()
