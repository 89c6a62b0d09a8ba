"""A network rearranged for the CPU is the same function, forward, backward and forward-mode."""

from __future__ import annotations

import copy

import pytest
import timm
import torch

from genaudit.backbones.cpu_layout import Pointwise, arrange_for_cpu
from genaudit.backbones.dense_layers import SmallMaps
from genaudit.backbones.frozen import Convolution


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
    assert isinstance(layers[0], SmallMaps)
    assert layers[0].conv.weight.is_contiguous()
    forward = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 8, 1)).requires_grad_(False)
    assert arrange_for_cpu(forward, gradients=False) == torch.channels_last
    assert isinstance(forward[1], Pointwise)
    assert forward[0].conv.weight.is_contiguous(memory_format=torch.channels_last)
