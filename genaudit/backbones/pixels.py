"""Raw pixels as features: the baseline without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genaudit.backbones.feature_model import FeatureModel, Weights
from genaudit.data.resize import Fit
from genaudit.stats.bounds import Side

if TYPE_CHECKING:
    import torch


class Pixels(FeatureModel):
    """The resized image itself, scaled to [0, 1] and flattened: (N, 3, S, S) => (N, 3·S·S).

    Args:
        size: side in pixels; the features have 3·size² columns.
    """

    def __init__(
        self,
        name: str = "pixels",
        *,
        size: Side = 32,
        interpolation: str = "bicubic",
        fit: Fit = "squash",
        checkpoint: str | None = None,
        offline: bool = False,
    ) -> None:
        super().__init__(
            name,
            size=size,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            interpolation=interpolation,
            fit=fit,
            checkpoint=checkpoint,
            offline=offline,
        )

    def find_weights(self) -> str | None:
        return "none needed"

    def load_weights(self) -> Weights:
        return Weights(dict, "none needed", "", trained=True)

    def build(self) -> torch.nn.Module:
        import torch

        return torch.nn.Identity()
