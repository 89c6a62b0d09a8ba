"""The rule by which a recomputed number counts as reproduced, at its borders; steps that resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genaudit.recipe import Context
from genaudit.reports.table import Cell, last_digit
from genaudit_papers.published import compared, tables


@pytest.mark.parametrize(
    ("recomputed", "published", "more", "verdict"),
    [
        (0.9494, 0.949, {}, "reproduced"),  # within half a unit of the third digit
        (0.9496, 0.949, {}, "within 1 %"),
        (0.9584, 0.949, {}, "within 1 %"),  # 0.99 % away
        (0.9586, 0.949, {}, "same order"),  # 1.01 %
        (0.95, 0.949, {"trivial": 0.5, "tolerance": 0}, "within 1 %"),
        (0.954, 0.949, {"trivial": 0.5}, "same order"),  # 1.1 % of what lies above chance
        (0.5, 0.949, {"trivial": 0.5}, "differs"),  # chance itself
        (0.501, 0.949, {"trivial": 0.5}, "differs"),
        (0.30, 0.949, {"trivial": 0.5}, "differs"),  # below chance
        (0.72, 0.949, {"trivial": 0.5}, "differs"),  # less than half of the way
        (0.73, 0.949, {"trivial": 0.5}, "same order"),
        (0.35, 0.4, {"trivial": 0.5, "tolerance": 0.005}, "same order"),  # below chance both
        (7.8, 3.35, {"trivial": 8}, "differs"),  # an untrained density
        (4.0, 3.35, {"trivial": 8}, "same order"),
        (-0.3, -0.72, {"trivial": 0}, "differs"),
        (-0.4, -0.72, {"trivial": 0}, "same order"),
        (0.7, 0.949, {"trivial": 0.5, "lower": 0.4, "upper": 1.0}, "differs"),  # an interval that holds chance too
        (0.9, 0.949, {"trivial": 0.5, "lower": 0.8, "upper": 0.99}, "within interval"),
        (1.0, None, {"expected": 1.0}, "as expected"),
        (0.0, None, {"expected": 1.0}, "not as expected"),
        (0.4, None, {"expected": 0.5, "lower": 0.3, "upper": 0.6}, "as expected"),
        (0.9, 0.949, {"expected": 0.9}, "same order"),  # a printed number comes first
        (0.9496, 0.949, {"lower": 0.94, "upper": 0.96}, "within interval"),
        (0.9496, 0.949, {"tolerance": 0.001}, "reproduced"),
        (0.0949, 0.949, {}, "differs"),  # exactly a factor of 10
        (0.0950, 0.949, {}, "same order"),
        (-0.949, 0.949, {}, "differs"),
        (48744, 48744, {"tolerance": 0}, "reproduced"),
        (48745, 48744, {"tolerance": 0}, "within 1 %"),
        (0.0, 0.0, {}, "reproduced"),
        (None, 0.949, {}, "not computed"),
        (float("nan"), 0.949, {}, "not computed"),
        (0.5, None, {}, "not published"),
        (0.949, 0.949, {"trainings": 1}, "one training"),  # a hit of a single seed may be luck
        (0.5, None, {"trainings": 1}, "one training"),
        (None, 0.949, {"trainings": 1}, "not computed"),
        (0.949, 0.949, {"trainings": 2}, "reproduced"),
    ],
)
def test_verdict(recomputed: float | None, published: float | None, more: dict[str, Any], verdict: str) -> None:
    assert Cell("a", "b", recomputed, published, **more).verdict == verdict


def test_a_training_that_learned_nothing_is_the_same_order_nowhere() -> None:
    """A density at 8 bits and classifiers at chance, beside every number of the papers' tables of such quantities."""
    given = [cell for table in tables() for cell in table if cell.trivial is not None and not cell.bound]
    judged = [
        compared(cell, cell.trivial)
        for cell in given
        if cell.value is not None and abs(cell.value - (cell.trivial or 0)) > cell.half_unit
    ]
    assert len(judged) > 200
    assert {each.verdict for each in judged} == {"differs"}


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
