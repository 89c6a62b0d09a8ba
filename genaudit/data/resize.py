"""The resize that stands before every feature network: Pillow's antialiased resampling, as a value.

Pillow widens the filter's support with the downscaling factor, so downsampling is always antialiased (clean-fid's
argument, Parmar et al. 2022); `nearest` is the exception, being no filter. The recipe is part of a measure's
fingerprint. S target side, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from genaudit.stats.bounds import positive_int

Interpolation = Literal["bicubic", "bilinear", "box", "lanczos", "nearest"]
Fit = Literal["squash", "crop", "cut"]
Tool = Literal["clean-fid", "edm2", "pytorch-fid", "torch-fidelity", "torchmetrics"]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
_FILTERS_OF_TOOLS = {
    "clean-fid": Image.Resampling.BICUBIC,
    "edm2": Image.Resampling.BICUBIC,
    "torchmetrics": Image.Resampling.BILINEAR,
}
# Pillow resamples 8-bit images in two passes with fixed-point coefficients and an 8-bit result in between. To be
# bumped should a Pillow ever give other pixels; a test pins some.
_ALGORITHM = "pillow-resample/1"


@dataclass(frozen=True)
class ResizeRecipe:
    """How an image of any size becomes `(S, S, 3)`.

    Attributes:
        size: S, the side in pixels, at least 1.
        interpolation: the filter; bicubic has a = -0.5.
        fit: "squash" changes the aspect ratio; "crop" keeps it and takes the central square: a resize of the
            short side to S and a central crop, in one step and so without rounding the long side. "cut" cuts the
            central square at whole pixels and resizes that, so that no filter reaches beyond it.
        crop_pct: with "crop", the share of the central square's side that is kept: 0.875 is a resize of the short
            side to 256 and a central crop of 224.
    """

    size: int
    interpolation: Interpolation = "bicubic"
    fit: Fit = "squash"
    crop_pct: float = 1.0

    def __post_init__(self) -> None:
        positive_int("size", self.size)
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(_FILTERS)}, not {self.interpolation!r}")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit must be squash, crop or cut, not {self.fit!r}")
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct must be above 0 and at most 1, not {self.crop_pct}")
        if self.crop_pct < 1 and self.fit != "crop":
            raise ValueError(f"crop_pct={self.crop_pct} needs fit=crop, not fit={self.fit}")

    def apply(self, image: np.ndarray) -> np.ndarray:
        """`(H, W, 3)` uint8 to `(S, S, 3)` uint8; the image itself where it has that size already."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
        if self.fit == "cut":
            side = min(image.shape[:2])
            top, left = ((length - side) // 2 for length in image.shape[:2])
            image = image[top : top + side, left : left + side]
        height, width = image.shape[:2]
        if height == width == self.size and self.crop_pct == 1:
            return image
        box: tuple[float, float, float, float] = (0, 0, width, height)
        if self.fit == "crop":
            kept = min(height, width) * self.crop_pct
            x, y = (width - kept) / 2, (height - kept) / 2
            box = (x, y, x + kept, y + kept)
        resized = Image.fromarray(image).resize((self.size, self.size), _FILTERS[self.interpolation], box=box)
        return np.array(resized)

    def __str__(self) -> str:
        filtered = self.interpolation if self.interpolation == "nearest" else f"{self.interpolation}, antialiased"
        share = "" if self.crop_pct == 1 else f" ({self.crop_pct:g} of its side)"
        what = "the whole image" if self.fit == "squash" else f"the central square{share}"
        return f"{self.size} x {self.size}, {filtered}, {what}"

    def describe(self) -> dict[str, str | int | bool | float]:
        """The recipe for a measure's fingerprint and for the report."""
        return {
            "size": self.size,
            "interpolation": self.interpolation,
            "fit": self.fit,
            "antialias": self.interpolation != "nearest",
            "algorithm": _ALGORITHM,
            **({"crop_pct": self.crop_pct} if self.crop_pct < 1 else {}),  # rows without it keep their fingerprint
        }


@dataclass(frozen=True)
class RecipeOfTool:
    """The resize of another tool, to get the numbers that it gives: float32 pixels in [0, 255], not rounded.

    clean-fid is Pillow's antialiased bicubic filter on each channel in floating point, EDM2 (before DINOv2) the same
    without cutting what the filter throws beyond [0, 255], torchmetrics (with its default
    `antialias=True`; otherwise torch-fidelity's) the antialiased bilinear one. pytorch-fid and torch-fidelity
    interpolate between the four nearest pixels without antialiasing, so that downsampled images alias (Parmar et al.
    2022): pytorch-fid with pixels' centres aligned, torch-fidelity with their corners, as TensorFlow 1 did for the
    first FIDs.

    Attributes:
        size: side in pixels. tool: whose resize.
    """

    size: int
    tool: Tool

    def __post_init__(self) -> None:
        if self.tool not in get_args(Tool):
            raise ValueError(f"tool must be one of {', '.join(get_args(Tool))}, not {self.tool!r}")

    def apply(self, image: np.ndarray) -> np.ndarray:
        """`(H, W, 3)` uint8 to `(S, S, 3)` float32 in [0, 255], and a little beyond with edm2."""
        if self.tool in _FILTERS_OF_TOOLS:
            planes = [Image.fromarray(plane) for plane in image.astype(np.float32).transpose(2, 0, 1)]
            side, kind = (self.size, self.size), _FILTERS_OF_TOOLS[self.tool]
            resized = [np.asarray(plane.resize(side, kind)) for plane in planes]
            stacked = np.stack(resized, axis=2)
            return stacked if self.tool == "edm2" else stacked.clip(0, 255)
        rows, columns = (_between(length, self.size, self.tool == "pytorch-fid") for length in image.shape[:2])
        pixels = image.astype(np.float32)
        pixels = _mixed(pixels, columns, axis=1)
        return _mixed(pixels, rows, axis=0)

    def __str__(self) -> str:
        return f"{self.size} x {self.size}, as {self.tool}"

    def describe(self) -> dict[str, str | int | bool]:
        """The recipe for a measure's fingerprint and for the report."""
        antialias = self.tool in _FILTERS_OF_TOOLS
        return {"size": self.size, "tool": self.tool, "antialias": antialias, "algorithm": "tool/1"}


def _between(length: int, size: int, centres: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `size` places on a line of `length` pixels the two neighbours, and the share of the second."""
    scale = np.float32(length / size)
    at = np.arange(size, dtype=np.float32)
    at = np.maximum((at + np.float32(0.5)) * scale - np.float32(0.5), 0) if centres else at * scale
    low = at.astype(np.int64)
    return low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32)


def _mixed(pixels: np.ndarray, places: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int) -> np.ndarray:
    low, high, share = places
    first, second = np.take(pixels, low, axis=axis), np.take(pixels, high, axis=axis)
    mixed: np.ndarray = first + (second - first) * (share[None, :, None] if axis == 1 else share[:, None, None])
    return mixed
