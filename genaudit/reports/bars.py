"""Bars: values with their intervals on a scale that ends at round numbers, as every page draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genaudit.reports.digits import show_end
from genaudit.reports.values import Value

FEWEST_STEPS = 4  # between the ends of what an axis holds: neither end is more than a step further out


@dataclass(frozen=True)
class Bar:
    """Places on a scale, in percent of its width.

    Attributes:
        at: the value's. low, high: the scale's ends, as text. left, width: the interval's; width 0 without one.
        real: that of what real images score; None where it is not known or not on the scale.
        published: that of the number that the value is compared with; None without one.
    """

    at: float
    low: str
    high: str
    left: float = 0.0
    width: float = 0.0
    real: float | None = None
    published: float | None = None

    @property
    def scale(self) -> str:
        """What the bar shows, in words."""
        words = [f"scale from {self.low} to {self.high}"]
        if self.published is not None:
            words.append("the circle is the published or expected number, the line the recomputed one")
        if self.real is not None:
            words.append("the grey line is what real images score")
        return "; ".join(words)


def round_ends(low: float, high: float) -> tuple[float, float]:
    """The nearest multiples of a round step around `low` and `high`; the two as they are where they are equal.

    The step is the largest of 1, 2 or 5 times a power of ten that fits `FEWEST_STEPS` times between the two.

    >>> round_ends(0, 0.137), round_ends(17432, 48744), round_ends(-0.03, 0.96)
    ((0.0, 0.14), (15000.0, 50000.0), (-0.2, 1.0))
    """
    if not high > low:
        return low, high
    widest = (high - low) / FEWEST_STEPS
    power = 10.0 ** math.floor(math.log10(widest))
    step = max(each * power for each in (1, 2, 5) if each == 1 or each * power <= widest)
    # 0.3 / 0.1 is 2.9999999999999996: an end that is a multiple already must stay
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return float(f"{first * step:.12g}"), float(f"{last * step:.12g}")


def scale(values: Sequence[Value]) -> tuple[float, float]:
    """The values' natural range, else round numbers from 0 (or below) to above all of `values` and their intervals."""
    numbers = [each for value in values for each in (value.value, value.lower, value.upper)]
    numbers += [value.real.value for value in values if value.real is not None]
    finite = [each for each in numbers if each is not None and math.isfinite(each)]
    ranges = [value.range for value in values if value.range is not None]
    natural = next((each for each in ranges if math.isfinite(each[1])), (0.0, 0.0))
    ends = min([natural[0], *finite]), max([natural[1], *finite])
    return ends if ends == natural else round_ends(*ends)


def bar(value: Value, between: tuple[float, float]) -> Bar | None:
    """The interval's place between the two ends of a scale; None without an interval."""
    if value.lower is None or value.upper is None:
        return None
    real = None if value.real is None else value.real.value
    return place(value.value, value.lower, value.upper, between, real=real)


def place(
    value: float,
    lower: float | None,
    upper: float | None,
    between: tuple[float, float],
    *,
    real: float | None = None,
    published: float | None = None,
) -> Bar | None:
    """A bar on the scale `between`; None where a number is not finite, or the scale has no width."""
    low, high = between
    if not high > low or not all(math.isfinite(each) for each in (value, lower, upper, published) if each is not None):
        return None

    def percent(number: float) -> float:
        return round(100 * (number - low) / (high - low), 2)

    interval = (0.0, 0.0) if lower is None or upper is None else (percent(lower), percent(upper))
    grey = None if real is None or not low <= real <= high else percent(real)
    circle = None if published is None else percent(published)
    width = round(max(interval[1] - interval[0], 0.0), 2)
    return Bar(percent(value), show_end(low), show_end(high), interval[0], width, grey, circle)
