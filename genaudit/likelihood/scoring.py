"""Log-likelihoods of many images, as rows: noise-free for scores, noisy or importance-weighted for bits per dimension.

Schirrmeister et al. 2020, supplement S4.5. N images, S scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from genaudit.likelihood.dequantisation import dequantise, noise_free, to_pixels
from genaudit.stats.bounds import positive_int
from genaudit.stats.memory import Fitting
from genaudit.stats.process_state import exact_float32


class DensityModel(Protocol):
    """What Glow, its variants and PixelCNN++ have in common."""

    image_shape: tuple[int, int, int]

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor: ...

    def contributions(self, x: Tensor, labels: Tensor | None = None) -> Tensor: ...


@torch.no_grad()
def _by_batch(
    model: Any, images: Any, batch_size: int, fn: Callable[[Tensor], Tensor], *, halve: bool = False
) -> np.ndarray:
    device = next(model.parameters()).device
    channels, size, _ = model.image_shape
    was_training = model.training
    model.eval()
    rows: list[np.ndarray] = []

    def scored(batch: Any) -> np.ndarray:
        numbers: np.ndarray = fn(batch.to(device)).double().cpu().numpy()  # float64 only on the CPU: MPS has none
        return numbers

    fitting = Fitting("the density model")
    with exact_float32(device.type):  # TF32 would move a log-likelihood by nats
        for start in range(0, len(images), batch_size):
            pixels = to_pixels(images[start : start + batch_size], channels=channels, size=size)
            # a batch that is tried again would draw other noise
            rows += fitting(scored, pixels) if halve else [scored(pixels)]
    model.train(was_training)
    return np.concatenate(rows)


def log_likelihoods(model: Any, images: Any, *, batch_size: int = 64) -> np.ndarray:
    """Detection rows of a density model: log p(x) and its contributions by scale, on noise-free inputs (S4.5).

    Args:
        model: a density model (`DensityModel`) on any device.
        images: uint8, NumPy (N, H, W[, C]) or torch (N, C, H, W), N >= 1; turned to the model's channels and padded.
        batch_size: images a pass; changes nothing but rounding.

    Returns:
        float64 (N, 1 + S) nats: log p(x), then c_1 ... c_S; the last column is the last-scale score. May hold
        values that are not finite, which `losses.log_likelihood_ratio` clips.
    """

    def rows(pixels: Tensor) -> Tensor:
        parts = model.contributions(noise_free(pixels))
        return torch.cat([parts.sum(1, keepdim=True), parts], dim=1)

    return _by_batch(model, images, batch_size, rows, halve=True)


def noisy_log_prob(
    model: Any, images: Any, *, samples: int = 1, generator: torch.Generator | None = None, batch_size: int = 64
) -> np.ndarray:
    """log of the mean of p(x + u) over `samples` draws of dequantisation noise, (N,) nats.

    One sample is the paper's way to report bits per dimension. More are importance-weighted dequantisation (Theis et
    al. 2016; Hoogeboom et al. 2020): a lower bound of log P of the pixel values (times 256^D) that rises with the
    number of samples towards the truth, so bits per dimension that barely fall with it are confirmed.

    Args:
        model, images, batch_size: as for `log_likelihoods`.
        samples: draws of noise per image.
        generator: source of the noise.
    """
    positive_int("samples", samples)

    def row(pixels: Tensor) -> Tensor:
        draws = [model.log_prob(dequantise(pixels, generator)) for _ in range(samples)]
        return torch.logsumexp(torch.stack(draws), dim=0) - math.log(samples)

    return _by_batch(model, images, batch_size, row)
