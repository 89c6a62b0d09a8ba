"""Progress bars with rate and time left, on standard error, for what takes longer than a second on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from genaudit.errors import one_line

Advance = Callable[[int], None]
PATIENCE = 1.0  # seconds before a bar appears


class Progress:
    """Makes bars: `with progress.bar("embedding", 1000) as advance: advance(8)`. Silent where nobody watches."""

    def __init__(self, wanted: bool = True) -> None:
        self.shown = wanted and sys.stderr.isatty()

    @contextlib.contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        """A bar over `total` images; the function it gives is told how many more are done."""
        if not self.shown:
            yield lambda done: None
            return
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
        task = bar.add_task(one_line(label), total=total, rate="")
        started, count, visible = time.monotonic(), 0, False

        def advance(done: int) -> None:
            nonlocal count, visible
            count += done
            elapsed = time.monotonic() - started
            if not visible and elapsed > PATIENCE:
                bar.start()
                visible = True
            bar.update(task, completed=count, rate=f"{count / max(elapsed, 1e-9):,.1f}/s")

        try:
            yield advance
        finally:
            if visible:
                bar.stop()

    @contextlib.contextmanager
    def scan(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """A bar whose length is known only later; the function it gives is told `(done, total)`."""
        with contextlib.ExitStack() as stack:
            advance: Advance | None = None
            seen = 0

            def progress(done: int, total: int) -> None:
                nonlocal advance, seen
                if advance is None:
                    advance = stack.enter_context(self.bar(label, total))
                advance(done - seen)
                seen = done

            yield progress
