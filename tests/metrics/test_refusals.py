"""Rows of all degenerate kinds: a metric has a value, or refuses in its own words; no library's warning or error."""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genaudit
from genaudit.metrics.result import Unavailable

FEW: dict[str, dict[str, int]] = {
    "fd_infinity": {"points": 3},
    "mind": {"directions": 8},
    "swd": {"directions": 8},
    "fkea": {"frequencies": 8},
}
NAMES = [
    *("authpct", "cdc", "cmmd", "ct", "fd_infinity", "fkea", "frechet", "irs", "kernel", "mifid", "mind", "prdc"),
    *("rarity", "realism", "swd", "train_distance", "vendi"),
]
OURS = Path(genaudit.__file__).parent


def _sets() -> Iterator[tuple[str, list[np.ndarray]]]:
    """Names, and rows of generated, reference and training images."""
    rng = np.random.default_rng(0)
    for few in (1, 2):
        for place in range(3):
            yield f"{few} in set {place}", [rng.normal(size=(few if i == place else 25, 4)) for i in range(3)]
    for equal in (1, 2, 5):
        yield f"{equal} in all", [rng.normal(size=(equal, 4)) for _ in range(3)]
    yield "one value", [np.full((25, 4), 1.5)] * 3
    yield "zeros", [np.zeros((25, 4))] * 3
    yield "two values", [np.repeat(rng.normal(size=(2, 4)), [20, 5], axis=0) for _ in range(3)]
    yield "hardly any value", [np.maximum(rng.normal(size=(25, 4)) - 2, 0)] * 3
    yield "few values of one column", [np.round(rng.normal(size=(25, 1))) for _ in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_every_refusal_is_the_metrics_own_and_no_library_warns(name: str) -> None:
    judge = import_module(f"genaudit.metrics.{name}").judge
    takes = inspect.signature(judge).parameters
    foreign = []
    for kind, sets in _sets():
        roles: dict[str, Any] = dict(zip(("generated", "reference", "train"), sets, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                judge(**{role: rows for role, rows in roles.items() if role in takes}, **FEW.get(name, {}))
            except (Unavailable, ValueError) as refusal:
                raised = Path(traceback.extract_tb(refusal.__traceback__)[-1].filename)
                if not raised.is_relative_to(OURS):
                    foreign.append(f"{kind}: {refusal} comes from {raised}")
    assert foreign == []
