"""A network rearranged for measuring on a CPU with few images at a time: the same function, fewer copies and passes.

PyTorch sends a 1x1 convolution of fewer than 16 images on one thread through an im2col path that first copies
channels-last memory into another layout and back. On channels-last memory a 1x1 convolution is a plain matrix product
of (N·H·W, C_in) with (C_in, C_out), forward and backward, and needs no copy. An activation that works in place must
keep a copy of its input where a gradient is recorded; out of place it doesn't (ReLU needs none: its output says where
it was active). Networks of dense convolutions lose by channels-last in reverse; forward alone they gain by it too
(FID's Inception takes half the processor time, ResNet-18 three quarters, at batches of four on a core).

Weights never change here, so derivatives are taken with respect to the input alone: in forward mode PyTorch
differentiates by weights too: where they have no tangent it convolves with zeros, and a layer costs three passes in
place of two.

N images, H, W sides, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Pair = tuple[int, int]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Any) -> torch.Tensor:
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        x, weight, _, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        only_input = (True, False, False)
        gradient, _, _ = torch.ops.aten.convolution_backward(
            gradients[0], x, weight, None, stride, padding, dilation, False, (0, 0), groups, only_input
        )
        return gradient, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        _, weight = ctx.saved_tensors
        return F.conv2d(tangents[0], weight, None, *ctx.geometry)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        return gradients[0] @ weight, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        (weight,) = ctx.saved_tensors
        return F.linear(tangents[0], weight)


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv2d` with a frozen weight (C_out, C_in/groups, k, k), (N, C_in, H, W)."""
    if not torch.is_grad_enabled():
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    result: torch.Tensor = _Convolution.apply(x, weight, bias, (stride, padding, dilation, groups))
    return result


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`torch.nn.functional.linear` with a frozen weight (C_out, C_in): (..., C_in) => (..., C_out)."""
    if not torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    result: torch.Tensor = _Product.apply(x, weight, bias)
    return result


class Convolution(torch.nn.Module):
    """A frozen `nn.Conv2d` that pads with a number of zeros."""

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c = self.conv
        return convolve(x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)  # type: ignore[arg-type]


class Pointwise(nn.Module):
    """A 1x1 convolution of stride 1 as a matrix product: (N, C_in, H, W) => (N, C_out, H, W), channels-last."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1).clone(), requires_grad=False)
        self.bias = conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return multiply(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class SamePadding(nn.Module):
    """A convolution with TensorFlow's "same" padding that copies no image: (N, C_in, H, W) => (N, C_out, H', W').

    At stride 2 that padding has one more row below than above. Instead of an image padded so, which is a copy forward
    and another one in reverse, the kernel gets a first row of zeros and the image one more row of padding above.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._kernels: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.conv
        lacking = [
            max((-(-size // s) - 1) * s + k - size, 0)
            for size, k, s in zip(x.shape[-2:], conv.kernel_size, conv.stride, strict=True)
        ]
        odd = (lacking[0] % 2, lacking[1] % 2)
        if odd not in self._kernels:
            longer = F.pad(conv.weight.detach(), (odd[1], 0, odd[0], 0))
            self._kernels[odd] = longer.contiguous(memory_format=torch.channels_last)
        padding = (lacking[0] // 2 + odd[0], lacking[1] // 2 + odd[1])
        return convolve(x, self._kernels[odd], conv.bias, _pair(conv.stride), padding, groups=conv.groups)

    def _apply(self, *args: object, **keys: object) -> SamePadding:
        self._kernels = {}  # they are of the weights before, on another device or at another precision
        super()._apply(*args, **keys)
        return self


class InPlaceWithoutGradient(nn.Module):
    """An activation in place where no gradient is recorded, out of place where one is."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        setattr(self.activation, "inplace", not torch.is_grad_enabled())  # noqa: B010 (not declared by nn.Module)
        result: torch.Tensor = self.activation(x)
        return result


def arrange_for_cpu(network: nn.Module, *, gradients: bool = True) -> torch.memory_format:
    """Exchanges, in place, layers of a network for faster forms of them, and chooses its memory layout.

    Args:
        network: in evaluation mode, on the CPU, frozen.
        gradients: whether it will also run in reverse.

    Returns:
        The memory layout that its images should have.
    """
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    dense = sum(c.weight.numel() for c in convolutions if c.groups == 1 and c.kernel_size != (1, 1))
    if gradients and 2 * dense > sum(c.weight.numel() for c in convolutions):
        network.to(memory_format=torch.contiguous_format)
        _exchange(network, _frozen)
        return torch.contiguous_format
    network.to(memory_format=torch.channels_last)
    _exchange(network, _on_channels_last)
    return torch.channels_last


def _exchange(network: nn.Module, faster: Callable[[nn.Module], nn.Module | None]) -> None:
    for name, child in list(network.named_children()):
        other = faster(child)
        if other is None:
            _exchange(child, faster)
        else:
            setattr(network, name, other)


def _on_channels_last(layer: nn.Module) -> nn.Module | None:
    """The faster form of a layer on channels-last memory; None where it has none."""
    if _is_pointwise(layer):
        return Pointwise(layer)  # type: ignore[arg-type]
    if getattr(layer, "inplace", None) is True and not list(layer.children()) and type(layer) is not nn.ReLU:
        return InPlaceWithoutGradient(layer)
    if _is_same_padded(layer):
        return SamePadding(layer)  # type: ignore[arg-type]
    return _frozen(layer)


def _frozen(layer: nn.Module) -> nn.Module | None:
    """A convolution that is padded with a number of zeros, and does nothing more, without its weights' derivatives."""
    plain = (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward  # a subclass may do more than convolve
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
    return Convolution(layer) if plain else None  # type: ignore[arg-type]


def _is_same_padded(layer: nn.Module) -> bool:
    """Whether it is timm's convolution with TensorFlow's padding; by name, since not every network is timm's."""
    kind = type(layer)
    named = kind.__name__ == "Conv2dSame" and kind.__module__.startswith("timm.")
    return named and isinstance(layer, nn.Conv2d) and layer.dilation == (1, 1)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns


def _is_pointwise(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward  # a subclass may do more than convolve
        and layer.kernel_size == (1, 1)
        and layer.stride == (1, 1)
        and layer.groups == 1
        and layer.padding in ((0, 0), "valid", "same")
    )
