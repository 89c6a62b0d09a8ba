"""Layers around a feature network: its normalisation before it, its outputs after each part, and spatial features.

The normalisation is the first layer, so that images enter as [0, 1].

Spatial features are the first channels of a convolutional feature map of stride 16, positions kept. sFID (Nash et al.
2021) takes the first 7 channels of the 17 x 17 map `mixed_6/conv` of the FID Inception: 2,023 numbers, for a covariance
of the size of FID's own. The same rule for another convolutional network is its map of stride 16 and as many first
channels as make at most 2,048 numbers. The channels of a position stand together, as in TensorFlow, so that moments in
ADM's files are moments of the same numbers. c of C channels, h, w sides of the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from genaudit.errors import UserError

SPATIAL_FEATURES = 2048  # numbers at most


class Normalised(torch.nn.Module):
    """`network((x - mean) / std)` with features flattened: (N, 3, S, S) in [0, 1] => (N, D).

    The anomaly score perturbs images in [0, 1], so the normalisation is part of the function that it differentiates.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: torch.nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        std_column = torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1)
        mean_column = torch.tensor(mean, dtype=torch.float64).view(1, 3, 1, 1)
        # one multiplication and one addition; buffers follow the module's dtype
        self.register_buffer("scale", (1 / std_column).float(), persistent=False)
        self.register_buffer("shift", (-mean_column / std_column).float(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network(torch.addcmul(self.shift, images, self.scale))
        return features.flatten(1)


class NormalisedOutputs(Normalised):
    """`Normalised` for a network with several outputs: each is flattened, (N, 3, S, S) => a tuple of (N, D)."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        outputs = self.network(torch.addcmul(self.shift, images, self.scale))
        return tuple(each.flatten(1) for each in outputs)


class Parts(nn.Module):
    """Parts that run one after the other, of which some outputs are wanted: (N, 3, S, S) => a tuple of tensors.

    Args:
        parts: output => the part that ends with it, in the order in which they run; those after the last that is
            wanted do not run.
        wanted: the outputs, in the order of the tuple.
        ends: what a part's output still goes through where it leaves the network there, and not on its way to the next.
    """

    def __init__(self, parts: Mapping[str, nn.Module], wanted: Sequence[str], ends: Mapping[str, nn.Module]) -> None:
        super().__init__()
        last = max(list(parts).index(each) for each in wanted)
        self.names = list(parts)[: last + 1]
        self.wanted = list(wanted)
        self.parts = nn.ModuleList(parts[name] for name in self.names)
        self.ends = nn.ModuleDict({name: ends.get(name, nn.Identity()) for name in self.names})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = {}
        for name, part in zip(self.names, self.parts, strict=True):
            x = part(x)
            if name in self.wanted:
                outputs[name] = self.ends[name](x)
        return tuple(outputs[name] for name in self.wanted)


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
