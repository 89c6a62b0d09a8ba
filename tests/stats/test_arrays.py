"""Rows as the statistics take them: which sizes of values, and that within these the size alone changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genaudit.metrics.ct import judge as ct
from genaudit.metrics.irs import judge as irs
from genaudit.metrics.prdc import prdc
from genaudit.stats.arrays import LEAST, MOST, as_rows, blocks

RNG = np.random.default_rng(0)
SETS = [RNG.normal(size=(60, 12)) for _ in range(3)]
ENDS = [int(np.ceil(np.log2(LEAST))) + 2, int(np.floor(np.log2(MOST))) - 3]  # SETS hold values between 2^-2 and 2^3


@pytest.mark.parametrize("exponent", [*ENDS, -20, 20])
def test_neighbourhoods_do_not_depend_on_the_unit(exponent: int) -> None:
    """A power of two leaves the order of float64 distances as it was; the shortlist's float32 squares are others."""
    scaled = [rows * 2.0**exponent for rows in SETS]
    generated, reference, train = SETS
    assert prdc(scaled[0], scaled[1], k=5) == prdc(generated, reference, k=5)
    here, there = (irs(generated=a, train=c, reference=b) for a, b, c in (SETS, scaled))
    assert here.irs_alpha == there.irs_alpha
    assert ct(generated=scaled[0], train=scaled[2], reference=scaled[1]).ct == pytest.approx(
        ct(generated=generated, train=train, reference=reference).ct, rel=1e-9
    )


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([[1.0, 2e15]], "s holds values of 2e[+]15 in size, and distances are computed up to 1e[+]15: divide"),
        ([[-1e300, 0.0]], "s holds values of 1e[+]300 in size"),
        ([[1e-16, -5e-16]], "s holds no value above 5e-16 in size, and distances need one of 1e-15: multiply"),
        ([[np.nan, 1e30]], "s holds values that are not finite"),
        ([[1.0, -np.inf]], "s holds values that are not finite"),
    ],
)
def test_values_that_float32_cannot_square_are_named(rows: list[list[float]], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        as_rows(rows, "s")


def test_rows_of_zeros_one_small_row_among_others_and_the_ends_are_rows() -> None:
    for rows in ([[0.0, 0.0]], [[1e-30, 0.0], [1.0, 0.0]], [[MOST, -MOST]], [[0.0, LEAST]]):
        assert len(as_rows(rows, "s")) == len(rows)
    with pytest.raises(ValueError, match=r"s holds values of 1e\+20"):
        list(blocks(np.full((2, 2), 1e20), "s"))
    assert sum(len(block) for _, block in blocks(np.full((5, 2), 1e-20), "s", size=2)) == 5  # a block may be small


def test_tensors_of_every_type_and_layout_are_rows() -> None:
    exact = torch.tensor([[0.5, 0.0], [0.0, -2.0]])
    for tensor in (exact.bfloat16(), exact.half(), exact.to(torch.float8_e5m2), exact.to_sparse(),
                   torch._neg_view(-exact), exact.clone().requires_grad_()):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(as_rows(tensor, "s"), np.float64), exact.numpy())


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (torch.zeros(2, 2, device="meta"), "s is a tensor of the device meta, which holds no values"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), "s masks 1 of its values"),
        (np.zeros((3, 0)), r"s must have shape \(N, D\) with N, D >= 1, not \(3, 0\)"),
    ],
)
def test_what_holds_no_values_is_refused_by_name(rows: object, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        as_rows(rows, "s")
