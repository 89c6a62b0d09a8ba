"""Between 8-bit pixels and the continuous axis of a density model: noise, constants, padding, augmentation.

Schirrmeister et al. 2020, supplement S4. A pixel v lies on the axis in the cell [v/256 - 1/2, (v + 1)/256 - 1/2).
Training and reported bits per dimension take a uniform point of the cell (`dequantise`); detection scores take its
middle (`noise_free`, S4.5). Every model of this room has its density on this axis.

N images, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.2989, 0.5870, 0.1140)  # grey = r·0.2989 + g·0.5870 + b·0.1140 (S5.1)


def to_pixels(images: Any, *, channels: int | None = None, size: int | None = None) -> Tensor:
    """8-bit images as a tensor (N, C, H, W) that a model of `channels` and `size` takes.

    Args:
        images: uint8; NumPy (N, H, W) or (N, H, W, C), or torch (N, C, H, W); C is 1 or 3.
        channels: 1 turns colour to grey by S5.1's weights (rounded), 3 repeats grey; None leaves it.
        size: height and width wanted; smaller images are padded with black on all sides; None leaves it.

    Raises:
        ValueError: another dtype or shape, or images larger than `size`.
    """
    if isinstance(images, Tensor):
        pixels = images
    else:
        array = np.asarray(images)
        if array.ndim not in (3, 4):
            raise ValueError(f"images must be (N, H, W) or (N, H, W, C), not {array.shape}")
        array = array if array.ndim == 4 else array[..., None]
        pixels = torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise ValueError(f"images must be uint8 with 1 or 3 channels, not {pixels.dtype} {tuple(pixels.shape)}")
    if channels == 1 and pixels.shape[1] == 3:
        luma = torch.tensor(LUMA, device=pixels.device).view(1, 3, 1, 1)
        # The weights add up to 0.9999, so the sum never exceeds 255.
        pixels = (pixels * luma).sum(1, keepdim=True).round().to(torch.uint8)
    elif channels == 3 and pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    return pixels if size is None else pad(pixels, size)


def pad(pixels: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) in the middle of black ones (N, C, size, size); 28 to 32 adds two on each side."""
    height, width = pixels.shape[-2:]
    if height > size or width > size:
        raise ValueError(f"images of {height}x{width} are larger than the model's {size}x{size}: resize them first")
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(pixels, (left, size - width - left, top, size - height - top))


def dequantise(pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(v + u)/256 - 1/2 with u uniform on [0, 1): a point of each pixel's cell, float32.

    The noise is drawn on the generator's device (the pixels' own without one), so that a seed gives the same noise
    whatever device trains.
    """
    device = pixels.device if generator is None else generator.device
    # 255 + u has a spacing of 2^-16 in float32: a larger u would round into the next cell.
    noise = torch.rand(pixels.shape, generator=generator, device=device).clamp_max_(1 - 2**-16).to(pixels.device)
    return (pixels + noise) / 256 - 0.5


def noise_free(pixels: Tensor) -> Tensor:
    """(v + 1/2)/256 - 1/2, the middle of each pixel's cell, float32: what detection scores are computed on (S4.5)."""
    return (pixels + 0.5) / 256 - 0.5


def from_unit_axis(x: Tensor) -> Tensor:
    """The uint8 pixel in whose cell each value lies; values outside go to 0 or 255."""
    return ((x + 0.5) * 256).floor().nan_to_num(0.0).clamp(0, 255).to(torch.uint8)


def augment(pixels: Tensor, generator: torch.Generator, *, flip: bool = False, shift: float = 0.0) -> Tensor:
    """Translations and horizontal flips (S4.1), one draw per image.

    Args:
        pixels: (N, C, H, W).
        generator: source of the draws, on the CPU.
        flip: mirror half of the images.
        shift: largest translation in each direction as a share of the side; what moves in is black. The public Glow
            that the authors follow uses 0.1.
    """
    n, _, height, width = pixels.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        pixels = torch.where(mirrored.to(pixels.device).view(n, 1, 1, 1), pixels.flip(3), pixels)
    dy, dx = int(shift * height), int(shift * width)
    if dy or dx:
        framed = F.pad(pixels, (dx, dx, dy, dy))
        y = torch.randint(0, 2 * dy + 1, (n, 1), generator=generator) + torch.arange(height)
        x = torch.randint(0, 2 * dx + 1, (n, 1), generator=generator) + torch.arange(width)
        rows, columns = y.to(pixels.device), x.to(pixels.device)
        image = torch.arange(n, device=pixels.device).view(n, 1, 1)
        pixels = framed.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return pixels
