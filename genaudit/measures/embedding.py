"""The embedding, a feature model's features of an image, (N, 3, S, S) => (N, D); and what else a network can give.

`NetworkOutput` is what `Embedding`, `Logits` and `SpatialFeatures` share: one network, run to where its rows lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.backbones.feature_model import FeatureModel, Output
from genaudit.measures.measure import to_unit_range, torch_dtype

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter


class NetworkOutput:
    """Rows that a feature model's network gives, at the output that a subclass names.

    In float32 matrix products run without TF32; `bfloat16` runs the network under autocast with float32 weights.
    """

    kind: str  # the measure's name beside the feature model's
    output: Output
    columns: tuple[str, ...] | None = None

    def __init__(self, feature_model: FeatureModel) -> None:
        self.feature_model = feature_model

    @property
    def name(self) -> str:
        return f"{self.kind} {self.feature_model.name}"

    @property
    def weights_sha256(self) -> str:
        return self.feature_model.weights.sha256

    def describe(self, precision: str) -> dict[str, Any]:
        return {"measure": self.kind, "precision": precision, "feature_model": self.feature_model.describe()}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.feature_model.recipe.apply(image)

    def batch_size(self, device: str) -> int:
        # A CPU's core has a batch of its own, whose activations should stay in its cache; a GPU wants to be filled.
        return 128 if device.startswith("cuda") else 4

    def open(self, device: str, precision: str) -> Meter:
        import torch

        from genaudit.backbones.cpu_layout import arrange_for_cpu

        dtype = torch_dtype(precision)
        weights = torch.float64 if dtype is torch.float64 else torch.float32
        network = self.feature_model.network(device, weights, output=self.output)
        layout = arrange_for_cpu(network, gradients=False) if device == "cpu" else torch.channels_last

        @torch.inference_mode()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
                features: torch.Tensor = network(to_unit_range(images, weights).contiguous(memory_format=layout))
            return features.float()

        return meter


class Embedding(NetworkOutput):
    """Features of a feature model. In a metric's YAML `measure: ${feature_model}` means this."""

    kind = "embedding"
    output: Output = "features"
