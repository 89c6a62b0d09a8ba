"""Log-likelihoods of images under a trained density model, by scale: what `metric=llr` judges.

Schirrmeister et al. 2020, supplement S4.5: scores are computed on noise-free inputs, (pixel + 1/2)/256 - 1/2, in nats
on the axis of `genaudit.likelihood.dequantisation`.

Images come on the model's `Canvas`: smaller ones padded, larger ones resized. A model of one channel sees S5.1's
luminance, one of three sees grey three times.

Rows are float32: a log-likelihood of 3,000 nats is kept to 1e-4, which no score comes near to.
B images of a batch, K scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.errors import UserError
from genaudit.likelihood import saved
from genaudit.measures.canvas import Canvas
from genaudit.measures.code_length import CODECS, CodeLength
from genaudit.measures.measure import torch_dtype

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter

CODE_VERSION = 1  # to be raised when rows change with the same weights


class Likelihood:
    """Rows (1 + K): log p(x), then its contributions c_1 ... c_K of the scales, nats; higher is likelier.

    Values that are not finite are kept: `likelihood.losses.log_likelihood_ratio` says what becomes of them.
    """

    def __init__(self, model: str | None) -> None:
        """
        Args:
            model: a folder that `genaudit train likelihood=...` wrote, or the name of a model that ships.

        Raises:
            UserError: no model was named, or there is none of that name.
        """
        if model is None:
            shipped = ", ".join(saved.names())
            raise UserError(
                "a density model is missing: density_model=RUN names the folder that `genaudit train likelihood=glow "
                "train=T out=RUN` wrote" + (f", or a model that ships ({shipped})" if shipped else "")
            )
        self.model = str(model)
        self.description = saved.describe(self.model)
        self.folder = saved.find(self.model)
        self.channels, self.size = int(self.description["channels"]), int(self.description["size"])
        self.canvas = Canvas(self.size)
        self.settings = {"model": self.model, "trained_on": str(self.description["about"].get("images", ""))}

    @property
    def name(self) -> str:
        return f"likelihood {self.folder.resolve().name}"

    @property
    def columns(self) -> tuple[str, ...]:
        return ("log_prob", *(f"c_{i + 1}" for i in range(int(self.description["scales"]))))

    @cached_property
    def weights_sha256(self) -> str:
        return saved.sha256(self.folder)

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "likelihood",
            "version": CODE_VERSION,
            "precision": "float64" if precision == "float64" else "float32",
            "weights": self.weights_sha256,
            "node": self.description["node"],
            "canvas": self.canvas.describe(),
        }

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.canvas.place(image)

    def batch_size(self, device: str) -> int:
        return 128 if device.startswith("cuda") else 16

    def open(self, device: str, precision: str) -> Meter:
        """Loads the network; bfloat16 is too coarse for sums of thousands of nats and runs as float32."""
        import torch

        from genaudit.likelihood.dequantisation import noise_free, to_pixels

        dtype = torch.float64 if torch_dtype(precision) is torch.float64 else torch.float32
        network = saved.load(self.folder, device).to(dtype)

        @torch.inference_mode()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            pixels = to_pixels(images, channels=self.channels)
            parts: torch.Tensor = network.contributions(noise_free(pixels).to(dtype))
            return torch.cat([parts.sum(1, keepdim=True), parts], dim=1).float()

        return meter


def general_model(model: str | None, density_model: str | None) -> Likelihood | CodeLength:
    """What the ratio divides by: a trained general model, or a code length on the density model's canvas.

    Args:
        model: a folder or name as for `Likelihood`; "png", "webp" or None (png) for a code length.
        density_model: the density model that it goes with.

    Raises:
        UserError: no such model, or models of other images.
    """
    density = Likelihood(density_model)
    if model is None or model in CODECS:
        return CodeLength(model or "png", channels=density.channels, size=density.size)  # type: ignore[arg-type]
    general = Likelihood(model)
    if (general.channels, general.size) != (density.channels, density.size):
        raise UserError(
            f"general_model={model} is of {general.channels}x{general.size}x{general.size} images and "
            f"density_model={density_model} of {density.channels}x{density.size}x{density.size}: their log-likelihoods "
            "cannot be compared; train both with the same likelihood.model.channels and size"
        )
    return general


def code_length(model: str | None, density_model: str | None) -> CodeLength:
    """The code length on the density model's canvas: the codec that `general_model` names, else PNG."""
    density = Likelihood(density_model)
    codec = model if model in CODECS else "png"
    return CodeLength(codec, channels=density.channels, size=density.size)  # type: ignore[arg-type]
