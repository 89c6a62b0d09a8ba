"""SSCD: the descriptor of a network that was trained to tell copies of an image from other images (Pizzi et al. 2022).

A ResNet-50 whose last map is pooled by its generalised mean (the cube root of the mean cube), a linear layer to 512
numbers, and unit length: the inner product of two descriptors says how likely one image is an edited copy of the other.
Memorisation is looked for with it (Somepalli et al. 2023).

The authors publish each model in three files. `.torchvision.pt` holds tensors in torchvision's names and is what is
meant here; `.torchscript.pt` is a program, whose tensors are read where it is `trusted`; `.classy.pt` has the names of
Classy Vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.backbones.checkpoint_layouts import resnet_tensors
from genaudit.backbones.feature_model import IMAGENET_MEAN, IMAGENET_STD, Weights
from genaudit.backbones.local_checkpoint import LocalCheckpoint, empty_resnet
from genaudit.backbones.weight_files import WeightFile
from genaudit.errors import UserError, reason_of
from genaudit.reading import is_program
from genaudit.stats.bounds import Side

if TYPE_CHECKING:
    import torch
    from torch import nn

HEAD = "fc.weight"
POWER = 3.0  # of the generalised mean


class SSCD(LocalCheckpoint):
    """(N, 3, S, S) => descriptors (N, 512) of unit length, from a file of the authors'.

    The authors resize the shorter side to 288 pixels, or the whole image to 320 x 320 (`size=320`), bilinearly: of a
    square image `size=288` is the former.

    Args:
        trusted: whether a TorchScript file, which is a program, may be read.
        size, fit, checkpoint, offline: see `FeatureModel`.
    """

    def __init__(self, name: str = "sscd", *, size: Side = 288, trusted: bool = False, **more: Any) -> None:
        more = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "interpolation": "bilinear"} | more
        super().__init__(name, size=size, **more)
        self.trusted = bool(trusted)

    def load_weights(self) -> Weights:
        path = self.find_weights()
        if path is None or not Path(path).is_file() or not is_program(path):
            return super().load_weights()
        if not self.trusted:
            raise UserError(
                f"feature_model {self.name}: {path} is a program (TorchScript): trust=true reads it, if you trust "
                "whoever made it. The authors' .torchvision.pt file holds the same tensors and needs no trust"
            )
        return Weights(lambda: self._of_program(path), path, WeightFile(path, what=self.name).sha256, trained=True)

    def _of_program(self, path: str) -> Mapping[str, torch.Tensor]:
        import torch

        try:
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
        except RuntimeError as error:
            raise UserError(f"feature_model {self.name}: {path} is no TorchScript file ({reason_of(error)})") from None

    def build(self) -> nn.Module:
        from torch import nn

        from genaudit.backbones.sscd_layers import GeneralisedMean, UnitLength

        tensors = self.weights.state_dict
        heads = [name.removesuffix(HEAD) for name in tensors if name.endswith(HEAD)]
        if len(heads) != 1 or f"{heads[0]}fc.bias" not in tensors:
            raise self.unfit(f"{HEAD} is missing; expected the state dict of the authors' .torchvision.pt file")
        weight, bias = tensors[f"{heads[0]}{HEAD}"], tensors[f"{heads[0]}fc.bias"]
        network: Any = empty_resnet("resnet50", self.name)
        if weight.ndim != 2 or weight.shape[1] != network.fc.in_features or bias.shape != weight.shape[:1]:
            raise self.unfit(f"{HEAD} has shape {tuple(weight.shape)}, and (512, {network.fc.in_features}) is needed")
        network.fc = nn.Identity()
        try:
            network.load_state_dict(resnet_tensors(tensors, network.state_dict(), prefix=heads[0]))
        except (ValueError, RuntimeError) as error:
            raise self.unfit(error) from None
        network.avgpool = GeneralisedMean(POWER)
        network.fc = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])  # nothing is drawn
        network.fc.load_state_dict({"weight": weight, "bias": bias})
        return nn.Sequential(network, UnitLength())
