"""NumPy and torch multiply alike: what metrics make of the products does not depend on which of them did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from genaudit.metrics.authpct import authpct
from genaudit.metrics.prdc import judge as prdc
from genaudit.metrics.rarity import judge as rarity
from genaudit.metrics.realism import judge as realism
from genaudit.stats import products
from genaudit.stats.products import NumPyProducts, TorchProducts


@pytest.fixture(params=["normal", "copies"])
def sets(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    reference, generated = (rng.normal(size=(90, 7)).astype(np.float32) for _ in range(2))
    if request.param == "copies":
        generated[:20] = reference[:20]
        reference[40:50] = reference[40]
    return {"reference": reference, "generated": generated}


@pytest.mark.parametrize("metric", [prdc, rarity, realism], ids=lambda each: each.__module__)
def test_values_do_not_depend_on_what_multiplies(
    metric: Any, sets: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for worth in (0, np.inf):
        monkeypatch.setattr(products, "WORTH_TORCH", worth)
        found.append(asdict(metric(**sets)))
    for name, value in found[0].items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, found[1][name], err_msg=name)
    values = [{name: getattr(each, "value", each) for name, each in one.items()} for one in found]
    assert {k: v for k, v in values[0].items() if isinstance(v, float)} == {
        k: v for k, v in values[1].items() if isinstance(v, float)
    }


def test_nearest_does_not_depend_on_what_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    train, generated = (rng.normal(size=(300, 12)).astype(np.float32) for _ in range(2))
    found = []
    for worth in (0, np.inf):
        monkeypatch.setattr(products, "WORTH_TORCH", worth)
        found.append(authpct(train, generated))
    assert found[0] == found[1]


def test_the_choice_is_by_device_and_work_alone() -> None:
    assert isinstance(products.products("cpu", products.WORTH_TORCH / 2), NumPyProducts)
    assert isinstance(products.products("cpu", products.WORTH_TORCH * 2), TorchProducts)
    assert isinstance(products.products("cuda:0", 1.0), TorchProducts)


@pytest.mark.parametrize("m", [1, 5, 40])
def test_the_largest_of_each_column_come_in_order(m: int) -> None:
    scores = np.random.default_rng(2).permutation(40 * 30).reshape(40, 30).astype(np.float32)
    expected = np.argsort(-scores, axis=0)[:m]
    np.testing.assert_array_equal(NumPyProducts().highest_of_columns(scores, m), expected)
    by = TorchProducts("cpu")
    np.testing.assert_array_equal(by.get(by.highest_of_columns(by.put(scores), m)), expected)
