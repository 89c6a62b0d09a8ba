"""Patch variation: how much an image varies locally, the quantity that likelihoods of GANs follow.

"Intriguing Properties of Modern GANs", section 4.2 and Figure 8: the coefficient of variation (standard deviation
over mean) of the pixel values of each non-overlapping 8x8 patch, averaged over the image's patches.

N images, H height, W width, C channels, p side of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genaudit.errors import UserError
from genaudit.measures.generator_images import MeasureOfGenerator, as_generator_images
from genaudit.stats.bounds import Count, positive_int

if TYPE_CHECKING:
    import torch

    from genaudit.backbones.generator import Generator
    from genaudit.measures.measure import Meter


class PatchVariation(NamedTuple):
    """Patch variation with what was left out; arrays or tensors (N,), the kind that the images came in."""

    variation: Any  # float64 (float32 on devices without it), >= 0; NaN where every patch was left out
    left_out: Any  # int64, patches with mean 0
    patches: int  # patches of one image, those left out included


def patch_variation(images: Any, patch: int = 8) -> Any:
    """Mean over an image's non-overlapping patches of population standard deviation / mean.

    A patch holds all channels of its p x p pixels. Patches with mean 0 have no coefficient of variation and are
    left out (22 % of Fashion-MNIST's); `patch_variation_counted` says how many. Rows and columns on the right and at
    the bottom that do not fill a patch are not looked at.

    Args:
        images: NumPy (H, W), (N, H, W), (N, H, W, C) or (N, C, H, W), or torch (N, H, W) or (N, C, H, W), with C
            1 or 3; any numeric type, values >= 0. The scale of the values does not matter, a shift does.
        patch: p, at least 1.

    Returns:
        (N,) array, or tensor for a tensor; >= 0, higher means more local variation. An image whose patches are
        all 0 has NaN.

    Raises:
        ValueError: other shapes, values that are negative or not finite, or images smaller than a patch.

    >>> patch_variation(np.tile([[0, 2], [2, 0]], (1, 4, 4)))
    array([1.])
    """
    return patch_variation_counted(images, patch).variation


def patch_variation_counted(images: Any, patch: int = 8) -> PatchVariation:
    """`patch_variation` with the number of patches that were left out of each image; same arguments and errors."""
    if hasattr(images, "detach"):
        # A GPU's images come to the CPU: the sums need float64, and the result is one number per image.
        import torch

        counted = patch_variation_counted(images.detach().cpu().numpy(), patch)
        value, left = torch.from_numpy(counted.variation), torch.from_numpy(counted.left_out)
        value = value.float() if images.device.type == "mps" else value
        return PatchVariation(value.to(images.device), left.to(images.device), counted.patches)
    pixels = _channels_last(np.asarray(images))
    n, height, width, channels = pixels.shape
    if patch < 1 or height < patch or width < patch:
        raise ValueError(f"images of {height}x{width} hold no {patch}x{patch} patch")
    rows, columns = height // patch, width // patch
    variation, left_out = np.empty(n), np.empty(n, dtype=np.int64)
    block = max(1, 2**22 // (height * width * channels))  # images whose float64 pixels take 32 MB
    for start in range(0, n, block):
        part = pixels[start : start + block, : rows * patch, : columns * patch].astype(np.float64)
        if not np.isfinite(part).all() or (part < 0).any():
            raise ValueError("a coefficient of variation needs values that are finite and not negative")
        split = part.reshape(-1, rows, patch, columns, patch, channels)
        mean, std = split.mean(axis=(2, 4, 5)), split.std(axis=(2, 4, 5))
        black = mean == 0
        ratio = np.where(black, 0.0, std / np.where(black, 1.0, mean)).sum(axis=(1, 2))
        kept = (~black).sum(axis=(1, 2))
        variation[start : start + block] = np.where(kept > 0, ratio / np.maximum(kept, 1), np.nan)
        left_out[start : start + block] = black.sum(axis=(1, 2))
    return PatchVariation(variation, left_out, rows * columns)


def _channels_last(images: np.ndarray) -> np.ndarray:
    if images.dtype.kind not in "fiub":
        raise ValueError(f"images must hold numbers, not {images.dtype}")
    if images.ndim == 2:
        return images[None, :, :, None]
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images.transpose(0, 2, 3, 1)
    raise ValueError(f"images must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3, not {images.shape}")


class Patches(MeasureOfGenerator):
    """Rows: patch variation of the image at the generator's size, the share of its patches that was left out.

    Args:
        generator: whose images' size decides; a likelihood is that of the image at this size.
        patch: p.
    """

    kind = "patches"
    columns: tuple[str, ...] | None = ("patch_variation", "left_out")

    def __init__(self, generator: Generator | None, *, patch: Count = 8) -> None:
        super().__init__(generator)
        where = "metric.flatness.measure.patches.patch"
        self.settings: dict[str, Any] = {"patch": positive_int(where, patch, error=UserError)}

    @property
    def name(self) -> str:
        return f"patches {self.generator.recipe.size}"

    @property
    def weights_sha256(self) -> str:
        return ""

    def describe(self, precision: str) -> dict[str, Any]:
        shape = {"channels": self.generator.channels, "resize": self.generator.recipe.describe()}
        return {"measure": "patches", "code_version": 1, **shape, **self.settings}

    def batch_size(self, device: str) -> int:
        return 64

    def open(self, device: str, precision: str) -> Meter:
        import torch

        patch, channels = self.settings["patch"], self.generator.channels
        size = self.generator.recipe.size
        if size < patch:
            raise UserError(f"metric.flatness.measure.patches.patch={patch} is larger than images of {size} pixels")

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            variation = patch_variation_counted(as_generator_images(images.cpu(), channels, torch.float64), patch)
            return (
                torch.stack([variation.variation, variation.left_out / variation.patches], dim=1)
                .float()
                .to(images.device)
            )

        return meter
