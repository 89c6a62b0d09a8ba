"""Feature models whose weights come from a file of the user's alone: BYOL, SwAV, data2vec, re-identification.

Each knows the layouts in which its weights are published or converted, and prepares images as its authors do. Files
are read as tensors, never unpickled (`genaudit.backbones.weight_files`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genaudit.backbones.checkpoint_layouts import resnet_tensors
from genaudit.backbones.feature_model import IMAGENET_MEAN, IMAGENET_STD, FeatureModel, Weights
from genaudit.errors import UserError, reason_of
from genaudit.stats.bounds import Side
from genaudit.stats.process_state import seeded

if TYPE_CHECKING:
    import torch


class LocalCheckpoint(FeatureModel):
    """A feature model that has no weights but those of `checkpoint`.

    Args:
        published: which file is meant and where its authors put it, for messages.
        more: see `FeatureModel`.
    """

    def __init__(self, name: str, *, published: str = "", **more: Any) -> None:
        super().__init__(name, **more)
        self.published = published

    def find_weights(self) -> str | None:
        return str(Path(self.checkpoint).expanduser()) if self.checkpoint else None

    def load_weights(self) -> Weights:
        path = self.find_weights()
        if path is None:
            raise UserError(f"feature_model {self.name}: {self._give('feature_model')}")
        return self.weights_of_file(path)

    def how_to_get(self, key: str) -> str:
        return self._give(key)

    def _give(self, key: str) -> str:
        which = f", the file of {self.published}" if self.published else ""
        return f"genaudit cannot fetch its weights; give {key}.checkpoint=FILE{which}"

    def unfit(self, why: object) -> UserError:
        """The error that the file is of another network."""
        return UserError(
            f"feature_model {self.name}: the weights in {self.weights.source} do not fit the network ({reason_of(why)})"
        )


class CheckpointResNet(LocalCheckpoint):
    """A ResNet of torchvision's layout, pooled features: (N, 3, S, S) => (N, 2048) for ResNet-50.

    BYOL (Grill et al. 2020) and SwAV (Caron et al. 2020) publish ResNets that training wrappers surround with heads of
    their own: `checkpoint_layouts.resnet_tensors` lists the layouts. Heads are dropped.

    Args:
        architecture: torchvision's name of the ResNet ("resnet50").
        prefix: of the network's names in the file, where it holds several networks; found otherwise.
        padding: "symmetric" as in PyTorch, or "same" as in TensorFlow and JAX, for weights trained there: convolutions
            and pooling of stride 2 then pad one pixel less on the left and top.
        more: see `LocalCheckpoint`.
    """

    def __init__(
        self,
        name: str,
        *,
        architecture: str = "resnet50",
        prefix: str | None = None,
        padding: Literal["symmetric", "same"] = "symmetric",
        size: Side = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        interpolation: str = "bilinear",
        **more: Any,
    ) -> None:
        super().__init__(name, size=size, mean=mean, std=std, interpolation=interpolation, **more)
        self.architecture, self.prefix, self.padding = architecture, prefix, padding
        if padding not in ("symmetric", "same"):
            raise UserError(f"feature_model.padding must be symmetric or same, got {padding}")
        if not architecture.startswith("resnet"):
            raise UserError(f"feature_model.architecture={architecture}: a ResNet of torchvision is needed, resnet50")

    def options(self) -> dict[str, Any]:
        return {"architecture": self.architecture, "padding": self.padding, "prefix": self.prefix}

    def build(self) -> torch.nn.Module:
        import torch

        network = empty_resnet(self.architecture, self.name)
        network.fc = torch.nn.Identity()
        try:
            tensors = resnet_tensors(self.weights.state_dict, network.state_dict(), prefix=self.prefix)
            network.load_state_dict(tensors)
        except (ValueError, RuntimeError) as error:
            raise self.unfit(error) from None
        if self.padding == "same":
            pad_as_tensorflow(network)
        return network


def empty_resnet(architecture: str, name: str) -> torch.nn.Module:
    """A torchvision ResNet to load weights into; the draw of its initial weights leaves the global generator alone."""
    import torchvision

    if architecture not in torchvision.models.list_models():
        raise UserError(f"feature_model {name}: torchvision knows no architecture {architecture}; resnet50 is one")
    with seeded(0):
        network: torch.nn.Module = torchvision.models.get_model(architecture, weights=None)
    return network


def pad_as_tensorflow(network: torch.nn.Module) -> None:
    """Gives every convolution and pooling of stride 2 TensorFlow's "SAME" padding, in place."""
    from timm.layers import Conv2dSame
    from timm.layers.pool2d_same import MaxPool2dSame
    from torch import nn

    for module in list(network.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1) and layer.kernel_size != (1, 1):
                kernel, stride = layer.kernel_size[0], layer.stride[0]
                same = Conv2dSame(layer.in_channels, layer.out_channels, kernel, stride, bias=layer.bias is not None)
                same.load_state_dict(layer.state_dict())
                setattr(module, name, same)
            elif isinstance(layer, nn.MaxPool2d):
                setattr(module, name, MaxPool2dSame(layer.kernel_size, layer.stride))
