"""The layers of re-identification networks (`genaudit.backbones.reidentification`): a siamese ResNet-50 and its inputs.

N frames, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from genaudit.backbones.checkpoint_layouts import resnet_tensors
from genaudit.backbones.local_checkpoint import empty_resnet

HEADS = ("model.fc.weight", "model.fc.bias")


def siamese(tensors: Mapping[str, torch.Tensor], channels: int, name: str) -> nn.Module:
    """One branch of the siamese network before its sigmoid: a ResNet-50 with `channels` inputs and a linear layer."""
    network = empty_resnet("resnet50", name)
    features, width = tensors[HEADS[0]].shape
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    network.load_state_dict(resnet_tensors(tensors, network.state_dict(), prefix="model."))
    network.fc = nn.Linear(width, features)
    network.fc.load_state_dict({"weight": tensors[HEADS[0]], "bias": tensors[HEADS[1]]})
    return network


class Channels(nn.Module):
    """(N, 3, S, S) => (N, channels, S, S): as it is, or grey."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.channels == 3 else x.mean(1, keepdim=True)


class Latents(nn.Module):
    """(N, 3, S, S) in [0, 1] => latents (N, 4, S/8, S/8), of the grey image scaled as the authors scale it.

    Their factor on the latents drops out where these are stretched.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grey = x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        latents: torch.Tensor = self.encoder(grey * (255 / 128) - 1)
        return latents


class Stretch(nn.Module):
    """Each input to [-1, 1] by its own minimum and maximum; a constant one to -1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return 2 * (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny) - 1
