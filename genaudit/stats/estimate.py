"""A number with its interval: the one type of every estimate, from a statistic to the reports.

>>> recall = Estimate(0.62, 0.55, 0.68)
>>> recall > 0.5, recall.lower
(True, 0.55)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Estimate(float):
    """A float that knows the ends of its interval; arithmetic takes the value alone and gives plain floats.

    It is compared, hashed and printed in a sentence as its value; `repr` shows the ends.

    Attributes:
        lower, upper: the ends; None where nothing bounds the value on that side (an end given as NaN is None too).
    """

    __slots__ = ("lower", "upper")
    lower: float | None
    upper: float | None

    def __new__(cls, value: float, lower: float | None = None, upper: float | None = None) -> Estimate:
        made = super().__new__(cls, value)
        made.lower, made.upper = _end(lower), _end(upper)
        return made

    @property
    def value(self) -> float:
        """The number alone."""
        return float(self)

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Lower and upper end."""
        return self.lower, self.upper

    def holds(self, number: float) -> bool:
        """Whether a number lies within the interval, its ends included; an end that is None bounds nothing."""
        return (self.lower is None or self.lower <= number) and (self.upper is None or number <= self.upper)

    def map(self, increasing: Callable[[float], float]) -> Estimate:
        """The estimate of an increasing function of the value: the function of the value and of each end.

        >>> Estimate(30.0, 20.0).map(lambda number: number / 40)
        Estimate(0.75, 0.5, None)
        """
        ends = (None if end is None else increasing(end) for end in self.ends)
        return Estimate(increasing(self.value), *ends)

    def __repr__(self) -> str:
        return f"Estimate({self.value!r}, {self.lower!r}, {self.upper!r})"

    __str__ = float.__repr__  # in a sentence an estimate is its number

    def __getnewargs__(self) -> Any:  # copies and pickles keep the ends
        return self.value, self.lower, self.upper


def _end(number: float | None) -> float | None:
    """NaN is no end."""
    return None if number is None or number != number else float(number)
