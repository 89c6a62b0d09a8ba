"""The rule by which a recomputed number counts as reproduced, at its borders; steps that resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genaudit.recipe import Context
from genaudit.reports.table import Cell, last_digit


@pytest.mark.parametrize(
    ("recomputed", "published", "more", "verdict"),
    [
        (0.9494, 0.949, {}, "reproduced"),  # within half a unit of the third digit
        (0.9496, 0.949, {}, "same order"),
        (0.9496, 0.949, {"lower": 0.94, "upper": 0.96}, "within interval"),
        (0.9496, 0.949, {"tolerance": 0.001}, "reproduced"),
        (0.0949, 0.949, {}, "differs"),  # exactly a factor of 10
        (0.0950, 0.949, {}, "same order"),
        (-0.949, 0.949, {}, "differs"),
        (48744, 48744, {"tolerance": 0}, "reproduced"),
        (48745, 48744, {"tolerance": 0}, "same order"),
        (0.0, 0.0, {}, "reproduced"),
        (None, 0.949, {}, "not computed"),
        (float("nan"), 0.949, {}, "not computed"),
        (0.5, None, {}, "not published"),
    ],
)
def test_verdict(recomputed: float | None, published: float | None, more: dict[str, Any], verdict: str) -> None:
    assert Cell("a", "b", recomputed, published, **more).verdict == verdict


def test_last_digit_of_numbers_as_papers_print_them() -> None:
    assert [last_digit(x) for x in (0.949, 17.4, 48744, 1e-7, 2.36e-5)] == [0.001, 0.1, 1, 1e-7, 1e-7]


def test_a_step_is_computed_once_and_read_back_equal(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"auroc": 0.1 + 0.2, "pair": (1, 2)}

    first = Context("laptop", tmp_path, None, tmp_path).step("seed 0", compute)
    again = Context("laptop", tmp_path, None, tmp_path).step("seed 0", compute)
    assert calls == [1]
    assert first == again == {"auroc": 0.1 + 0.2, "pair": [1, 2]}


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    context = Context("laptop", tmp_path, None, tmp_path)

    def fail() -> None:
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError):
        context.step("seed 0", fail)
    assert context.step("seed 0", lambda: 3) == 3
