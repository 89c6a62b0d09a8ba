"""A network rearranged for the CPU is the same function, forward, backward and forward-mode."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame

from genaudit.backbones.cpu_layout import Convolution, Pointwise, SamePadding, arrange_for_cpu


@pytest.mark.parametrize("name", ["test_efficientnet", "test_mambaout", "test_resnet"])
def test_the_rearranged_network_is_the_same_function(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval().double().requires_grad_(False)
    arranged = copy.deepcopy(network)
    arrange_for_cpu(arranged)
    images = torch.rand((3, 3, 64, 64), dtype=torch.float64)
    with torch.no_grad():
        # float64 sums in another order differ by about 1e-15 of the largest feature
        torch.testing.assert_close(arranged(images), network(images), rtol=1e-10, atol=1e-12)
    gradients = []
    for each in (network, arranged):
        probe = images.clone().requires_grad_(True)
        gradients.append(torch.autograd.grad(each(probe).square().sum(), probe)[0])
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)
    tangents = [torch.func.jvp(each, (images,), (images.flip(-1),))[1] for each in (network, arranged)]
    torch.testing.assert_close(*tangents, rtol=1e-8, atol=1e-12)


def test_a_strided_or_grouped_convolution_is_no_matrix_product() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(4, 4, 1, stride=2), torch.nn.Conv2d(4, 4, 1, groups=2), torch.nn.Conv2d(4, 4, 1)
    )
    assert arrange_for_cpu(layers.requires_grad_(False)) == torch.channels_last
    assert isinstance(layers[0], Convolution)
    assert isinstance(layers[1], Convolution)
    assert isinstance(layers[2], Pointwise)


def test_a_network_of_dense_convolutions_keeps_the_plain_layout_where_gradients_are_taken() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 8, 1)).requires_grad_(False)
    assert arrange_for_cpu(layers.to(memory_format=torch.channels_last)) == torch.contiguous_format
    assert isinstance(layers[0], Convolution)
    assert layers[0].conv.weight.is_contiguous()
    forward = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 8, 1)).requires_grad_(False)
    assert arrange_for_cpu(forward, gradients=False) == torch.channels_last
    assert isinstance(forward[1], Pointwise)
    assert forward[0].conv.weight.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    groups=st.sampled_from([1, 2]),
)
def test_same_padding_is_timm_s(
    kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int], groups: int
) -> None:
    conv = Conv2dSame(4, 6, kernel, stride, groups=groups).double().requires_grad_(False)
    other = SamePadding(copy.deepcopy(conv))
    images = torch.randn((2, 4, *size), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(other(images), conv(images), rtol=1e-10, atol=1e-12)
    gradients = []
    for each in (conv, other):
        probe = images.clone().requires_grad_(True)
        gradients.append(torch.autograd.grad(each(probe).square().sum(), probe)[0])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_tensorflow_s_padding_is_exchanged() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval().requires_grad_(False)
    assert any(type(layer) is Conv2dSame for layer in network.modules())
    arrange_for_cpu(network)
    inside = [layer.conv for layer in network.modules() if isinstance(layer, SamePadding)]
    assert [layer for layer in network.modules() if type(layer) is Conv2dSame] == inside
