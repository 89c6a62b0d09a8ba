"""The embedding, a feature model's features of an image, (N, 3, S, S) => (N, D); and what else a network can give.

`NetworkOutput` is what `Embedding`, `Logits` and `SpatialFeatures` share: one network, run to where its rows lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.backbones.feature_model import FeatureModel, Output
from genaudit.measures.runners import COMPILED, OPENVINO, PYTORCH, openvino_runner, pytorch_runner, weights_dtype

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter


class NetworkOutput:
    """Rows that a feature model's network gives, at the output that a subclass names.

    `engine` is what runs the network: "torch", "torch.compile" or "openvino" (`genaudit.measures.runners`). In float32
    matrix products run without TF32; `bfloat16` and `float16` run the network under autocast with float32 weights.
    """

    engine = PYTORCH
    engine_note = ""  # why it is not the engine that would have been chosen
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
        engine = {} if self.engine == PYTORCH else {"engine": self.engine}  # rows of PyTorch keep their fingerprint
        return {"measure": self.kind, "precision": precision, "feature_model": self.feature_model.describe(), **engine}

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
        return json.dumps([self.engine, self.feature_model.describe()], sort_keys=True)

    def open(self, device: str, precision: str) -> Meter:
        network = self.feature_model.network(device, weights_dtype(precision), output=self.output)
        return self._runner(network, device, precision, [self])

    def open_together(
        self, measures: Sequence[NetworkOutput], device: str, precision: str
    ) -> Callable[[torch.Tensor, Sequence[bytes]], Sequence[torch.Tensor]]:
        """The meter of several measures of this network: a batch => the rows of each, which are those of `open`."""
        outputs = [measure.output for measure in measures]
        network = self.feature_model.network_of(outputs, device, weights_dtype(precision))
        return self._runner(network, device, precision, measures)

    def _runner(self, network: torch.nn.Module, device: str, precision: str, measures: Sequence[NetworkOutput]) -> Any:
        if self.engine == OPENVINO:
            return openvino_runner(network, self._probe(self.batch_size(device)), measures)
        return pytorch_runner(network, device, precision, compiled=self.engine == COMPILED)

    def _probe(self, count: int) -> np.ndarray:
        """(B, 3, S, S) prepared images: from grey to noise, so that no feature is nought in all."""
        side = self.feature_model.recipe.size
        noise = np.random.default_rng(0).standard_normal((count, side, side, 3))
        spread = np.linspace(8, 64, count)[:, None, None, None]
        images = np.clip(128 + spread * noise, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.stack([self.prepare(each) for each in images]).transpose(0, 3, 1, 2))


class Embedding(NetworkOutput):
    """Features of a feature model. In a metric's YAML `measure: ${feature_model}` means this."""

    kind = "embedding"
    output: Output = "features"
