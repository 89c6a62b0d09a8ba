"""The layers of SSCD's head (`genaudit.backbones.sscd`), apart from it so that listing networks needs no torch.

N images, C channels, H, W sides of the map, D features.
"""

from __future__ import annotations

import torch
from torch import nn


class GeneralisedMean(nn.Module):
    """(N, C, H, W) => (N, C, 1, 1): the p-th root of the mean p-th power over places, values from 1e-6 on."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean: torch.Tensor = x.clamp(min=1e-6).pow(self.power).mean(dim=(2, 3), keepdim=True)
        return mean.pow(1 / self.power)


class UnitLength(nn.Module):
    """Rows (N, D) over their Euclidean length."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(x)
