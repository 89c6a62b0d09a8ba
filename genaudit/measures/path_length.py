"""Perceptual path length of a generator along one random step (Karras et al. 2019).

    d( G(z(t)), G(z(t + epsilon)) ) / epsilon^2,   z(t) between z1 and z2 ~ N(0, I), epsilon = 1e-4

d being a squared perceptual distance. The latents are drawn from the image's digest, so that a row belongs to an image
and is stored like any other, though it speaks of the generator alone: as many steps are measured as there are images.

B images of a batch, L latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genaudit.backbones.generator import Generator
from genaudit.errors import UserError
from genaudit.measures.generator_images import MeasureOfGenerator
from genaudit.measures.inversion import DISTANCES, make_distance
from genaudit.stats.bounds import Probability, probability
from genaudit.stats.memory import rows_that_fit

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter

# A change of the mathematics bumps this number, so that stored rows are not reused.
CODE_VERSION = 1


class PathLength(MeasureOfGenerator):
    """Rows: the path length of one step of the generator, drawn from the image's digest.

    Args:
        generator: G.
        distance: "lpips" (the paper's, by the package lpips), "perceptual" (the embedded network's features) or "l2".
        epsilon: length of the step as a share of the path.
        interpolation: "slerp", along the sphere, as latents of a normal prior lie; or "lerp".
        sampling: "full": the step lies anywhere on the path; "end": at its beginning.
    """

    kind = "path length"
    columns: tuple[str, ...] = ("path_length",)

    def __init__(
        self,
        generator: Generator | None,
        *,
        distance: str = "perceptual",
        epsilon: Probability = 1e-4,
        interpolation: Literal["slerp", "lerp"] = "slerp",
        sampling: Literal["full", "end"] = "full",
    ) -> None:
        super().__init__(generator)
        for key, chosen, known in (
            ("distance", distance, DISTANCES),
            ("interpolation", interpolation, ("slerp", "lerp")),
            ("sampling", sampling, ("full", "end")),
        ):
            if chosen not in known:
                raise UserError(f"metric.ppl.measure.{key}={chosen}: one of {', '.join(known)} is needed")
        probability("metric.ppl.measure.epsilon", epsilon, error=UserError)
        self.settings: dict[str, Any] = {
            "distance": distance,
            "epsilon": float(epsilon),
            "interpolation": interpolation,
            "sampling": sampling,
        }

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "path_length",
            "code_version": CODE_VERSION,
            "precision": self.precision(precision),
            "generator": self.generator.describe(),
            **self.settings,
        }

    def batch_size(self, device: str) -> int:
        return rows_that_fit(math.prod(self.generator.image_shape), 256 if device.startswith("cuda") else 32)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)  # the image's name is all that counts

    def open(self, device: str, precision: str) -> Meter:
        import torch

        dtype = torch.float64 if self.precision(precision) == "float64" else torch.float32
        labels = self.generator.labels
        decoders = [self.generator.decoder(device, dtype, label) for label in labels]
        distance = make_distance(self.settings["distance"], device, dtype)
        epsilon = self.settings["epsilon"]

        @torch.no_grad()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            drawn = [self._draw(digest, len(labels)) for digest in digests]
            ends = torch.stack([ends for ends, _ in drawn]).to(device, dtype)
            lengths = torch.empty(len(drawn), dtype=dtype, device=device)
            for place, decoder in enumerate(decoders):
                rows = torch.tensor([i for i, (_, chosen) in enumerate(drawn) if chosen == place], dtype=torch.long)
                if len(rows):
                    lengths[rows] = distance(decoder(ends[rows, 0]), decoder(ends[rows, 1])) / epsilon**2
            return lengths[:, None].float()

        return meter

    def _draw(self, digest: bytes, classes: int) -> tuple[torch.Tensor, int]:
        """Both ends of a step (2, L), float64, and the place of its class."""
        import torch

        random = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)
        z = torch.randn(2, self.generator.latent_dim, generator=random, dtype=torch.float64)
        t = float(torch.rand((), generator=random)) if self.settings["sampling"] == "full" else 0.0
        ends = torch.stack([self._between(z[0], z[1], at) for at in (t, t + self.settings["epsilon"])])
        return ends, int(torch.randint(classes, (), generator=random))

    def _between(self, a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
        """The latent at a share t of the way from a to b."""
        import torch

        if self.settings["interpolation"] == "lerp":
            return torch.lerp(a, b, t)
        angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
        if float(angle.sin()) < 1e-6:  # one latent dimension: the sphere is two points
            return torch.lerp(a, b, t)
        return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
