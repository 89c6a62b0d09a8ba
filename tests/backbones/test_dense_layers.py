"""Faster forms of dense layers are the same functions as PyTorch's: forward, in reverse and in forward mode."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genaudit.backbones import dense_layers
from genaudit.backbones.dense_layers import ChannelsLastPool, SmallMaps, Stem, faster


def agree(layer: nn.Module, other: nn.Module, images: torch.Tensor) -> None:
    """In float64 sums in another order differ by about 1e-15 of the largest term."""
    with torch.no_grad():
        torch.testing.assert_close(other(images), layer(images), rtol=1e-10, atol=1e-11)
    gradients = []
    for each in (layer, other):
        probe = images.clone().requires_grad_(True)
        gradients.append(torch.autograd.grad(each(probe).square().sum(), probe)[0])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
    tangents = [torch.func.jvp(each, (images,), (images.flip(-1),))[1] for each in (layer, other)]
    torch.testing.assert_close(*tangents, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    size=st.tuples(st.integers(8, 15), st.integers(8, 15)),
    channels=st.integers(1, 4),
    bias=st.booleans(),
)
def test_a_stem_is_its_convolution(
    kernel: tuple[int, int], padding: tuple[int, int], size: tuple[int, int], channels: int, bias: bool
) -> None:
    conv = nn.Conv2d(channels, 5, kernel, stride=2, padding=padding, bias=bias).double().requires_grad_(False)
    stem = faster(copy.deepcopy(conv))
    assert isinstance(stem, Stem)
    agree(conv, stem, torch.randn((2, channels, *size), dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
)
def test_a_convolution_of_small_maps_is_a_matrix_product(
    kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int], bias: bool
) -> None:
    padding = (kernel[0] - 1, kernel[1] // 2)
    if size[1] + 2 * padding[1] < kernel[1]:
        return
    conv = nn.Conv2d(6, 5, kernel, stride, padding, bias=bias).double().requires_grad_(False)
    small = faster(copy.deepcopy(conv))
    assert isinstance(small, SmallMaps)
    agree(conv, small, torch.randn((dense_layers.FEW_IMAGES, 6, *size), dtype=torch.float64))
    assert bool(small._matrices) == (size[0] * size[1] < kernel[0] * kernel[1])


def test_a_matrix_is_made_anew_where_the_precision_changes() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)
    small = SmallMaps(conv)
    images = torch.randn(16, 3, 2, 2)
    small(images)
    exact = copy.deepcopy(small).double()
    torch.testing.assert_close(exact(images.double()), copy.deepcopy(conv).double()(images.double()))


def test_few_images_or_large_matrices_are_convolved(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SmallMaps(nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False))
    small(torch.randn(15, 3, 2, 2))
    monkeypatch.setattr(dense_layers, "MOST_DENSE_WEIGHTS", 3 * 4 * 4 * 4 - 1)
    small(torch.randn(16, 3, 2, 2))
    assert not small._matrices


@pytest.mark.parametrize("ceil", [False, True])
def test_a_pool_gives_the_plain_layout_back(ceil: bool) -> None:
    pool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil)
    other = faster(pool)
    assert isinstance(other, ChannelsLastPool)
    images = torch.randn((2, 6, 9, 8), dtype=torch.float64)
    agree(pool, other, images)
    assert other(images).is_contiguous()


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(2, return_indices=True),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Linear(4, 4),
    ],
)
def test_what_has_no_faster_form_stays(layer: nn.Module) -> None:
    assert faster(layer) is None
