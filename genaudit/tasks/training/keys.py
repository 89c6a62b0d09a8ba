"""The keys that every training knows, checked: how often to log, how often to keep a checkpoint."""

from __future__ import annotations

from typing import Any

from genaudit.errors import UserError

ROWS = 200  # of the log, over a whole run


def every_of(given: Any, iterations: int) -> int:
    """The key `every`: iterations between two rows of the log; null gives `ROWS` rows.

    Raises:
        UserError: not a positive integer.
    """
    if given is None:
        return max(1, iterations // ROWS)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise UserError(f"every must be a positive integer or null, got {given}")
    return given


def checkpoint_seconds_of(cfg: Any) -> float:
    """The key `checkpoint_seconds`, 0 or above.

    Raises:
        UserError: another value.
    """
    value = cfg.checkpoint_seconds
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise UserError(f"checkpoint_seconds={value}: a number of 0 or above is needed")
    return float(value)
