"""The small generators behind genaudit's demo sets: their training and their sampling.

- `fit_vae`: a convolutional VAE (Kingma and Welling, ICLR 2014) with Gaussian observations of fixed variance.
- `sample_collapsed`: the VAE's decoder with all latents near a few points: mode collapse at unchanged image quality.
- `fit_memory`, `sample_memorised`: an autoencoder overfitted to a small set, sampled by a kernel density over its
  codes with a tiny bandwidth.
- `sample_gaussian`: one Gaussian over pixels.

Shapes: N images, L latent dimensions. Images are (N, 1, 28, 28) float32 in [0, 1]; all of it runs on one CPU thread.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from genaudit.demo.decoder import VAEDecoder


class Encoder(nn.Module):
    """Images (N, 1, 28, 28) -> (N, outputs)."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width // 2, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(width * 7 * 7, outputs),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = self.layers(images)
        return codes


def _batches(count: int, size: int, generator: torch.Generator) -> list[torch.Tensor]:
    """One epoch's row indices in random order; an incomplete last batch is left out."""
    order = torch.randperm(count, generator=generator)
    return list(order[: count - count % size].split(size))


def fit_vae(
    images: torch.Tensor,
    *,
    epochs: int,
    seed: int,
    variance: float,
    latent_dim: int = 10,
    hidden: int = 64,
    width: int = 24,
) -> VAEDecoder:
    """Fits the VAE and returns its decoder, the average of the weights over the last steps, with `sigma2` set.

    Loss per image: |x - G(z)|^2 / (2 variance) + KL(q(z|x) || N(0, I)). A `variance` above the error that is left in
    the end spends fewer nats on the codes, which then fill the prior better: better samples, worse reconstructions.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    encoder, decoder = Encoder(2 * latent_dim, 2 * width), VAEDecoder(latent_dim, hidden, width)
    average = copy.deepcopy(decoder)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=2e-3)
    steps = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.05)
    for _ in range(epochs):
        for rows in _batches(len(images), 64, generator):
            batch = images[rows]
            mean, log_std = encoder(batch).chunk(2, dim=1)
            log_std = log_std.clamp(-7, 3)
            noise = torch.randn(mean.shape, generator=generator)
            decoded = decoder(mean + log_std.exp() * noise)
            squares = (decoded - batch).square().sum(dim=(1, 2, 3)).mean()
            kl = (0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std).sum(dim=1).mean()
            loss = squares / (2 * variance) + kl
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 100.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for kept, new in zip(average.parameters(), decoder.parameters(), strict=True):
                    kept.lerp_(new, 0.01)
    average.eval().requires_grad_(False)
    with torch.no_grad():
        mean, log_std = encoder(images).chunk(2, dim=1)
        codes = mean + log_std.clamp(-7, 3).exp() * torch.randn(mean.shape, generator=generator)
        average.sigma2 = float((average(codes) - images).square().mean())
    return average


@torch.no_grad()
def sample_vae(decoder: VAEDecoder, count: int, generator: torch.Generator) -> torch.Tensor:
    """Decoder means at latents from the prior."""
    return decoder(torch.randn(count, decoder.latent_dim, generator=generator))


@torch.no_grad()
def sample_collapsed(
    decoder: VAEDecoder, count: int, generator: torch.Generator, *, modes: int, jitter: float
) -> torch.Tensor:
    """Decoder means at sqrt(1 - jitter^2) c + jitter e: c one of `modes` prior draws, e standard normal.

    With that scaling each latent alone has the prior's distribution: only the diversity is gone.
    """
    centres = torch.randn(modes, decoder.latent_dim, generator=generator)
    choice = torch.randint(modes, (count,), generator=generator)
    noise = torch.randn(count, decoder.latent_dim, generator=generator)
    return decoder(math.sqrt(1 - jitter**2) * centres[choice] + jitter * noise)


class Memory(nn.Module):
    """A fully connected autoencoder with enough weights to hold a few hundred images: (N, 1, 28, 28) to the same."""

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(784, hidden // 2), nn.SiLU(), nn.Linear(hidden // 2, latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.SiLU(), nn.Linear(hidden, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self.decoder(self.encoder(images))
        return decoded


def fit_memory(
    images: torch.Tensor, *, epochs: int, seed: int, latent_dim: int = 64, hidden: int = 1024
) -> tuple[Memory, float]:
    """Overfits the autoencoder by mean squared error; returns it and the error that is left."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    memory = Memory(latent_dim, hidden)
    optimiser = torch.optim.Adam(memory.parameters(), lr=2e-3)
    steps = epochs * (len(images) // 100)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.05)
    for _ in range(epochs):
        for rows in _batches(len(images), 100, generator):
            batch = images[rows]
            loss = (memory(batch) - batch).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    memory.eval().requires_grad_(False)
    return memory, float((memory(images) - images).square().mean())


@torch.no_grad()
def sample_memorised(
    memory: Memory, images: torch.Tensor, count: int, generator: torch.Generator, *, bandwidth: float
) -> torch.Tensor:
    """Decodings of codes drawn uniformly, with replacement, plus Gaussian noise of `bandwidth` standard deviations."""
    codes: torch.Tensor = memory.encoder(images)
    rows = torch.randint(len(codes), (count,), generator=generator)
    noise = torch.randn(count, codes.shape[1], generator=generator)
    decoded: torch.Tensor = memory.decoder(codes[rows] + bandwidth * codes.std(dim=0) * noise)
    return decoded


def sample_gaussian(images: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draws from N(mean, covariance) of the pixels, clipped to [0, 1]."""
    rows = images.flatten(1).double()
    mean = rows.mean(dim=0)
    # Centred rows over sqrt(N - 1) are a root of the covariance: mixing them with normal weights draws from it.
    weights = torch.randn(count, len(rows), generator=generator, dtype=torch.float64)
    draws = mean + weights @ (rows - mean) / math.sqrt(len(rows) - 1)
    return draws.clamp(0, 1).float().reshape(count, *images.shape[1:])
