"""How much memory the images being read may take at once, over all threads of the process.

A single image may need a gigabyte while it is decoded; sixteen threads that each hold one need sixteen. Whoever is
about to hold much claims it first and waits while others hold too much. Claims are nested in one order, `PREPARED`
outside `BYTES` outside `PIXELS`, and whoever holds an inner one never waits for an outer one, so nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator

from genaudit.data.bad_image import UnusableFile


class Budget:
    """An amount that is shared out in the order of asking; more than all of it is given to one at a time."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def claim(self, amount: int) -> Iterator[None]:
        """Holds `amount` (never more than the total) until left; waits until it is free."""
        amount = max(0, min(amount, self.total))
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                # those who came later wait for those before, or a large claim would starve
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self.held + amount <= self.total)
                self.held += amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self.held -= amount
                self._changed.notify_all()


PREPARED = Budget(2 << 30)  # decoded images on their way to a measure's size
BYTES = Budget(1 << 30)  # encoded files
PIXELS = Budget(2 << 30)  # images while they are decoded
DECODING_BYTES = 12  # a pixel: Pillow's own four, four of a conversion, four of copies


def check_memory(size: int, what: str, instead: str) -> None:
    """Raises UnusableFile for what would not fit into half of this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 33
    if size > memory // 2:
        raise UnusableFile(f"needs {size:,} bytes of memory for {what}, more than half of this machine's; {instead}")
