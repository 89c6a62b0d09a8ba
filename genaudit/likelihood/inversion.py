"""Inversion: the latent whose image comes closest to a given one, and what the distances say about observation noise.

"Intriguing Properties of Modern GANs", Eq. 3 and appendix B.2: z* = argmin_z ‖G(z) - x‖, by Adam with a cosine schedule
from the nearest of 500 samples, several times; B.3 and Table 3: sigma² is the mean squared error of training images.

N images of D numbers each, R restarts, S samples to start from, L latent dimensions, n = N·R rows (an image's restarts
adjoin).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from genaudit.likelihood.latent_space import Draws, as_images
from genaudit.stats.bounds import Natural, checked, positive_int

if TYPE_CHECKING:
    import torch

    from genaudit.likelihood.latent_space import Decoder

    # Reconstructions (n, ...), images (n, ...) to distances (n,), differentiable in the reconstructions.
    Distance: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Inversion:
    """The best reconstruction of each image over restarts and steps; tensors on the images' device.

    Attributes:
        latents: (N, L).
        reconstructions: (N, ...), on the scale of the images.
        distances: (N,) the distance that was minimised, in its own unit; for the default it is `mse`.
        restarts: (N, R) the distance that each restart reached: how much they differ tells whether R is enough.
        mse: (N,) mean squared error per number, in squared units of the images' scale; lower is closer.
    """

    latents: torch.Tensor
    reconstructions: torch.Tensor
    distances: torch.Tensor
    restarts: torch.Tensor
    mse: torch.Tensor

    @property
    def l2(self) -> torch.Tensor:
        """(N,) ‖G(z*) - x‖ of Eq. 3, the axis of Figures 3 and 5, in units of the images' scale."""
        return (self.mse * self.reconstructions[0].numel()).sqrt()


def mean_squared_error(reconstructions: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """(n, ...) and (n, ...) to (n,): squared error per number; it has the minimiser of Eq. 3."""
    return (reconstructions - images).flatten(1).square().mean(1)


def invert(
    decoder: Decoder,
    x: Any,
    *,
    latent_dim: int,
    distance: Distance = mean_squared_error,
    restarts: int = 4,
    samples: int = 500,
    steps: int = 750,
    learning_rate: float = 0.1,
    generator: torch.Generator | None = None,
) -> Inversion:
    """Latents whose images are nearest to `x`, by gradient descent from several good starts.

    Each restart draws `samples` latents from N(0, I), which all images share, and begins at the one whose image is
    nearest in L2. All images and restarts are optimised as one batch; nothing couples its rows, and only the starts are
    random: with an equally seeded generator an image's result does not depend on the images beside it.

    Args:
        decoder: maps (n, latent_dim) to (n, ...), the shape of an image, row by row, on the scale of `x`;
            differentiable, in evaluation mode. For a class-conditional generator, one call per class.
        x: images (N, ...), floating, array or tensor; computed on its device in the decoder's type, float32 or float64.
        distance: what to minimise; `mean_squared_error` is Eq. 3, LPIPS or any differentiable one may stand instead.
        restarts, samples, steps: R, S >= 1 and Adam's steps >= 0; the paper's are about 4, 500 and 500 to 750.
        learning_rate: of the first step; it falls to zero as half a cosine.
        generator: source of the starts, on any device.

    Returns:
        The best that each image met, never worse than its nearest sample. A row whose gradient is not finite keeps the
        best it had.

    Raises:
        ValueError: an argument out of range, a decoder in training mode or of another shape, values not finite.
    """
    import torch

    numbers = dict(latent_dim=latent_dim, restarts=restarts, samples=samples)
    for name, number in numbers.items():
        positive_int(name, number)
    checked("steps", steps, Natural)
    x = as_images(decoder, x)
    count = x.shape[0]
    z = torch.stack(
        [_nearest_samples(decoder, x, samples, latent_dim, generator) for _ in range(restarts)], dim=1
    ).flatten(0, 1)
    target = x.repeat_interleave(restarts, dim=0)
    best_z, best = z.clone(), torch.full((count * restarts,), math.inf, dtype=x.dtype, device=x.device)

    z.requires_grad_()
    optimiser = torch.optim.Adam([z], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(steps, 1))
    for step in range(steps + 1):
        with torch.enable_grad():
            reached = distance(decoder(z), target)
        if reached.shape != best.shape:
            raise ValueError(f"distance must give shape ({best.shape[0]},), not {tuple(reached.shape)}")
        better = reached.detach() < best
        best = best.where(~better, reached.detach())
        best_z = best_z.where(~better[:, None], z.detach())
        if step < steps:
            (z.grad,) = torch.autograd.grad(reached.sum(), z)
            optimiser.step()
            schedule.step()

    if not best.isfinite().all():
        raise ValueError("the decoder or the distance gave values that are not finite for latents of its own prior")
    by_restart = best.view(count, restarts)
    distances, chosen = by_restart.min(dim=1)
    latents = best_z.view(count, restarts, latent_dim)[torch.arange(count, device=x.device), chosen]
    with torch.no_grad():
        reconstructions = decoder(latents)
        mse = mean_squared_error(reconstructions, x)
    return Inversion(latents, reconstructions, distances, by_restart, mse)


def _nearest_samples(
    decoder: Decoder, x: torch.Tensor, samples: int, latent_dim: int, generator: torch.Generator | None
) -> torch.Tensor:
    """(N, L) for each image the latent of the nearest in L2 of `samples` generated images."""
    import torch

    (z,) = Draws(generator, samples, 1, latent_dim, x).normal(1)
    distances = []
    with torch.no_grad():
        for part in z.split(64):
            images = decoder(part)
            if images.shape != (len(part), *x.shape[1:]):
                raise ValueError(f"the decoder gave {tuple(images.shape)} for images of shape {tuple(x.shape[1:])}")
            distances.append(torch.cdist(x.flatten(1), images.flatten(1)))
    return z[torch.cat(distances, dim=1).argmin(dim=1)]


def observation_variance(mse: Any) -> float:
    """sigma² of the observation model: the mean squared error of the training images' reconstructions (B.3).

    It maximises the likelihood that the noise gives to those errors. `mse` is `Inversion.mse`, (N,); units squared.
    """
    import torch

    return float(torch.as_tensor(mse).double().mean())


def psnr(sigma2: float) -> float:
    """Peak signal-to-noise ratio of Table 3, -10·log10(sigma²) decibel, for images scaled to [0, 1].

    >>> round(psnr(0.018), 1)
    17.4
    """
    if not sigma2 > 0:
        raise ValueError(f"sigma2 must be positive, not {sigma2}")
    return -10 * math.log10(sigma2)
