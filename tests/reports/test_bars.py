"""Bars of intervals: what they hold lies on them, and their ends are numbers that people read at a glance."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudit.metrics.result import NOT_NEGATIVE, SHARE, RealFloor
from genaudit.reports.bars import bar, place, round_ends, scale
from genaudit.reports.values import Value

numbers = st.floats(-1e7, 1e7, allow_subnormal=False)


@given(numbers, st.floats(1e-6, 1e7))
def test_the_ends_hold_what_they_must_at_the_nearest_multiples_of_a_round_step(start: float, width: float) -> None:
    low, high = start, start + width * max(1.0, abs(start) / 1e4)  # within the digits that a float has
    first, last = round_ends(low, high)
    slack = 1e-8 * (high - low)
    assert first - slack <= low < high <= last + slack
    # the step: the largest of 1, 2 or 5 times a power of ten that fits four times between the two
    widest = Decimal(high - low) / 4
    power = Decimal(10) ** widest.adjusted()
    step = max(each * power for each in (1, 2, 5) if each * power <= widest)
    for end, inner in ((first, low), (last, high)):
        multiple = Decimal(end) / step
        assert abs(multiple - round(multiple)) < Decimal("1e-4"), "a multiple of the step"
        assert abs(Decimal(end) - Decimal(inner)) < step * Decimal("1.0001"), "and the nearest one outside"


def test_ends_are_short_to_read() -> None:
    assert round_ends(0, 0.137) == (0, 0.14)
    assert round_ends(0.1, 0.3) == (0.1, 0.3), "which are multiples already, whatever their last bits"
    assert round_ends(17432, 48744) == (15000, 50000)
    assert round_ends(2.5, 2.5) == (2.5, 2.5)
    shown = place(0.05, None, None, round_ends(-15000, 0.137))
    assert shown is not None
    assert (shown.low, shown.high, shown.width) == ("\N{MINUS SIGN}16,000", "2,000", 0)


def test_an_interval_lies_on_the_natural_range_or_on_a_scale_from_zero() -> None:
    recall = Value(0.5, 0.25, 0.75, range=SHARE)
    assert scale([recall]) == (0, 1)
    assert scale([Value(0.5, 0.25, 0.75), recall]) == (0, 1)  # of several runs, one of which declares it
    density = Value(10, 5, 10, range=NOT_NEGATIVE)
    assert scale([density]) == scale([Value(10, 5, 10)])  # it has no greatest value to draw to
    assert scale([Value(1.02, 0.9, 1.085, range=SHARE)]) == (0, 1.2)  # an estimate beyond its range
    share = bar(recall, scale([recall]))
    assert share is not None
    assert (share.left, share.width, share.at) == (25, 50, 50)
    assert (share.low, share.high, share.real) == ("0", "1", None), "the axis"
    free = bar(Value(10, 5, 13), scale([Value(10, 5, 13)]))  # 0 to 14
    assert free is not None
    assert (free.left, free.at, free.high) == (35.71, 71.43, "14")
    assert scale([Value(-1, -2.1, 0)])[0] == -2.5
    assert bar(Value(1.0), (0, 1)) is None
    assert bar(Value(float("nan"), 0, 1), (0, 1)) is None


def test_what_real_images_score_is_marked_where_it_is_on_the_scale() -> None:
    floor = Value(10, 5, 10, real=RealFloor(21.0, None, None, 5, "train"))
    beside = bar(floor, scale([floor]))
    assert beside is not None
    assert beside.high == "25"
    assert beside.real == pytest.approx(84, abs=0.01)
    assert "real images" in beside.scale
    outside = bar(floor, (0, 20))
    assert outside is not None
    assert outside.real is None
