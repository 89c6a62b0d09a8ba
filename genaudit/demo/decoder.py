"""The small convolutional decoder of the demo's VAE, and its weights' file.

Shapes: N images, L latent dimensions.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


class VAEDecoder(nn.Module):
    """Latents to 28 x 28 grey images: (N, L) float32 -> (N, 1, 28, 28) float32 in [0, 1].

    latent_dim: L. hidden: units of the fully connected layer. width: channels at 7 x 7, even; half as many at 14 x 14.
    sigma2: variance of the Gaussian observation model on [0, 1]-scaled pixels; NaN until a fit sets it.
    """

    def __init__(self, latent_dim: int, hidden: int, width: int, sigma2: float = float("nan")) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.width = width
        self.sigma2 = sigma2
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, width * 7 * 7),
            nn.Unflatten(1, (width, 7, 7)),
            nn.SiLU(),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width // 2, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.layers(latents)
        return images


def save(decoder: VAEDecoder, file: Path) -> None:
    """Writes the weights with the decoder's sizes and sigma2 in the file's metadata."""
    sizes = {name: repr(getattr(decoder, name)) for name in ("latent_dim", "hidden", "width", "sigma2")}
    save_file({name: tensor.contiguous() for name, tensor in decoder.state_dict().items()}, file, metadata=sizes)


def load(file: Path) -> VAEDecoder:
    """Reads what `save` wrote, in evaluation mode and without gradients for its weights."""
    with safe_open(file, framework="pt") as stored:
        sizes = stored.metadata()
        weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
    decoder = VAEDecoder(int(sizes["latent_dim"]), int(sizes["hidden"]), int(sizes["width"]), float(sizes["sigma2"]))
    decoder.load_state_dict(weights)
    return decoder.eval().requires_grad_(False)
