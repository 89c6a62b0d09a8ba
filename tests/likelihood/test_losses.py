"""Known answers and guards of the likelihood losses (DEFINITIONS: bits per dimension, Eq. S1, the ratio's floor)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from genaudit.likelihood.losses import bits_per_dim, log_likelihood_ratio, margin_loss, outlier_loss


def test_uniform_density_over_8_bits_has_8_bits_per_dimension() -> None:
    # The uniform density on the unit cube has log p = 0.
    assert bits_per_dim(0.0, 3072) == 8.0
    assert bits_per_dim(np.zeros(3), 784, bins=32) == pytest.approx(np.full(3, 5.0))


def test_gaussian_density_gives_its_differential_entropy() -> None:
    # E[-log2 p] of N(0, s²) is log2(s·sqrt(2·pi·e)); on the 256-value axis eight more.
    std, dims = 0.1, 64
    x = np.random.default_rng(0).normal(0.0, std, (4000, dims))
    bpd = bits_per_dim(norm.logpdf(x, 0.0, std).sum(1), dims).mean()
    # Standard error: -log2 p of one dimension has variance (0.5·log2 e²)... = 0.5/ln(2)², over 256,000 dimensions.
    error = math.sqrt(0.5 / math.log(2) ** 2 / x.size)
    assert abs(bpd - (8 + math.log2(std * math.sqrt(2 * math.pi * math.e)))) < 5 * error


def test_bits_per_dim_keeps_the_kind_and_refuses_nonsense() -> None:
    tensor = torch.tensor([-10.0, -20.0], requires_grad=True)
    assert isinstance(bits_per_dim(tensor, 4), torch.Tensor)
    assert bits_per_dim(tensor, 4).requires_grad
    assert isinstance(bits_per_dim(np.array([-10.0]), 4), np.ndarray)
    with pytest.raises(ValueError, match="dims"):
        bits_per_dim(0.0, 0)
    with pytest.raises(ValueError, match="bins"):
        bits_per_dim(0.0, 3, bins=1)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_outlier_loss_known_answers(kind: type) -> None:
    # 6000·ln 2 and 6000·ln(1 + e).
    assert float(outlier_loss(kind([-5000.0]), kind([-5000.0]))) == pytest.approx(4158.88, abs=0.005)
    assert float(outlier_loss(kind([-4000.0]), kind([-5000.0]))) == pytest.approx(7879.57, abs=0.005)
    both = outlier_loss(kind([-5000.0, -4000.0]), kind([-5000.0, -5000.0]))
    assert float(both) == pytest.approx((4158.88 + 7879.57) / 2, abs=0.005)


def test_outlier_loss_gradient_is_the_sigmoid_and_spares_the_general_model() -> None:
    inside = torch.tensor([-4000.0, -9000.0], dtype=torch.float64, requires_grad=True)
    general = torch.tensor([-5000.0, -5000.0], dtype=torch.float64, requires_grad=True)
    outlier_loss(inside, general, temperature=500, weight=100).backward()
    expected = 100 / 500 * torch.sigmoid((inside.detach() - general.detach()) / 500) / 2
    torch.testing.assert_close(inside.grad, expected)
    assert general.grad is None


def test_outlier_loss_does_not_overflow_far_above_the_general_model() -> None:
    assert float(outlier_loss([0.0], [-1e9], temperature=1, weight=1)) == 1e9


def test_margin_loss_is_zero_beyond_the_margin_and_moves_only_outliers() -> None:
    inside = torch.tensor([-10.0, -10.0], requires_grad=True)
    outside = torch.tensor([-15.0, -30.0, -1.0], requires_grad=True)
    loss = margin_loss(inside, outside, margin=10.0)
    assert loss.item() == pytest.approx((10 - 15 + 10 + 0) / 2)  # the third outlier has no partner
    loss.backward()
    assert inside.grad is None
    assert outside.grad is not None
    assert outside.grad.tolist() == [0.5, 0.0, 0.0]
    assert margin_loss([-10.0, -10.0], [-15.0, -30.0], margin=10.0) == pytest.approx(2.5)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_ratio_sets_what_is_not_finite_to_the_floor_and_clips_what_lies_below(kind: type) -> None:
    inside = kind([-1000.0, -math.inf, math.nan, math.inf, -7.9e6, -1000.0, -math.inf])
    general = kind([-2000.0, -2000.0, -2000.0, -2000.0, -2000.0, math.nan, -math.inf])
    ratio = log_likelihood_ratio(inside, general)
    assert isinstance(ratio, type(inside))
    assert ratio.tolist() == [1000.0, -2998000.0, -2998000.0, -2998000.0, -2998000.0, 2999000.0, 0.0]
    assert log_likelihood_ratio(inside, general, floor=-500.0).tolist() == [0.0] * 7


def test_numpy_and_torch_agree() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(-3000, 2000, (2, 50))
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    assert float(outlier_loss(a, b)) == pytest.approx(float(outlier_loss(ta, tb)), rel=1e-12)
    np.testing.assert_array_equal(log_likelihood_ratio(a, b), log_likelihood_ratio(ta, tb).numpy())
