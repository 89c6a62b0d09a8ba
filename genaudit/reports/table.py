"""A recomputed table: what a recipe hands over, and the rule by which a number counts as reproduced.

The verdict on a cell compares the recomputed value with the published one, by the first of these that holds:

- "reproduced": they differ by no more than `tolerance`, half a unit of the last published digit where the recipe
  gives no other;
- "within interval": the published value lies in the recomputed interval, and the trivial value does not: an interval
  that holds chance too speaks for neither;
- "within 1 %": they differ by no more than a hundredth of the published value, or of its distance from the trivial one;
- "same order": where there is a trivial value (chance: 0.5 of an AUROC, 8 bits of a pixel, a correlation of 0), both
  lie on one side of it and their distances from it differ by less than a factor of 2; elsewhere they have the same
  sign and differ by less than a factor of 10;
- "differs": none of these.

A value of a single training is "one training", whatever it is: another seed may come out elsewhere, and a verdict would
tell chance as a finding. Where the paper prints no number, "as expected" and "not as expected" compare with what the
value must be by a formula, a bound or the paper's words; "not published": there is nothing to compare
with; "not computed": this machine could not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from genaudit.metrics.result import Cloud, Curve, Marks, Pictures

CellVerdict = Literal[
    "reproduced",
    "within interval",
    "within 1 %",
    "same order",
    "differs",
    "one training",
    "as expected",
    "not as expected",
    "not published",
    "not computed",
]
NEAR, DISTANCES, ORDERS = 0.01, 2.0, 10.0
MEANINGS: dict[CellVerdict, str] = {  # for the readers of a page, each complete in itself; in the order of tallies
    "reproduced": "at most half a unit of the last printed digit off, or the tolerance that the table states",
    "within interval": "further off, but the published number lies in the recomputed interval, and chance does not",
    "within 1 %": "off by at most a hundredth of the published number, or of its distance from chance",
    "same order": "on the same side of chance, and their distances from it differ by less than a factor of 2 (without "
    "a chance level: of the same sign, and they differ by less than a factor of 10)",
    "differs": "further off than any of these: a tolerance, the interval, or a factor of 2 in the distance from chance "
    "(without a chance level: a factor of 10)",
    "one training": "the number of a single seed, which is no finding and is not judged",
    "as expected": "the paper prints no number, and this one agrees with what a formula, a bound or its words say",
    "not as expected": "the paper prints no number, and this one contradicts what a formula, a bound or its words say",
    "not published": "the paper prints no number to compare with",
    "not computed": "this machine lacks what the number needs",
}
Figure = Curve | Cloud | Marks | Pictures


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        row, column: its place.
        recomputed: what was computed now; None where it could not be.
        published: the number that the paper prints; None where it prints none.
        lower, upper: ends of the recomputed value's interval, where there is one.
        tolerance: how far apart the two may be and still be equal; None: half a unit of the last digit of `published`.
        unit, note: for people.
        expected: in place of a printed number: what a formula, a bound or a sentence of the paper says (1 for yes).
        trivial: what knowing nothing gives, of a bounded quantity: 0.5 of an AUROC, 0 of a correlation.
        trainings: with other seeds, whose mean the value is; None where no network was trained for it.
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
    expected: float | None = None
    trivial: float | None = None
    trainings: int | None = None

    @property
    def against(self) -> float | None:
        """What the recomputed value is compared with: the published number, else the expected one."""
        return self.expected if self.published is None else self.published

    @property
    def difference(self) -> float | None:
        """Recomputed minus published, or minus expected."""
        if self.recomputed is None or self.against is None:
            return None
        return self.recomputed - self.against

    @property
    def verdict(self) -> CellVerdict:
        """By the rule of this module."""
        if self.recomputed is None or not math.isfinite(self.recomputed):
            return "not computed"
        if self.trainings == 1:
            return "one training"
        if self.against is None:
            return "not published"
        allowed = last_digit(self.against) / 2 if self.tolerance is None else self.tolerance
        # a decimal such as 0.1 is not exact in binary: an error of the last bits must not decide
        slack = 1e-9 * max(abs(self.against), abs(self.recomputed))
        equal = abs(self.recomputed - self.against) <= allowed + slack
        if self.published is None:
            return "as expected" if equal or self._holds(self.against) else "not as expected"
        if equal:
            return "reproduced"
        if self._holds(self.published) and not (self.trivial is not None and self._holds(self.trivial)):
            return "within interval"
        base = self.trivial or 0.0
        ours, theirs = self.recomputed - base, self.published - base
        if abs(ours - theirs) <= NEAR * abs(theirs) + slack:
            return "within 1 %"
        most = ORDERS if self.trivial is None else DISTANCES
        if ours * theirs > 0 and 1 / most < ours / theirs < most:
            return "same order"
        return "differs"

    def _holds(self, value: float) -> bool:
        """Whether the interval, where there is one, holds a value."""
        return self.lower is not None and self.upper is not None and self.lower <= value <= self.upper


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
