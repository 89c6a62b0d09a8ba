"""PIAD's anomaly score of an image, with its reconstruction and the map of where the two differ.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection": A(x) is the distance between an image x and its
reconstruction G(E(x)), in the features of the perceptual network that the model was trained with.

B images of a batch, C channels, S side of the networks' images, m side of the map. A row is the score; its attachments
are the map (m, m), which sums to the score, and the reconstruction (S, S, C) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data.resize import ResizeRecipe
from genaudit.errors import UserError
from genaudit.stats.bounds import positive_int

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Given, Meter

# A change of how scores are computed from the same weights bumps this number, so that stored rows are not reused.
CODE_VERSION = 2


@dataclass(frozen=True)
class PreparedPixels:
    """How an image of any size becomes what the networks read, in training and in scoring alike.

    Attributes:
        size: S. channels: 1 (luma of ITU-R 601) or 3.
        interpolation, fit: see `genaudit.data.resize.ResizeRecipe`.
        crop: the central square of so many pixels is cut out first (CelebA: 140); None takes the whole image.
    """

    size: int
    channels: int
    interpolation: str = "bilinear"
    fit: str = "squash"
    crop: int | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if self.crop is not None:
            positive_int("crop", self.crop)
        _ = self._recipe  # complains about the others

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S)."""
        return self.channels, self.size, self.size

    @cached_property
    def _recipe(self) -> ResizeRecipe:
        return ResizeRecipe(self.size, self.interpolation, self.fit)  # type: ignore[arg-type]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 => (S, S, 3) uint8; with one channel all three are equal.

        Raises:
            UserError: the image is smaller than what is cut out of it.
        """
        if self.crop is not None:
            height, width = image.shape[:2]
            if min(height, width) < self.crop:
                raise UserError(
                    f"pixels.crop={self.crop}: an image of {width}x{height} is smaller than what is cut out"
                )
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
            image = np.ascontiguousarray(image[top : top + self.crop, left : left + self.crop])
        image = self._recipe.apply(image)
        if self.channels == 1:
            from PIL import Image

            image = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
        return image

    def describe(self) -> dict[str, Any]:
        """For model.json and fingerprints."""
        return {"channels": self.channels, "crop": self.crop, **self._recipe.describe()}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> PreparedPixels:
        """From what `describe` gave."""
        return cls(**{key: described[key] for key in ("size", "channels", "interpolation", "fit", "crop")})


class PIAD:
    """The measure of `metric=piad`.

    Args:
        model: a folder that `genaudit train piad=...` wrote.
        weights: the file of the perceptual network's weights, where it is not where the training found it.
    """

    columns = ("score",)

    def __init__(self, model: str | None, weights: str | None = None) -> None:
        if not model:
            raise UserError(
                "metric piad: piad_model=RUN is needed, a folder that `genaudit train piad=mnist train=T out=RUN` wrote"
            )
        self.folder, self.weights = str(model), weights
        from genaudit.piad.saved import describe

        self._record = describe(self.folder)
        self.pixels = PreparedPixels.of(self._record["pixels"])
        perceptual = self._record["perceptual"]
        self.settings: dict[str, Any] = {
            "model": self.folder,
            "iterations": self._record.get("iterations"),
            "perceptual": perceptual and perceptual["name"],
            "reconstruction": self._record["reconstruction"],
            "pixels": self.pixels.describe(),
        }

    @property
    def name(self) -> str:
        return "piad"

    @property
    def attachments(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        channels, size, _ = self.pixels.shape
        return {"map": ("float32", (None, None)), "reconstruction": ("uint8", (size, size, channels))}

    @cached_property
    def weights_sha256(self) -> str:
        from genaudit.piad.saved import sha256

        return sha256(self.folder)

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "piad",
            "code_version": CODE_VERSION,
            "precision": "float32",  # whatever the run's: the networks were trained in it
            "weights_sha256": self.weights_sha256,
            "architecture": self._record["architecture"],
            "reconstruction": self._record["reconstruction"],
            "perceptual": {k: v for k, v in (self._record["perceptual"] or {}).items() if k != "node"},
            "pixels": self.pixels.describe(),
        }

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.pixels.apply(image)

    def batch_size(self, device: str) -> int:
        return 128 if device.startswith("cuda") else 16

    def open(self, device: str, precision: str) -> Meter:
        import torch

        from genaudit.piad.saved import load
        from genaudit.piad.scoring import score_batches

        model = load(self.folder, weights=self.weights)
        networks = model.networks.to(device, channels_last=True)
        if model.perceptual is not None:
            model.perceptual.to(device).to(memory_format=torch.channels_last)

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> Given:
            batch = images[:, : self.pixels.channels]
            (scored,) = score_batches(networks, batch, model.perceptual, model.reconstruction, len(batch))
            pictures = np.rint((scored.reconstructions.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
            beside = {"map": scored.maps, "reconstruction": pictures.transpose(0, 2, 3, 1)}
            return torch.from_numpy(scored.scores)[:, None], {k: torch.from_numpy(v) for k, v in beside.items()}

        return meter
