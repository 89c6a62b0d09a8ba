"""The embedding, a feature model's features of an image, (N, 3, S, S) => (N, D); and what else a network can give.

`NetworkOutput` is what `Embedding`, `Logits` and `SpatialFeatures` share: one network, run to where its rows lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
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

    @property
    def lacks(self) -> str | None:
        """Why the network has no such output; None where it has."""
        return self.feature_model.lacks(self.output)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.feature_model.recipe.apply(image)

    def batch_size(self, device: str) -> int:
        # A CPU's core has a batch of its own, whose activations should stay in its cache; a GPU wants to be filled.
        return 128 if device.startswith("cuda") else 4

    @property
    def preparation(self) -> Hashable:
        """What stands for `prepare`: measures with equal ones share the prepared image."""
        return self.feature_model.recipe

    @property
    def shared_network(self) -> Hashable:
        """What stands for the network: measures with equal ones share a forward pass, by `open_together`; or None."""
        if self.output not in self.feature_model.outputs_together:
            return None
        return json.dumps(self.feature_model.describe(), sort_keys=True)

    def open(self, device: str, precision: str) -> Meter:
        dtype = weights_dtype(precision)
        return self._meter(self.feature_model.network(device, dtype, output=self.output), device, precision)

    def open_together(
        self, measures: Sequence[NetworkOutput], device: str, precision: str
    ) -> Callable[[torch.Tensor, Sequence[bytes]], Sequence[torch.Tensor]]:
        """The meter of several measures of this network: a batch => the rows of each, which are those of `open`."""
        outputs = [measure.output for measure in measures]
        network = self.feature_model.network_of(outputs, device, weights_dtype(precision))
        return self._meter(network, device, precision)

    def _meter(self, network: torch.nn.Module, device: str, precision: str) -> Any:
        import torch

        from genaudit.backbones.cpu_layout import arrange_for_cpu

        weights, autocast = weights_dtype(precision), precision == "bfloat16"
        layout = arrange_for_cpu(network, gradients=False) if device == "cpu" else torch.channels_last

        @torch.inference_mode()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> Any:
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                rows = network(to_unit_range(images, weights).contiguous(memory_format=layout))
            return rows.float() if isinstance(rows, torch.Tensor) else tuple(each.float() for each in rows)

        return meter


def weights_dtype(precision: str) -> torch.dtype:
    """The type of a network's weights: float64 for float64, else float32."""
    import torch

    return torch.float64 if torch_dtype(precision) is torch.float64 else torch.float32


class Embedding(NetworkOutput):
    """Features of a feature model. In a metric's YAML `measure: ${feature_model}` means this."""

    kind = "embedding"
    output: Output = "features"
