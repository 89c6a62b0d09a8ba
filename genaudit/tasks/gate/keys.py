"""The gate's own keys, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genaudit.errors import UserError
from genaudit.metrics.gate import Mode, Question
from genaudit.stats.bounds import positive_int


@dataclass(frozen=True)
class GateKeys:
    """The gate's own keys, checked."""

    question: Question
    mode: Mode | None
    n_max: int | None
    distance: str
    absolute: bool

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> GateKeys:
        """Reads and checks the keys.

        Raises:
            UserError: names the key and what was expected.
        """
        numbers = {key: _number(cfg, key) for key in ("irs_target", "alpha", "detect", "power")}
        target = numbers["irs_target"]
        if 1 < target <= 100:
            raise UserError(
                f"irs_target must be a share above 0 and up to 1, got {target:g} ({target:g} % is "
                f"irs_target={target / 100:g})"
            )
        try:
            question = Question(**numbers)
        except ValueError as error:
            raise UserError(str(error)) from error
        mode, n_max, distance, absolute = cfg["mode"], cfg["n_max"], str(cfg["distance"]), cfg["absolute"]
        if mode not in (None, "fixed", "sequential"):
            raise UserError(f"mode must be fixed or sequential, got {mode}")
        if distance not in ("euclidean", "cosine"):
            raise UserError(f"distance must be euclidean or cosine, got {distance}")
        if n_max is not None:
            positive_int("n_max", n_max, error=UserError)
        if not isinstance(absolute, bool):
            raise UserError(f"absolute must be true or false, got {absolute}")
        return cls(question, mode, n_max, distance, absolute)


def _number(cfg: Mapping[str, Any], key: str) -> float:
    value = cfg[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{key} must be a number, got {value}")
    return float(value)
