"""Changes of what a whole process has only once, when several threads may want them at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Undo = Callable[[], None]


class Shared:
    """A change of process-wide state: the first thread that needs it makes it, the last one takes it back.

    Each thread saving and restoring by itself would leave the change behind for ever: the second one saves what the
    first has changed, and restores that after the first has put everything right.

    Args:
        change: makes the change and returns what undoes it.
    """

    def __init__(self, change: Callable[[], Undo]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Undo = _nothing

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The change holds inside."""
        with self._lock:
            if self._users == 0:
                self._undo = self._change()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    undo, self._undo = self._undo, _nothing
                    undo()


def _nothing() -> None:
    pass
