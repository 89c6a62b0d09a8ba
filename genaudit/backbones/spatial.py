"""Spatial features: the first channels of a convolutional feature map of stride 16, positions kept.

sFID (Nash et al. 2021) takes the first 7 channels of the 17 x 17 map `mixed_6/conv` of the FID Inception: 2,023
numbers, for a covariance of the size of FID's own. The same rule for another convolutional network is its map of
stride 16 and as many first channels as make at most 2,048 numbers. The channels of a position stand together, as in
TensorFlow, so that moments in ADM's files are moments of the same numbers. c of C channels, h, w sides of the map.
"""

from __future__ import annotations

import torch
from torch import nn

from genaudit.errors import UserError

SPATIAL_FEATURES = 2048  # numbers at most


class FirstChannels(nn.Module):
    """(N, C, h, w) => (N, h, w, c), c the most channels that make at most `SPATIAL_FEATURES` numbers, at least one."""

    traced_whole = True  # how many depends on the sides, which a trace does not know

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels = max(1, SPATIAL_FEATURES // (x.shape[2] * x.shape[3]))
        return x[:, :channels].permute(0, 2, 3, 1)


class _Mean(nn.Module):
    """(N, C, h, w) => (N, C): the average over positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def pooled_stage(network: nn.Module, stage: int) -> nn.Module:
    """A timm EfficientNet up to the end of a stage of blocks, counted from 1, averaged over positions: (N, C)."""
    stem, norm, blocks = (network.get_submodule(name) for name in ("conv_stem", "bn1", "blocks"))
    return nn.Sequential(stem, norm, *list(blocks.children())[:stage], _Mean())


class MapAverage(nn.Module):
    """The last map of a convolutional timm network, averaged over positions without the head's norm: (N, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.network.forward_features(x)  # type: ignore[operator]
        if maps.ndim != 4:
            raise UserError("feature_model.pooling=map is for convolutional networks; this one gives tokens")
        return maps.mean((2, 3))


class _Intermediate(nn.Module):
    """A timm network up to one of its stages."""

    def __init__(self, network: nn.Module, stage: int) -> None:
        super().__init__()
        self.network, self.stage = network, stage

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (found,) = self.network.forward_intermediates(  # type: ignore[operator]
            x, indices=[self.stage], intermediates_only=True, stop_early=True
        )
        result: torch.Tensor = found
        return result


def strides_of(network: nn.Module) -> list[int]:
    """The stride of each stage of a timm network whose stages' maps can be had; empty where they cannot."""
    stages = getattr(network, "feature_info", None)
    if not isinstance(stages, list) or not hasattr(network, "forward_intermediates"):
        return []
    return [stage["reduction"] for stage in stages]


def stage_of_stride_16(network: nn.Module, name: str) -> nn.Module:
    """A convolutional timm network up to the last stage of stride 16, its first channels.

    Raises:
        UserError: its stages have no unique feature map of stride 16 (every block of a transformer has the same).
    """
    strides = strides_of(network)
    if strides.count(16) != 1:
        raise UserError(
            f"feature_model {name} has no single feature map of stride 16, from which spatial features are taken; "
            "feature_model=fid_inception or efficientnet_lite0 has one"
        )
    return nn.Sequential(_Intermediate(network, strides.index(16)), FirstChannels())
