"""A recomputed table: what a recipe hands over, and the rule by which a number counts as reproduced.

The verdict on a cell compares the recomputed value with the published one:

- "reproduced": they differ by no more than `tolerance`, half a unit of the last published digit where the recipe
  gives no other;
- "within interval": they differ by more, but the published value lies in the recomputed interval;
- "same order": neither, but they have the same sign and differ by less than a factor of 10;
- "differs": none of these;
- "not published": a value that the paper does not give; "not computed": one that this machine could not compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from genaudit.metrics.result import Cloud, Curve, Pictures

CellVerdict = Literal["reproduced", "within interval", "same order", "differs", "not published", "not computed"]
Figure = Curve | Cloud | Pictures


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        row, column: its place.
        recomputed: what was computed now; None where it could not be.
        published: what the paper prints; None where it prints nothing.
        lower, upper: ends of the recomputed value's interval, where there is one.
        tolerance: how far apart the two may be and still be equal; None: half a unit of the last digit of `published`.
        unit, note: for people.
    """

    row: str
    column: str
    recomputed: float | None
    published: float | None = None
    lower: float | None = None
    upper: float | None = None
    tolerance: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Recomputed minus published."""
        if self.recomputed is None or self.published is None:
            return None
        return self.recomputed - self.published

    @property
    def verdict(self) -> CellVerdict:
        """By the rule of this module."""
        if self.recomputed is None or not math.isfinite(self.recomputed):
            return "not computed"
        if self.published is None:
            return "not published"
        allowed = last_digit(self.published) / 2 if self.tolerance is None else self.tolerance
        # a decimal such as 0.1 is not exact in binary: an error of the last bits must not decide
        slack = 1e-9 * max(abs(self.published), abs(self.recomputed))
        if abs(self.recomputed - self.published) <= allowed + slack:
            return "reproduced"
        if self.lower is not None and self.upper is not None and self.lower <= self.published <= self.upper:
            return "within interval"
        same_sign = self.recomputed * self.published > 0
        if same_sign and 0.1 < self.recomputed / self.published < 10:
            return "same order"
        return "differs"


@dataclass(frozen=True)
class Table:
    """A recomputed table or figure.

    Attributes:
        name: of its YAML. title, source: what it is, and where it is published. scale: "laptop" or "paper".
        differs: what differs from the paper's setting; empty where nothing does.
        figures: drawn beside the numbers. notes: sentences for below the table.
    """

    name: str
    title: str
    source: str
    cells: tuple[Cell, ...]
    scale: str
    differs: str = ""
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


def last_digit(number: float) -> float:
    """One unit of the last decimal digit that a number is written with; 1 for an integer.

    >>> last_digit(0.949), last_digit(17.0), last_digit(48744)
    (0.001, 1.0, 1.0)
    """
    text = format(number, ".12g")
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        return 10.0 ** (int(exponent) - len(mantissa.partition(".")[2]))
    return round(10.0 ** -len(text.partition(".")[2]), 12)
