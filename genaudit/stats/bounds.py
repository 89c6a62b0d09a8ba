"""Ranges of numbers that a user may set, written where the number is declared.

    def judge(*, generated, reference, k: Count = 5): ...

The annotation is what the command line checks before it measures anything (`genaudit.tasks.run.signatures`), so that a
setting and its range stand at one place. `positive_int` and its like check the same of a function's argument.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Annotated, Any, get_args


@dataclass(frozen=True)
class Bounds:
    """Numbers from `low` to `high`; the ends themselves are left out where `above` and `below` say so."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def hold(self, value: float) -> bool:
        """Whether a number lies within."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high

    def describe(self, noun: str) -> str:
        """ "a positive integer", "a number above 0 and below 1"; `noun` is "integer" or "number"."""
        whole = noun == "integer"
        a = "an" if whole else "a"
        if self.high == math.inf:
            if (whole and self.low == 1 and not self.above) or (self.low == 0 and self.above):
                return f"a positive {noun}"
            return f"{a} {noun} above {self.low:g}" if self.above else f"{a} {noun} of {self.low:g} or more"
        if self.low == -math.inf:
            return f"{a} {noun} {'below' if self.below else 'up to'} {self.high:g}"
        if not self.above and not self.below:
            return f"{a} {noun} from {_written(self.low)} to {_written(self.high)}"
        lower = f"above {self.low:g}" if self.above else f"of {self.low:g} or more"
        upper = f"below {self.high:g}" if self.below else f"up to {self.high:g}"
        return f"{a} {noun} {lower} and {upper}"


def _written(end: float) -> str:
    return str(int(end)) if float(end).is_integer() and abs(end) < 1e12 else f"{end:g}"


@dataclass(frozen=True)
class Among:
    """One of a few numbers."""

    values: tuple[int, ...]

    def hold(self, value: float) -> bool:
        return value in self.values

    def describe(self, noun: str) -> str:
        return " or ".join(map(str, self.values))


Channels = Annotated[int, Among((1, 3))]
Count = Annotated[int, Bounds(1)]
# of one step per image or per estimate: more than any paper uses, and fewer than a slip of the keyboard may ask for
MOST_REPEATS = 100_000
Repeats = Annotated[int, Bounds(1, MOST_REPEATS)]
Side = Annotated[int, Bounds(1, 8192)]  # of a network's image, in pixels
Natural = Annotated[int, Bounds(0)]
# scikit-learn's generators take seeds of 32 bits, and a recipe counts several up from the run's
MOST_SEED = 2**31 - 1
Seed = Annotated[int, Bounds(0, MOST_SEED)]
Width = Annotated[float, Bounds(1e-20, 1e20)]  # of a kernel, in units of the features: its square must be a number
Positive = Annotated[float, Bounds(0, above=True)]
NonNegative = Annotated[float, Bounds(0)]
Share = Annotated[float, Bounds(0, 1, above=True)]
Probability = Annotated[float, Bounds(0, 1, above=True, below=True)]


def checked(name: str, value: Any, kind: Any, *, error: type[Exception] = ValueError) -> Any:
    """An argument that is what it must be.

    Args:
        name: of the argument, for the message.
        kind: one of the annotations above.
        error: what is raised.

    Raises:
        error: "k must be a positive integer, got 0".

    >>> checked("confidence", 0.9, Probability)
    0.9
    """
    plain, bounds = get_args(kind)
    whole = plain is int
    right_type = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
    if not right_type or not bounds.hold(value):
        raise error(f"{name} must be {bounds.describe('integer' if whole else 'number')}, got {value}")
    return int(value) if whole else value


def positive_int(name: str, value: Any, *, error: type[Exception] = ValueError) -> int:
    """An argument that counts something: an integer of 1 or more, of any integral type, as an int.

    Raises:
        error: "k must be a positive integer, got 0".
    """
    number: int = checked(name, value, Count, error=error)
    return number


def probability(name: str, value: Any, *, error: type[Exception] = ValueError) -> float:
    """An argument above 0 and below 1, such as a level or a confidence.

    Raises:
        error: "confidence must be a number above 0 and below 1, got 95".
    """
    number: float = checked(name, value, Probability, error=error)
    return number
