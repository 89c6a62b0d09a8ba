"""Batches are halved until they fit, rows stay in order, and nothing else is swallowed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudit.stats.memory import Fitting, out_of_memory, rows_that_fit


@pytest.fixture(scope="module", autouse=True)
def _no_collection() -> Iterator[None]:
    """Collecting garbage takes longer than everything else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genaudit.stats.memory._free", lambda: None)
        yield


class Device:
    """Takes so many rows at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.seen = most, list[int]()

    def __call__(self, rows: np.ndarray, names: list[str]) -> np.ndarray:
        assert len(rows) == len(names)
        self.seen.append(len(rows))
        if len(rows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return 2 * rows


@pytest.mark.filterwarnings("ignore:.*do not fit")
@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 3))
@settings(max_examples=60)
def test_all_rows_come_in_order_and_no_part_is_larger_than_what_fits(count: int, most: int, batches: int) -> None:
    device, fitting = Device(most), Fitting("x")
    rows = np.arange(count)
    for _ in range(batches):
        found = np.concatenate(fitting(device, rows, [str(row) for row in rows]))
        np.testing.assert_array_equal(found, 2 * rows)
    failures = [size for size in device.seen if size > most]
    # every failure halves what is tried, rounded up, and no later batch begins with more
    assert failures == sorted(failures, reverse=True)
    assert len(failures) <= int(np.ceil(np.log2(max(count / most, 1)))) + 1
    assert 2 * device.seen[len(failures)] >= min(most, count)  # and no part is smaller than it need be


def test_the_warning_names_the_batch_size_that_fits() -> None:
    with pytest.warns(RuntimeWarning, match=r"embedding x: 8 images at a time do not fit .* batch_size=4"):
        Fitting("embedding x")(Device(4), np.arange(8), list("abcdefgh"))


@pytest.mark.filterwarnings("ignore:.*do not fit")
def test_parts_are_multiples_of_the_unit_and_one_that_does_not_fit_is_an_error() -> None:
    device = Device(4)
    Fitting("x", unit=4)(device, np.arange(24), list("a" * 24))
    assert all(size % 4 == 0 for size in device.seen)
    with pytest.raises(torch.OutOfMemoryError):
        Fitting("x", unit=8)(Device(4), np.arange(24), list("a" * 24))
    with pytest.raises(torch.OutOfMemoryError):
        Fitting("x")(Device(0), np.arange(3), list("abc"))


def test_other_errors_are_not_mistaken_for_too_little_memory() -> None:
    tried: list[int] = []

    def broken(rows: np.ndarray) -> None:
        tried.append(len(rows))
        raise RuntimeError("sizes must match")

    with pytest.raises(RuntimeError, match="sizes"):
        Fitting("x")(broken, np.arange(3))
    assert tried == [3]  # smaller parts would only hide it for a while
    assert out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(ValueError("out of memory"))
    # other libraries' own, whatever their text says
    assert out_of_memory(type("OutOfMemoryError", (Exception,), {})("allocation failed"))


def test_batches_begin_with_a_row_at_least_and_with_no_more_than_is_asked() -> None:
    assert rows_that_fit(3 * 4096 * 4096, 64) == 1
    assert rows_that_fit(1, 64) == 64
    assert [rows_that_fit(3 * side * side, 10**9) for side in (32, 64)] == [4096, 1024]  # as many pixels
