"""The gradient-normalising policy against closed forms and a plain reading of Algorithms 2 and 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from genaudit.piad.weighting import balance_weight, exponential_smoothing, gradient_sizes

RNG = np.random.default_rng(0)
ABOVE, BELOW = RNG.gamma(2, size=(3, 30)), RNG.gamma(3, size=(3, 30))


def smooth(values: Any, alpha: float) -> list[float]:
    out = [float(values[0])]
    for value in values[1:]:
        out.append((1 - alpha) * out[-1] + alpha * float(value))
    return out


def test_smoothing_of_a_step_approaches_it_geometrically() -> None:
    values = [0.0] + [1.0] * 9
    np.testing.assert_allclose(exponential_smoothing(values, 0.2), 1 - 0.8 ** np.arange(10), rtol=1e-14)
    np.testing.assert_array_equal(exponential_smoothing([3.0, 3.0, 3.0]), [3, 3, 3])
    np.testing.assert_allclose(exponential_smoothing(ABOVE, 1), ABOVE, rtol=1e-14)


def test_smoothing_is_a_first_order_filter_along_the_last_axis() -> None:
    expected = [lfilter([0.05], [1, -0.95], row, zi=[0.95 * row[0]])[0] for row in ABOVE]
    np.testing.assert_allclose(exponential_smoothing(ABOVE), expected, rtol=1e-13)


def test_smoothing_leaves_its_argument_alone() -> None:
    values = np.array([1.0, 2.0, 3.0])
    exponential_smoothing(values, 0.5)
    np.testing.assert_array_equal(values, [1, 2, 3])


@pytest.mark.parametrize("last", [1, 7, 30, 200])
def test_balance_weight_is_algorithm_3(last: int) -> None:
    per_layer = []
    for above, below in zip(ABOVE, BELOW, strict=True):
        first, second = smooth(above, 0.05)[-last:], smooth(below, 0.05)[-last:]
        per_layer.append(sum(a / b for a, b in zip(first, second, strict=True)) / len(first))
    assert balance_weight(ABOVE, BELOW, last=last) == pytest.approx(sum(per_layer) / 3, rel=1e-12)


@pytest.mark.parametrize("last", [1, 7, 30, 200])
def test_the_released_variant_cuts_first_and_takes_the_median(last: int) -> None:
    ratios: list[float] = []
    for above, below in zip(ABOVE[:, -last:], BELOW[:, -last:], strict=True):
        ratios += [a / b for a, b in zip(smooth(above, 0.3), smooth(below, 0.3), strict=True)]
    weight = balance_weight(ABOVE, BELOW, last=last, alpha=0.3, variant="released")
    assert weight == pytest.approx(float(np.median(ratios)), rel=1e-12)


def test_constant_histories_give_the_mean_ratio() -> None:
    above, below = {"a": [2.0] * 5, "b": [6.0] * 5}, {"b": [2.0] * 5, "a": [4.0] * 5}
    assert balance_weight(above, below) == pytest.approx((0.5 + 3) / 2, rel=1e-14)
    assert balance_weight([4.0], [2.0]) == 2


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_gamma_scales_with_the_adversarial_and_against_the_reconstruction_loss(variant: Any) -> None:
    weight = balance_weight(ABOVE, BELOW, variant=variant)
    assert balance_weight(6 * ABOVE, 2 * BELOW, variant=variant) == pytest.approx(3 * weight, rel=1e-12)


def test_layers_that_the_reconstruction_does_not_reach_are_left_out() -> None:
    below = BELOW.copy()
    below[1] = 0
    for variant in ("paper", "released"):
        kept = balance_weight(ABOVE[[0, 2]], BELOW[[0, 2]], variant=variant)
        assert balance_weight(ABOVE, below, variant=variant) == pytest.approx(kept, rel=1e-14)
    with pytest.raises(ValueError, match="no gradient in any layer"):
        balance_weight(ABOVE, 0 * BELOW)


@pytest.mark.parametrize(
    ("above", "below", "match"),
    [
        ({"a": [1.0]}, {"b": [1.0]}, "same layers"),
        ({"a": [1.0], "b": [1.0, 2.0]}, {"a": [1.0], "b": [1.0, 2.0]}, "equally long"),
        ([[1.0, 2.0]], [[1.0]], "differ in shape"),
        ([], [], "at least one"),
        ([1.0, np.nan], [1.0, 1.0], "finite"),
        ([-1.0], [1.0], "negative"),
    ],
)
def test_histories_that_do_not_fit_are_errors(above: Any, below: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        balance_weight(above, below)


def test_bad_knobs_are_errors() -> None:
    with pytest.raises(ValueError, match="alpha"):
        exponential_smoothing([1.0], 0)
    with pytest.raises(ValueError, match="at least one value"):
        exponential_smoothing([])
    with pytest.raises(ValueError, match="last"):
        balance_weight([1.0], [1.0], last=0)
    with pytest.raises(ValueError, match="norm"):
        gradient_sizes([torch.ones(2)], "l1")  # type: ignore[arg-type]


def test_sizes_of_gradients_are_population_deviations_or_lengths() -> None:
    gradients = [torch.tensor([[3.0, -4.0]]), torch.tensor([[2.0]])]
    assert gradient_sizes(gradients) == pytest.approx([3.5, 0.0])
    assert gradient_sizes(gradients, "l2") == pytest.approx([5.0, 2.0])
