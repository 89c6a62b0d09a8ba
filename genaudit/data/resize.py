"""The resize that stands before every feature network: Pillow's antialiased resampling, as a value.

Pillow widens the filter's support with the downscaling factor, so downsampling is always antialiased (clean-fid's
argument, Parmar et al. 2022); `nearest` is the exception, being no filter. The recipe is part of a measure's
fingerprint. S target side, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Interpolation = Literal["bicubic", "bilinear", "box", "lanczos", "nearest"]
Fit = Literal["squash", "crop"]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
# Pillow resamples 8-bit images in two passes with fixed-point coefficients and an 8-bit result in between. To be
# bumped should a Pillow ever give other pixels; a test pins some.
_ALGORITHM = "pillow-resample/1"


@dataclass(frozen=True)
class Recipe:
    """How an image of any size becomes `(S, S, 3)`.

    Attributes:
        size: S, the side in pixels, at least 1.
        interpolation: the filter; bicubic has a = -0.5.
        fit: "squash" changes the aspect ratio; "crop" keeps it and takes the central square: a resize of the
            short side to S and a central crop, in one step and so without rounding the long side.
    """

    size: int
    interpolation: Interpolation = "bicubic"
    fit: Fit = "squash"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(_FILTERS)}, not {self.interpolation!r}")
        if self.fit not in ("squash", "crop"):
            raise ValueError(f"fit must be squash or crop, not {self.fit!r}")

    def apply(self, image: np.ndarray) -> np.ndarray:
        """`(H, W, 3)` uint8 to `(S, S, 3)` uint8; the image itself where it has that size already."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        if height == width == self.size:
            return image
        box: tuple[float, float, float, float] = (0, 0, width, height)
        if self.fit == "crop":
            side = min(height, width)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
        resized = Image.fromarray(image).resize((self.size, self.size), _FILTERS[self.interpolation], box=box)
        return np.array(resized)

    def describe(self) -> dict[str, str | int | bool]:
        """The recipe for a measure's fingerprint and for the report."""
        return {
            "size": self.size,
            "interpolation": self.interpolation,
            "fit": self.fit,
            "antialias": self.interpolation != "nearest",
            "algorithm": _ALGORITHM,
        }
