"""Arguments are checked by the ranges that the annotations state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genaudit.stats.bounds import Natural, NonNegative, Positive, Share, checked, positive_int, probability


class Refused(Exception):
    pass


@pytest.mark.parametrize("wrong", [0, -3, 2.0, 2.5, True, "2", None, math.nan, math.inf])
def test_what_counts_is_a_positive_integer(wrong: object) -> None:
    with pytest.raises(ValueError, match=rf"^k must be a positive integer, got {wrong}$"):
        positive_int("k", wrong)
    with pytest.raises(Refused, match="k must be"):
        positive_int("k", wrong, error=Refused)


def test_integers_of_numpy_count_too_and_come_back_as_pythons() -> None:
    assert type(positive_int("k", np.int64(3))) is int
    assert positive_int("k", np.int64(3)) == 3
    assert positive_int("k", 1) == 1


@pytest.mark.parametrize("wrong", [0, 1, 95, -0.1, math.nan, "0.5", True])
def test_a_level_lies_strictly_between_nought_and_one(wrong: object) -> None:
    with pytest.raises(ValueError, match=rf"^alpha must be a number above 0 and below 1, got {wrong}$"):
        probability("alpha", wrong)
    with pytest.raises(Refused, match="alpha must be"):
        probability("alpha", wrong, error=Refused)


def test_ends_belong_to_a_range_as_its_annotation_says() -> None:
    assert checked("share", 1, Share) == 1
    assert checked("count", 0, Natural) == 0
    assert checked("seconds", 0.0, NonNegative) == 0
    assert probability("alpha", np.float32(0.5)) == 0.5
    for name, value, kind in (("share", 0, Share), ("width", 0.0, Positive), ("count", -1, Natural)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            checked(name, value, kind)
