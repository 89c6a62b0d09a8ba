"""Small grey images of a general distribution: crops of photographs, cut out with random silhouettes on black.

They stand in for the 80 Million Tiny Images of Schirrmeister et al. 2020 where Fashion-MNIST is the in-distribution.
Crops alone do not: a model of them has never seen flat black, and its ratio then ranks MNIST above Fashion-MNIST. The
silhouettes were added after seeing that (DEFINITIONS.md, section 5), so MNIST does not judge them fairly; neither
they nor the crops favour a direction, so Fashion-MNIST rotated by 90 degrees does.

N images, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LUMA = (0.2989, 0.5870, 0.1140)  # grey = r·0.2989 + g·0.5870 + b·0.1140 (Schirrmeister et al. 2020, S5.1)
FINE = 4  # the silhouette is drawn this many times finer, so that its edge is smooth
WHOLE = 0.1  # share of crops that are not cut out


def cutouts(photographs: Sequence[np.ndarray], n: int, *, size: int = 28, seed: int = 0) -> np.ndarray:
    """n grey images (n, S, S) uint8 on black.

    Each is a square crop of a random photograph, its side between S and the photograph's (log-uniform), turned by a
    multiple of 90 degrees, perhaps mirrored, perhaps inverted, its brightness stretched to a random range; then
    multiplied by a silhouette: where a smooth random field, lowered towards the border, is above 0.

    Args:
        photographs: (H, W, 3) or (H, W) uint8, no side below S.
        n: number of images.
        size: S.
        seed: of everything random.

    Raises:
        ValueError: no photographs, or one smaller than S.
    """
    if not photographs or any(min(photograph.shape[:2]) < size for photograph in photographs):
        raise ValueError(f"cutouts needs photographs with sides of at least {size} pixels")
    rng = np.random.default_rng(seed)
    grey = [_grey(photograph) for photograph in photographs]
    images = np.empty((n, size, size), np.uint8)
    for i in range(n):
        crop = _crop(grey[rng.integers(len(grey))], size, rng)
        mask = 1.0 if rng.random() < WHOLE else silhouette(size, rng)
        images[i] = np.rint(crop * mask)
    return images


def silhouette(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random shape around the middle, (S, S) float64: the share of each pixel that it covers."""
    side = size * FINE
    waves = int(rng.integers(3, 8))  # knots of the random field along a side: few give blobs, many branching shapes
    field = _resize(rng.standard_normal((waves, waves)).astype(np.float32), side)
    axis = np.linspace(-1, 1, side)
    # up to 0.9 of the half side; an ellipse whose axes differ by up to 2.5 times, so that some shapes are slender
    across, along = rng.uniform(0.35, 0.9, 2)
    distance = (axis[:, None] / along) ** 2 + (axis / across) ** 2
    inside = rng.uniform(0.3, 1.2) * field + 1 - distance > 0
    share: np.ndarray = inside.reshape(size, FINE, size, FINE).mean(axis=(1, 3))
    return share


def _crop(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square of a photograph at S x S, float64 in [0, 255]."""
    height, width = photograph.shape
    side = int(np.exp(rng.uniform(np.log(size), np.log(min(height, width)))))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = np.rot90(_resize(photograph[top : top + side, left : left + side], size), int(rng.integers(4)))
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    low, high = float(crop.min()), float(crop.max())
    stretched = (crop - low) / max(high - low, 1.0)
    darkest, brightest = np.sort(rng.uniform(0, 255, 2))
    if rng.random() < 0.5:
        darkest, brightest = brightest, darkest
    return darkest + (brightest - darkest) * stretched


def _grey(photograph: np.ndarray) -> np.ndarray:
    if photograph.ndim == 2:
        return photograph.astype(np.float32)
    return (photograph[..., :3] @ np.array(LUMA)).astype(np.float32)


def _resize(array: np.ndarray, side: int) -> np.ndarray:
    """(H, W) float32 to (side, side) with Pillow's antialiasing bicubic filter."""
    from PIL import Image

    resized: Any = Image.fromarray(np.ascontiguousarray(array)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float64)
