"""Series and limits inside the occupancy law, each against the closed form that it stands for."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

from genaudit.stats import occupancy_law


@pytest.mark.parametrize("r", [0.3, 0.6, 0.9, 0.999])
def test_the_excess_is_the_logarithm_of_the_zero_truncated_series(r: float) -> None:
    # log((e^w - 1)/w) is a few tenths: its own rounding is a few 1e-16
    expected = math.log(math.expm1(r) / r)
    assert float(occupancy_law._log_excess_at(np.array([r]))[0]) == pytest.approx(expected, rel=1e-15)
    angles = np.array([[0.1, 0.7, 2.0, math.pi]])
    turned = [cmath.log((cmath.exp(w) - 1) / w) for w in (r * cmath.exp(1j * angle) for angle in angles[0])]
    found = occupancy_law._log_excess(np.array([r]), angles)[0]
    np.testing.assert_allclose(found, np.array(turned) - expected, rtol=0, atol=1e-15)


def test_the_excess_beyond_one_is_the_same_function() -> None:
    r = np.array([1.0, 1.5, 20.0])
    expected = r + np.log1p(-np.exp(-r)) - np.log(r)
    np.testing.assert_allclose(occupancy_law._log_excess_at(r), expected, rtol=1e-14)


@pytest.mark.parametrize("x", [1.0, 5.0, 15.9, 16.0, 40.0, 1000.0])
def test_stirlings_error_is_what_the_factorial_has_beyond_his_formula(x: float) -> None:
    # lgamma errs by 1e-16 of its value, log x! of 1000 by 6e-13
    expected = math.lgamma(x + 1) - (0.5 * math.log(2 * math.pi * x) + x * math.log(x) - x)
    assert float(occupancy_law._stirling_error(x)) == pytest.approx(expected, abs=3e-16 * max(1.0, math.lgamma(x + 1)))


@pytest.mark.parametrize(("n", "s"), [(1, 1), (2, 3), (5, 5), (9, 100), (30, 200), (120, 1000)])
def test_all_draws_differ_with_the_probability_of_a_falling_factorial(n: int, s: int) -> None:
    expected = math.log(math.perm(s, n) / s**n) if s**n < 10**300 else math.log(math.perm(s, n)) - n * math.log(s)
    assert float(occupancy_law.log_all_differ(n, s)) == pytest.approx(expected, rel=1e-11, abs=1e-14)


def test_more_items_than_there_are_cannot_be_seen() -> None:
    band = occupancy_law.Band(np.array([1, 3, 4]), 4)
    found = band.log_pmf(2)
    assert found[0] == pytest.approx(math.log(2 / 2**4), rel=1e-12)  # all four draws are one of two items
    assert found[1:].tolist() == [-math.inf, -math.inf]
