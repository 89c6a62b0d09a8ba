"""Convolutions and products with frozen weights have PyTorch's values and derivatives, and convolve no zeros."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as fwd
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from genaudit.backbones.cpu_layout import Convolution, convolve, multiply


@pytest.mark.parametrize(
    "keys",
    [{}, {"stride": 2, "padding": 1}, {"groups": 2, "padding": (0, 2)}, {"dilation": 2, "bias": False}],
)
def test_a_convolution_has_pytorch_s_derivatives(keys: dict) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 6, 3, **keys).double().requires_grad_(False)
    frozen = Convolution(conv)
    x, tangent = torch.randn(2, 2, 4, 9, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(frozen(x), conv(x), rtol=0, atol=0)
    results = [torch.func.jvp(each, (x,), (tangent,)) for each in (conv, frozen)]
    torch.testing.assert_close(*results)
    results = [torch.func.vjp(each, x)[1](torch.ones_like(conv(x))) for each in (conv, frozen)]
    torch.testing.assert_close(*results)


def test_forward_mode_makes_two_passes_and_can_be_reversed() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 6, 3).requires_grad_(False)
    frozen = Convolution(conv)
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    passes = {}
    for name, layer in (("plain", conv), ("frozen", frozen)):
        with profile(activities=[ProfilerActivity.CPU]) as seen, fwd.dual_level():
            value, tangent = fwd.unpack_dual(layer(fwd.make_dual(x, torch.ones_like(x))))
        passes[name] = sum(each.count for each in seen.key_averages() if each.key == "aten::convolution")
        (gradient,) = torch.autograd.grad(value, x, tangent.detach())
        torch.testing.assert_close(
            gradient, torch.autograd.grad(conv(x), x, conv(torch.ones_like(x)) - conv.bias.view(-1, 1, 1))[0]
        )
    assert passes["frozen"] == 2
    assert passes["plain"] > 2  # why the layer exists: should PyTorch mend this, it may go


def test_a_product_has_pytorch_s_derivatives() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    x, tangent = torch.randn(2, 4, 7, 3, dtype=torch.float64)
    for given in (bias, None):
        results = [
            torch.func.jvp(lambda v, f=f, given=given: f(v, weight, given), (x,), (tangent,))
            for f in (F.linear, multiply)
        ]
        torch.testing.assert_close(*results)
        probe = x.clone().requires_grad_(True)
        gradients = [
            torch.autograd.grad(f(probe, weight, given).square().sum(), probe)[0] for f in (F.linear, multiply)
        ]
        torch.testing.assert_close(*gradients)


def test_without_gradients_nothing_is_recorded() -> None:
    with torch.no_grad():
        assert convolve(torch.ones(1, 1, 3, 3, requires_grad=True), torch.ones(1, 1, 2, 2)).grad_fn is None
