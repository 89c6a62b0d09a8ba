"""An estimate is its number in arithmetic, and keeps its ends through copies, pickles and increasing functions."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudit.stats.estimate import Estimate

NUMBERS = st.floats(-1e9, 1e9)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_an_estimate_calculates_as_its_value_and_results_have_no_ends(value: float, lower: float, other: float) -> None:
    found = Estimate(value, lower)
    assert (found + other, found < other, hash(found)) == (value + other, value < other, hash(value))
    assert type(found * 2) is float
    assert f"{found:.3f}|{found}" == f"{value:.3f}|{value}"
    assert json.loads(json.dumps([found])) == [value]
    assert np.asarray([found, found]).dtype == np.float64


def test_it_is_equal_to_every_number_of_its_value() -> None:
    found = Estimate(1.0, 0.5, 2.0)
    assert found == 1.0 == Estimate(1.0)
    assert found != 1.5
    assert found == pytest.approx(1.0)
    assert len({found, Estimate(1.0), 1.0}) == 1


def test_copies_and_pickles_keep_the_ends() -> None:
    found = Estimate(1.0, None, 2.0)
    for each in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert repr(each) == "Estimate(1.0, None, 2.0)"


def test_nan_is_no_end_and_infinity_is_one() -> None:
    assert Estimate(1.0, float("nan"), float("inf")).ends == (None, float("inf"))


def test_an_increasing_function_moves_value_and_ends_and_leaves_absent_ends_absent() -> None:
    assert repr(Estimate(4.0, 1.0, 9.0).map(lambda x: x**0.5)) == "Estimate(2.0, 1.0, 3.0)"
    assert repr(Estimate(4.0, None, 9.0).map(lambda x: min(x, 5.0))) == "Estimate(4.0, None, 5.0)"


def test_it_holds_what_lies_between_its_ends_and_an_absent_end_bounds_nothing() -> None:
    assert [Estimate(1.0, 0.5, 2.0).holds(x) for x in (0.4, 0.5, 2.0, 2.1)] == [False, True, True, False]
    assert [Estimate(1.0, 0.5).holds(x) for x in (0.4, 1e300)] == [False, True]
    assert Estimate(1.0).holds(-1e300)
