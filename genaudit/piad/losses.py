"""The losses of PIAD: how far a reconstruction is from its image, and the WGAN-GP critics.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", Eqs. 2 to 7; Gulrajani et al. 2017 for the penalty.
Distances are per sample: a batch's loss is the mean of its samples' distances, never one ratio of sums over the
batch. x is the image, y its reconstruction, f(x) and f(y) their features.
N samples, C filters or channels, and any further positions (H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)


def mean_squared_error(x: Array, y: Array) -> Array:
    """||x - y||² / (C·H·W) of the pixels per sample, the ablation's baseline; 0 and up, lower is closer.

    Args:
        x, y: images (N, C, H, W), any scale.

    Returns:
        (N,) in squared units of the images.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    return perceptual(x, y)


def perceptual(fx: Array, fy: Array) -> Array:
    """Perceptual loss ||f(x) - f(y)||² / (C·H·W) per sample (Tuluptceva et al. 2019, Eq. 2; Johnson et al. 2016).

    Args:
        fx, fy: features (N, C, ...) of the images and of their reconstructions.

    Returns:
        (N,), 0 and up, lower is closer. It falls with the contrast of the images.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    a, b, back = _pair(fx, fy)
    return back((a - b).square().flatten(1).mean(1))


def perceptual_l1(fx: Array, fy: Array, mean: Any = None, std: Any = None) -> Array:
    """||f̂(x) - f̂(y)||_1 / (C·H·W) per sample, f̂ = (f - mean) / std: the ablation's "perc-L1", Eq. 4's numerator.

    Arguments, result and errors are those of `relative_perceptual_l1`; `mean` cancels.
    """
    a, b, back = _pair(fx, fy)
    _, scale = _statistics(a, mean, std)
    return back(((a - b) / scale).abs().flatten(1).mean(1))


def relative_perceptual_l1(fx: Array, fy: Array, mean: Any = None, std: Any = None) -> Array:
    """||f̂(x) - f̂(y)||_1 / ||f̂(x)||_1 per sample, f̂ = (f - mean) / std (Tuluptceva et al. 2019, Eqs. 3 and 4).

    Asymmetric: the first argument, the image, normalises. The batch loss (Eq. 7) is the mean of what is returned.

    Args:
        fx, fy: features (N, C, ...) of the images and of their reconstructions.
        mean, std: (C,) statistics of each filter over a large set of images; without them 0 and 1. A filter with an
            infinite `std` counts for nothing.

    Returns:
        (N,), 0 and up, lower is closer; identical features give 0, even where f̂(x) vanishes.

    Raises:
        ValueError: the shapes differ, there is no sample, or `mean` or `std` are not (C,) or `std` not positive.
    """
    a, b, back = _pair(fx, fy)
    shift, scale = _statistics(a, mean, std)
    # as in the authors' code there is no epsilon: the smallest number only turns 0/0 into 0
    size = ((a - shift) / scale).abs().flatten(1).sum(1).clamp_min(torch.finfo(a.dtype).tiny)
    return back(((a - b) / scale).abs().flatten(1).sum(1) / size)


def relative_perceptual_l1_map(fx: Array, fy: Array, mean: Any = None, std: Any = None) -> Array:
    """Where `relative_perceptual_l1` lies: its share at each position, (N, H, W); a sample's shares sum to its loss.

    Arguments and errors as there, features (N, C, H, W).
    """
    a, b, back = _pair(fx, fy)
    shift, scale = _statistics(a, mean, std)
    size = ((a - shift) / scale).abs().sum((1, 2, 3), keepdim=True)[:, 0].clamp_min(torch.finfo(a.dtype).tiny)
    return back(((a - b) / scale).abs().sum(1) / size)


def critic_loss(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    gp_weight: float = 10,
    drift: float = 0.001,
    mix: Tensor | None = None,
    drift_on_fake: bool = False,
) -> Tensor:
    """E[D(fake)] - E[D(real)] + gp_weight·E[(||∇D(x̂)||_2 - 1)²] + drift·E[D(real)²], x̂ = a·real + (1 - a)·fake.

    Tuluptceva et al. 2019, Eq. 5, with the supplement's drift term; for the latent critic `real` are draws from the
    prior and `fake` are encoded images. The gradient's norm is over all of C, H, W. A negative first part of about
    the Wasserstein distance is normal.

    Args:
        critic: (N, ...) -> (N,) or (N, 1).
        real, fake: (N, ...); no gradient flows into them.
        mix: a, one number in [0, 1] per sample, (N,) or broadcastable to `real`; without it uniform draws from
            torch's global generator.
        drift_on_fake: add drift·E[D(fake)²] too, as the authors' code does and the paper doesn't.

    Returns:
        A scalar to minimise over the critic's parameters.

    Raises:
        ValueError: `real` and `fake` differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real and fake must have one shape, not {tuple(real.shape)} and {tuple(fake.shape)}")
    real, fake = real.detach(), fake.detach()
    if mix is None:
        mix = torch.rand(real.shape[0], dtype=real.dtype, device=real.device)
    if mix.dim() == 1:
        mix = mix.reshape(-1, *[1] * (real.dim() - 1))
    between = torch.lerp(fake, real, mix.to(real)).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = (torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1).square().mean()
    on_real, on_fake = critic(real), critic(fake)
    loss = on_fake.mean() - on_real.mean() + gp_weight * penalty + drift * on_real.square().mean()
    return loss + drift * on_fake.square().mean() if drift_on_fake else loss


def generator_loss(critic: Callable[[Tensor], Tensor], fake: Tensor) -> Tensor:
    """-E[D(fake)], the adversarial loss of the generator, and of the encoder with the latent critic.

    Tuluptceva et al. 2019, Eq. 6 without E[D(real)], on which neither depends.

    Args:
        critic: (N, ...) -> (N,) or (N, 1).
        fake: (N, ...) generated images or encoded latents, with their graph.

    Returns:
        A scalar to minimise over what made `fake`.
    """
    return -critic(fake).mean()


def _pair(x: Array, y: Array) -> tuple[Tensor, Tensor, Callable[[Tensor], Any]]:
    """Both as tensors of one floating dtype, and the way back to the kind that was given."""
    a, b = torch.as_tensor(x), torch.as_tensor(y)
    if a.shape != b.shape or a.dim() < 2 or a.numel() == 0:
        raise ValueError(f"both must have one shape (N, C, ...), not {tuple(a.shape)} and {tuple(b.shape)}")
    if not (a.is_floating_point() and b.is_floating_point()):
        a, b = a.double(), b.double()
    plain = isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
    return a, b, (lambda t: t.numpy()) if plain else (lambda t: t)


def _statistics(features: Tensor, mean: Any, std: Any) -> tuple[Tensor | float, Tensor | float]:
    """`mean` and `std` ready to be broadcast over (N, C, ...)."""

    def per_filter(name: str, value: Any) -> Tensor:
        value = torch.as_tensor(value, dtype=features.dtype, device=features.device)
        if value.shape != features.shape[1:2]:
            raise ValueError(f"{name} must be ({features.shape[1]},), one number per filter, not {tuple(value.shape)}")
        return value.reshape(-1, *[1] * (features.dim() - 2))

    shift = 0.0 if mean is None else per_filter("mean", mean)
    scale = 1.0 if std is None else per_filter("std", std)
    # on an accelerator the test would wait for the device at every step
    if isinstance(scale, Tensor) and scale.is_cpu and not (scale > 0).all():
        raise ValueError("std must be positive; a filter that never varies takes an infinite one")
    return shift, scale
