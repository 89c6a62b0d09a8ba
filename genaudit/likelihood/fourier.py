"""Which part of an image a likelihood follows: amplitudes of one image with the phases of another.

Schirrmeister et al. 2020, supplement S3: the likelihood of such a mix correlates with that of the image which gave
the amplitudes (Spearman above 0.8) and not with that of the image which gave the phases and the visible content.
Before a model sees a mix it is clipped and rounded to the pixel range (`to_pixel_range`): about a third of the
values fall outside, and on unclipped mixes the finding vanishes.

N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy


def mix_amplitude_phase(a: Any, b: Any) -> Any:
    """Image with the Fourier amplitudes of `a` and the phases of `b`, per channel.

    `Re ifft2(|fft2 a| · fft2 b / |fft2 b|)` over the last two axes. A frequency that `b` lacks has phase 0;
    coefficients below the rounding error of the transform count as lacking, since their phase is noise.

    Args:
        a: (..., H, W) array or tensor of real numbers, for example (N, C, H, W); gives the amplitudes.
        b: same shape; gives the phases.

    Returns:
        The mix, shape and kind of `a`; floating point (integers become float64 in NumPy, float32 in torch). Values
        may leave the pixel range. mix(a, a) is a.

    Raises:
        ValueError: shapes differ or have fewer than two axes.
    """
    shape_a, shape_b = tuple(np.shape(a)), tuple(np.shape(b))
    if shape_a != shape_b or len(shape_a) < 2:
        raise ValueError(f"a and b must have the same shape (..., H, W), not {shape_a} and {shape_b}")
    if hasattr(a, "detach"):
        import torch

        b = torch.as_tensor(b, device=a.device)
        if not a.is_floating_point():
            a = a.float()
        b = b.to(a.dtype)
        amplitude, phase = torch.fft.fft2(a).abs(), torch.fft.fft2(b)
        size = phase.abs()
        significant = size > _noise(shape_a, torch.finfo(a.dtype).eps) * size.amax(dim=(-2, -1), keepdim=True)
        one = torch.ones((), dtype=phase.dtype, device=a.device)
        unit = torch.where(significant, phase / torch.where(significant, size, 1.0), one)
        return torch.fft.ifft2(amplitude * unit).real
    a = np.asarray(a)
    dtype = a.dtype if a.dtype.kind == "f" else np.dtype(np.float64)
    spectrum_a = np.fft.fft2(a.astype(np.float64))
    spectrum_b = np.fft.fft2(np.asarray(b, dtype=np.float64))
    magnitude = np.abs(spectrum_b)
    present = magnitude > _noise(shape_a, np.finfo(np.float64).eps) * magnitude.max(axis=(-2, -1), keepdims=True)
    direction = np.where(present, spectrum_b / np.where(present, magnitude, 1.0), 1.0)
    return np.fft.ifft2(np.abs(spectrum_a) * direction).real.astype(dtype)


def _noise(shape: tuple[int, ...], eps: float) -> float:
    # The error of an FFT grows with the logarithm of its length (Higham 2002, section 24.1), relative to the
    # largest coefficient; below that a coefficient is rounding noise.
    return eps * math.log2(max(2, shape[-1] * shape[-2]))


class PixelRange(NamedTuple):
    """Pixels that a model may see, and what it took to make them so."""

    pixels: Any  # uint8, same shape as the mix
    outside: float  # share of values in [0, 1] that were clipped


def to_pixel_range(mixed: Any, *, bins: int = 256) -> PixelRange:
    """Rounds a mix of pixel values to integers in [0, bins - 1] and counts how many lay outside.

    Args:
        mixed: mixed pixel values on the scale 0 to bins - 1, any shape, array or tensor.
        bins: number of pixel values, at most 256.

    Returns:
        uint8 pixels of the same kind, and the share of values that had to be clipped.
    """
    if not 2 <= bins <= 256:
        raise ValueError(f"bins must be between 2 and 256, not {bins}")
    if hasattr(mixed, "detach"):
        import torch

        rounded = mixed.round()
        outside = ((rounded < 0) | (rounded > bins - 1)).double().mean().item()
        return PixelRange(rounded.clamp(0, bins - 1).to(torch.uint8), outside)
    whole = np.rint(np.asarray(mixed))
    share = float(((whole < 0) | (whole > bins - 1)).mean())
    return PixelRange(np.clip(whole, 0, bins - 1).astype(np.uint8), share)


@dataclass(frozen=True)
class MixingCorrelations:
    """Spearman correlations of the mixes' log-likelihoods with those of the images that they were mixed from."""

    amplitude: float  # in [-1, 1]
    phase: float  # in [-1, 1]


def mixing_correlations(log_prob_mixed: Any, log_prob_amplitude: Any, log_prob_phase: Any) -> MixingCorrelations:
    """Whether likelihoods follow the amplitudes or the phases (S3).

    Args:
        log_prob_mixed: (N,) nats of the mixes.
        log_prob_amplitude: (N,) nats of the images that gave the amplitudes, in the same order.
        log_prob_phase: (N,) nats of the images that gave the phases.

    Raises:
        ValueError: lengths differ, or fewer than three images.
    """
    scores = (log_prob_mixed, log_prob_amplitude, log_prob_phase)
    mixed, amplitude, phase = (np.asarray(log_prob, dtype=np.float64) for log_prob in scores)
    if not mixed.shape == amplitude.shape == phase.shape or mixed.ndim != 1 or len(mixed) < 3:
        raise ValueError("the three log-likelihoods must be (N,) with the same N >= 3")
    return MixingCorrelations(
        amplitude=float(scipy.stats.spearmanr(mixed, amplitude).statistic),
        phase=float(scipy.stats.spearmanr(mixed, phase).statistic),
    )
