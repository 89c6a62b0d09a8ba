"""Layers of a network of dense convolutions, written in the form that a CPU runs faster: the same functions.

On one core, ResNet-18 with 66 images of 64 pixels: the gradient of the first convolution, of few channels at stride 2,
takes 3.6 times as long as in blocks; a maximum over windows 12 times as long as on channels-last memory; a 3x3
convolution on a 2x2 map, which multiplies more padding than image, twice as long as the matrix product.

N images, C channels, H, W sides.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from genaudit.backbones.frozen import Convolution, convolve, multiply

FEW_CHANNELS = 4
FEW_IMAGES = 16  # with fewer the matrix takes as long to read as the products that it saves
MOST_DENSE_WEIGHTS = 2**24  # 64 MiB in float32


class Stem(nn.Module):
    """A convolution of few channels at stride 2: (N, C_in, H, W) => (N, C_out, H', W'), channels-last.

    Where a gradient is recorded it takes each 2x2 block of pixels as one pixel of 4·C_in channels, which makes the
    stride 1 and the kernel half as large (padded with zeros to an even size that starts at an even pixel).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv.to(memory_format=torch.channels_last)
        self.before = [p + p % 2 for p in _padding(conv)]  # (rows, columns) of zeros before the image
        self.sides = [k + p % 2 + (k + p % 2) % 2 for k, p in zip(conv.kernel_size, _padding(conv), strict=True)]
        rows, columns = (
            (p % 2, side - k - p % 2) for k, p, side in zip(conv.kernel_size, _padding(conv), self.sides, strict=True)
        )
        padded = F.pad(conv.weight.detach(), (*columns, *rows))
        blocks = F.pixel_unshuffle(padded, 2).contiguous(memory_format=torch.channels_last)
        self.blocks = nn.Parameter(blocks, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            whole: torch.Tensor = self.conv(x.contiguous(memory_format=torch.channels_last))
            return whole
        after = []
        for size, k, p, before, side in zip(
            x.shape[-2:], self.conv.kernel_size, _padding(self.conv), self.before, self.sides, strict=True
        ):
            outputs = (size + 2 * p - k) // 2 + 1
            after.append(2 * (outputs - 1) + side - size - before)  # below 0 it cuts what no window reaches
        padded = F.pad(x, (self.before[1], after[1], self.before[0], after[0]))
        blocks = F.pixel_unshuffle(padded, 2).contiguous(memory_format=torch.channels_last)
        return convolve(blocks, self.blocks, self.conv.bias)


class ChannelsLastPool(nn.Module):
    """A maximum over windows that runs on channels-last memory: (N, C, H, W) => (N, C, H', W'), in the plain layout."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(x.contiguous(memory_format=torch.channels_last))
        return pooled.contiguous()


class SmallMaps(nn.Module):
    """A convolution that is one matrix product where its map has fewer pixels than its kernel, and images are many.

    (N, C_in, H, W) => (N, C_out, H', W'). The matrix (C_out·H'·W', C_in·H·W) holds a weight for each pair of pixels,
    so that nothing is multiplied by padding; it is made when a size first comes.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.plain = conv, Convolution(conv)
        self._matrices: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = (x.shape[-2], x.shape[-1])
        shape = self._shape(size)
        sparse = size[0] * size[1] >= self.conv.kernel_size[0] * self.conv.kernel_size[1]
        weights = self.conv.in_channels * size[0] * size[1] * self.conv.out_channels * shape[0] * shape[1]
        if sparse or len(x) < FEW_IMAGES or weights > MOST_DENSE_WEIGHTS:
            return self.plain(x)
        if size not in self._matrices:
            self._matrices[size] = self._matrix(size, shape)
        bias = self.conv.bias
        if bias is not None:
            bias = bias.repeat_interleave(shape[0] * shape[1])
        return multiply(x.flatten(1), self._matrices[size], bias).unflatten(1, (-1, *shape))

    def _shape(self, size: tuple[int, int]) -> tuple[int, int]:
        conv = self.conv
        rows, columns = (
            (side + 2 * p - k) // s + 1
            for side, p, k, s in zip(size, _padding(conv), conv.kernel_size, conv.stride, strict=True)
        )
        return rows, columns

    def _matrix(self, size: tuple[int, int], shape: tuple[int, int]) -> torch.Tensor:
        conv = self.conv
        weight = conv.weight.detach()
        matrix = weight.new_zeros((conv.out_channels, *shape, conv.in_channels, *size))
        pixels = itertools.product(range(shape[0]), range(shape[1]), range(size[0]), range(size[1]))
        for row, column, y, x in pixels:
            i = y - row * conv.stride[0] + _padding(conv)[0]
            j = x - column * conv.stride[1] + _padding(conv)[1]
            if 0 <= i < conv.kernel_size[0] and 0 <= j < conv.kernel_size[1]:
                matrix[:, row, column, :, y, x] = weight[:, :, i, j]
        return matrix.view(-1, conv.in_channels * size[0] * size[1])

    def _apply(self, *args: object, **keys: object) -> SmallMaps:
        self._matrices = {}  # they are of the weights before, on another device or at another precision
        super()._apply(*args, **keys)
        return self


def faster(layer: nn.Module) -> nn.Module | None:
    """The faster form of a frozen layer, on the plain memory layout; None where it has none."""
    if isinstance(layer, nn.MaxPool2d) and not layer.return_indices:
        return ChannelsLastPool(layer)
    if not is_plain(layer):
        return None
    assert isinstance(layer, nn.Conv2d)
    if layer.groups > 1 or layer.dilation != (1, 1):
        return Convolution(layer)
    if layer.stride == (2, 2) and layer.in_channels <= FEW_CHANNELS and min(layer.kernel_size) > 2:
        return Stem(layer)
    return SmallMaps(layer) if min(layer.kernel_size) > 1 else Convolution(layer)


def is_plain(layer: nn.Module) -> bool:
    """Whether it is a convolution that is padded with a number of zeros, and nothing more."""
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward  # a subclass may do more than convolve
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    assert not isinstance(conv.padding, str)
    rows, columns = conv.padding
    return rows, columns
