"""The normalisation of a feature model as its first layer, so that images enter as [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch


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
