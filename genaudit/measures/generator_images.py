"""What the measures under a generator share: images at the generator's size and channels, and a generator to have.

B images of a batch, C channels, S side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genaudit.backbones.generator import Generator
from genaudit.errors import UserError

if TYPE_CHECKING:
    import torch

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L


def as_generator_images(images: torch.Tensor, channels: int, dtype: torch.dtype) -> torch.Tensor:
    """(B, 3, S, S) uint8 to (B, C, S, S) in [0, 1]; an image whose channels are equal stays exactly as it is."""
    x = images.to(dtype) / 255
    if channels == 3:
        return x.contiguous()
    red, green, blue = x.unbind(1)
    grey = green + LUMA[0] * (red - green) + LUMA[2] * (blue - green)
    return grey[:, None].contiguous()


class MeasureOfGenerator:
    """A measure under a generator: images are resized (bicubic, antialiased) to its size and made grey for a grey one.

    Args:
        generator: G; None raises UserError, since it is what a user who names such a metric has to add.
    """

    kind = ""

    def __init__(self, generator: Generator | None) -> None:
        if generator is None:
            raise UserError(
                f"{self.kind}: a generator is needed, as generator=demo_vae, or generator=torchscript "
                "generator.file=FILE generator.latent=L; docs/generators.md names all kinds"
            )
        self.generator = generator

    @property
    def name(self) -> str:
        return f"{self.kind} {self.generator.name}"

    @property
    def weights_sha256(self) -> str:
        return self.generator.source.sha256

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.generator.recipe.apply(image)

    @staticmethod
    def precision(of_run: str) -> str:
        """float64 where it is asked for, else float32: half precision leaves gradients of noise."""
        return "float64" if of_run == "float64" else "float32"
