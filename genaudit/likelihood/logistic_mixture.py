"""The discretised mixture of logistics: PixelCNN++'s probability of a pixel value.

Salimans et al. 2017, "PixelCNN++", section 2.1. A value v of `bins` sits at 2v/(bins - 1) - 1 in [-1, 1] and has the
mixture's mass of its cell, half a step to each side; the first and the last cell reach to infinity, so the masses
add up to one. With three channels the mean of green depends linearly on red, that of blue on red and green
(section 2.2); all channels of a pixel share the component.

N images, C channels (1 or 3), H height, W width, M components.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_LOG_SCALE = -7.0  # the authors' bound: a logistic narrower than a quarter of a cell


def parameter_count(channels: int, components: int) -> int:
    """Network outputs a pixel: logits, and per channel means and log-scales, and the colour coefficients."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    return components * (1 + 2 * channels + (3 if channels == 3 else 0))


def _unpack(parameters: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logits (N, M, H, W), means and log-scales (N, C, M, H, W), coefficients (N, 3, M, H, W) in (-1, 1)."""
    components = parameters.shape[1] // parameter_count(channels, 1)
    logits, rest = parameters[:, :components], parameters[:, components:].unflatten(1, (-1, components))
    means, log_scales = rest[:, :channels], rest[:, channels : 2 * channels].clamp_min(SMALLEST_LOG_SCALE)
    return logits, means, log_scales, torch.tanh(rest[:, 2 * channels :])


def log_mass(parameters: Tensor, scaled: Tensor, bins: int = 256) -> Tensor:
    """log P of each pixel (all its channels), (N, H, W) nats, at most 0.

    The mass of a cell between cdf(a) and cdf(b) is sigmoid(a)·sigmoid(-b)·(1 - exp(b - a)), and a - b is the cell's
    width over the scale, whatever the value: exact and stable in the tails, where the released code, which subtracts
    two sigmoids, falls back to the density at the middle of the cell and no longer sums to one.

    Args:
        parameters: (N, parameter_count, H, W), the network's output.
        scaled: (N, C, H, W) pixel values in [-1, 1].
        bins: number of values a channel can take.
    """
    channels = scaled.shape[1]
    logits, means, log_scales, coefficients = _unpack(parameters, channels)
    if channels == 3:
        red, green = scaled[:, 0, None], scaled[:, 1, None]
        red_in_green, red_in_blue, green_in_blue = coefficients.unbind(1)
        none = torch.zeros_like(red_in_green)
        means = means + torch.stack([none, red_in_green * red, red_in_blue * red + green_in_blue * green], dim=1)
    inverse_scale = (-log_scales).exp()
    value = scaled[:, :, None]
    half = 1 / (bins - 1)
    above = (value + half - means) * inverse_scale
    below = (value - half - means) * inverse_scale
    inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-2 * half * inverse_scale))
    # Half a step from the ends: a value is the first or the last one.
    log_p = torch.where(value > 1 - half, F.logsigmoid(-below), inside)
    log_p = torch.where(value < half - 1, F.logsigmoid(above), log_p)
    return torch.logsumexp(log_p.sum(1) + F.log_softmax(logits, dim=1), dim=1)


def draw(parameters: Tensor, channels: int, generator: torch.Generator | None = None, bins: int = 256) -> Tensor:
    """One pixel value for each place, (N, C, H, W) int64 in [0, bins - 1]: component, then logistic, then its cell.

    Later channels are conditioned on the earlier ones as drawn, already on the grid, as `log_mass` reads them.
    """
    logits, means, log_scales, coefficients = _unpack(parameters, channels)
    device = parameters.device if generator is None else generator.device

    def uniform(shape: torch.Size) -> Tensor:
        # Away from 0 and 1, whose logit is infinite.
        return torch.rand(shape, generator=generator, device=device).clamp_(1e-6, 1 - 1e-6).to(parameters.device)

    gumbel = -torch.log(-torch.log(uniform(logits.shape)))
    chosen = (logits + gumbel).argmax(dim=1, keepdim=True)[:, None]  # (N, 1, 1, H, W)

    def of_chosen(x: Tensor) -> Tensor:
        return x.gather(2, chosen.expand(-1, x.shape[1], -1, -1, -1))[:, :, 0]

    mean, scale = of_chosen(means), of_chosen(log_scales).exp()
    coefficient = of_chosen(coefficients) if channels == 3 else None
    noise = torch.logit(uniform(mean.shape)) * scale
    values: list[Tensor] = []  # on [-1, 1]
    drawn: list[Tensor] = []
    for c in range(channels):
        centre = mean[:, c]
        if coefficient is not None and c == 1:
            centre = centre + coefficient[:, 0] * values[0]
        elif coefficient is not None and c == 2:
            centre = centre + coefficient[:, 1] * values[0] + coefficient[:, 2] * values[1]
        step = ((centre + noise[:, c] + 1) * (bins - 1) / 2).round().clamp(0, bins - 1)
        values.append(2 * step / (bins - 1) - 1)
        drawn.append(step.long())
    return torch.stack(drawn, dim=1)
