"""SIGINT and SIGTERM end a command alike: what is in hand is finished and kept, then `KeyboardInterrupt` is raised.

The command line calls `handled`. Whoever has work that must not be torn apart, such as a training's step, puts it
under `deferred` and asks `requested` between two pieces of it. Outside the command line nothing is changed: signals
stay the caller's own, and `deferred` does nothing.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

AGAIN_SECONDS = 1.0  # a terminal and a supervisor may send one wish twice; a later signal insists
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _State:
    """depth: of the work that must not be torn apart. requested: a signal came meanwhile. last: when."""

    depth = 0
    requested = False
    last = float("-inf")


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Turns the signals into `KeyboardInterrupt`, but those that are ignored (nohup) or handled by somebody else.

    Signals are a process's own: elsewhere than in the main thread nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if handler in ours}
    _state.requested, _state.last = False, float("-inf")
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.requested = False


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Work that a first signal does not tear apart; a second one does.

    Raises:
        KeyboardInterrupt: at its end, where a signal came that nobody asked for by then.
    """
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        wanted, _state.requested = _state.requested, _state.requested and _state.depth > 0
    if wanted and _state.depth == 0:
        raise KeyboardInterrupt


def requested() -> bool:
    """Whether a signal came under `deferred`: finish, keep what there is, and raise `KeyboardInterrupt`."""
    return _state.requested


def _interrupt(number: int, frame: Any) -> None:
    now = time.monotonic()
    if now - _state.last < AGAIN_SECONDS:
        return
    _state.last = now
    if _state.depth and not _state.requested:
        _state.requested = True
        return
    raise KeyboardInterrupt
