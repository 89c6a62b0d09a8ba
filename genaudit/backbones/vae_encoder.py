"""The encoder of a latent diffusion VAE (Rombach et al. 2022) from diffusers' file: images => the posterior's mean.

Written for re-identification networks that were trained on latents. Widths, blocks and layers follow from the file.
N images, C channels, h x w positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from genaudit.backbones.checkpoint_layouts import vae_encoder_tensors

GROUPS, EPS = 32, 1e-6


def vae_encoder(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The encoder with its weights: (N, 3, S, S) in [-1, 1] => (N, latents, S/f, S/f).

    Args:
        tensors: of a diffusers `AutoencoderKL`, the decoder's too or not.

    Raises:
        ValueError, RuntimeError: another network.
    """
    found = vae_encoder_tensors(tensors)
    network = _Encoder(found)
    network.load_state_dict(found)
    return network.eval()


class _Residual(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, before, EPS), nn.GroupNorm(GROUPS, after, EPS)
        self.conv1, self.conv2 = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.conv_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x) + h


class _Attention(nn.Module):
    """One head over all positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, width, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.group_norm(x).flatten(2).transpose(1, 2)  # (N, h·w, C)
        weights = (self.to_q(rows) @ self.to_k(rows).transpose(1, 2) * x.shape[1] ** -0.5).softmax(-1)
        out = self.to_out[0](weights @ self.to_v(rows))
        return x + out.transpose(1, 2).reshape(x.shape)


class _Downsample(nn.Module):
    """Halves the sides; the padding is on the right and below alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return result


class _Block(nn.Module):
    def __init__(self, widths: list[int], downsamples: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_Residual(*pair) for pair in itertools.pairwise(widths)])
        self.downsamplers = nn.ModuleList([_Downsample(widths[-1])] if downsamples else [])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class _Middle(nn.Module):
    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_Attention(width)] if attention else [])
        self.resnets = nn.ModuleList([_Residual(width, width), _Residual(width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.resnets[0](x)
        for layer in self.attentions:
            x = layer(x)
        result: torch.Tensor = self.resnets[1](x)
        return result


class _Encoder(nn.Module):
    """The modules that the names and shapes of the tensors ask for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        channels = tensors["conv_in.weight"].shape[1]
        width = tensors["conv_in.weight"].shape[0]
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        blocks: list[_Block] = []
        while f"down_blocks.{len(blocks)}.resnets.0.conv1.weight" in tensors:
            place = f"down_blocks.{len(blocks)}."
            widths = [width]
            while (name := f"{place}resnets.{len(widths) - 1}.conv1.weight") in tensors:
                widths.append(tensors[name].shape[0])
            blocks.append(_Block(widths, f"{place}downsamplers.0.conv.weight" in tensors))
            width = widths[-1]
        self.down_blocks = nn.ModuleList(blocks)
        self.mid_block = _Middle(width, "mid_block.attentions.0.to_q.weight" in tensors)
        self.conv_norm_out = nn.GroupNorm(GROUPS, width, EPS)
        out = tensors["quant_conv.weight"].shape[0]
        self.conv_out = nn.Conv2d(width, out, 3, padding=1)
        self.quant_conv = nn.Conv2d(out, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        x = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        mean, _ = self.quant_conv(x).chunk(2, dim=1)  # the other half is the posterior's log-variance
        return mean
