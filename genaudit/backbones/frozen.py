"""Convolutions and matrix products with weights that never change: derivatives with respect to the input alone.

In forward mode PyTorch differentiates by weights too: where they have no tangent it convolves with zeros, and a layer
costs three passes in place of two.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

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
