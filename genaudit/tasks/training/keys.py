"""The keys that every training knows, checked: how often to log, how often to keep a checkpoint."""

from __future__ import annotations

from typing import Any

from genaudit.errors import UserError
from genaudit.stats.bounds import NonNegative, checked, positive_int

ROWS = 200  # of the log, over a whole run


def every_of(given: Any, iterations: int) -> int:
    """The key `every`: iterations between two rows of the log; null gives `ROWS` rows.

    Raises:
        UserError: not a positive integer.
    """
    if given is None:
        return max(1, iterations // ROWS)
    return positive_int("every", given, error=UserError)


def checkpoint_seconds_of(cfg: Any) -> float:
    """The key `checkpoint_seconds`, 0 or above.

    Raises:
        UserError: another value.
    """
    return float(checked("checkpoint_seconds", cfg.checkpoint_seconds, NonNegative, error=UserError))
