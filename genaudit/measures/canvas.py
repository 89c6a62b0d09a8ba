"""The square on which a density model sees images of any size.

Images no larger than it are padded with black, as for training; where a side is larger, the image is resized to it
(bicubic, antialiased), which changes what a likelihood measures and therefore stands in the fingerprint.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.data.resize import ResizeRecipe


class Canvas:
    """(H, W, 3) uint8 => (S, S, 3) uint8."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.recipe = ResizeRecipe(size)

    def place(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if max(height, width) > self.size:
            return self.recipe.apply(image)
        # the same place as `dequantisation.pad`, which the training uses
        top, left = (self.size - height) // 2, (self.size - width) // 2
        below, right = self.size - height - top, self.size - width - left
        return np.pad(image, ((top, below), (left, right), (0, 0)))

    def describe(self) -> dict[str, Any]:
        return {"smaller": "padded with black", "larger": self.recipe.describe()}
