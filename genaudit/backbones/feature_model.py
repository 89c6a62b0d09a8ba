"""A feature model: a network without its classifier, the recipe that prepares images for it, and its weights.

A feature model is cheap to construct from a YAML file; nothing is read until `network` or `weights` is called.
Everything that changes its features stands in `describe()`, which becomes part of the fingerprint of every row
measured with it.

N images, S side in pixels, D features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genaudit.backbones.weight_files import WeightFile, sha256_of_tensors
from genaudit.data.resize import Fit, RecipeOfTool, ResizeRecipe
from genaudit.errors import UserError
from genaudit.stats.bounds import Share, Side

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

# A change of how features are computed from the same weights bumps this number, so that stored rows are not reused.
CODE_VERSION = 1

Output = Literal["features", "logits", "spatial"]


@dataclass(frozen=True)
class Weights:
    """Weights: how to read their tensors by name, where from, and their SHA-256.

    `sha256` is that of the file where there is one, so that `sha256sum` confirms it, and of the tensors otherwise.
    """

    read: Callable[[], Mapping[str, torch.Tensor]]
    source: str
    sha256: str
    trained: bool

    @property
    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors by name, none for a network without parameters; raises UserError where they cannot be read."""
        return dict(self.read())


class FeatureModel:
    """What every feature model has; subclasses say where weights come from and how the network is built.

    Args:
        name: the name in reports and messages.
        size: side of the square that images are resized to, in pixels.
        mean, std: normalisation per channel on [0, 1]-scaled images.
        interpolation: "bicubic", "bilinear", "box", "lanczos" or "nearest"; always antialiased.
        fit: "squash" resizes the whole image to the square, "crop" resizes the shorter side and cuts the centre,
            "cut" cuts the central square and resizes it.
        crop_pct: with "crop", the share of the central square's side that is kept.
        preprocessing: "genaudit", or the resize of another tool ("clean-fid", "edm2", "pytorch-fid", "torch-fidelity",
            "torchmetrics") in place of `interpolation`, `fit` and `crop_pct`.
        checkpoint: a local weight file (safetensors, or a torch file of tensors) in place of the usual weights.
        offline: never ask the network for weights.
        as_validated: whether the authors of the anomaly score validated it on this model (Hwang et al. 2024).
    """

    def __init__(
        self,
        name: str,
        *,
        size: Side,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        fit: Fit = "squash",
        crop_pct: Share = 1.0,
        preprocessing: str = "genaudit",
        checkpoint: str | None = None,
        offline: bool = False,
        as_validated: bool = False,
    ) -> None:
        self.name = name
        try:
            default = ResizeRecipe(int(size), interpolation, fit, float(crop_pct))  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(f"feature_model {name}: {error}") from None
        self.recipe: ResizeRecipe | RecipeOfTool = default
        if preprocessing != "genaudit":
            try:
                self.recipe = RecipeOfTool(int(size), preprocessing)  # type: ignore[arg-type]
            except ValueError as error:
                raise UserError(f"feature_model.preprocessing={preprocessing}: genaudit, or: {error}") from None
        try:
            self.mean = tuple(float(v) for v in mean)
            self.std = tuple(float(v) for v in std)
        except (TypeError, ValueError):
            raise UserError(f"feature_model {name}: mean and std take three numbers each, got {mean}, {std}") from None
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UserError(f"feature_model {name}: mean and std take three numbers each, and std must be positive")
        self.checkpoint = checkpoint
        self.offline = bool(offline)
        self.as_validated = bool(as_validated)

    # ------------------------------------------------------------------ what a subclass gives
    def build(self) -> torch.nn.Module:
        """The network with weights, on the CPU in float32: normalised (N, 3, S, S) => (N, D)."""
        raise NotImplementedError

    def load_weights(self) -> Weights:
        """The weights: a file, hashed and not yet read, or made from a seed.

        Raises:
            UserError: the weights are not on this machine and cannot be had; says where was looked and what to do.
        """
        raise NotImplementedError

    def find_weights(self) -> str | None:
        """Where the weights lie on this machine, without loading them; None where they would have to be downloaded."""
        raise NotImplementedError

    def weight_files(self) -> list[str]:
        """The files on this machine that the features depend on; none for weights drawn from a seed."""
        weights = self.find_weights()
        return [weights] if weights and Path(weights).is_file() else []

    def how_to_get(self, key: str) -> str:
        """For a recipe's list of what is missing: how to get the weights; `key` is the YAML's key of the model."""
        return f"any evaluation with this feature model downloads them, or give {key}.checkpoint=FILE"

    def for_anomaly_score(self) -> FeatureModel:
        """What the anomaly score looks at where its `layer` is "auto": the features themselves, unless a network is
        known to order graded images better at another layer (docs/anomaly.md)."""
        return self

    # Whether a forward pass does the same whatever the images show, so that a trace of one is the network.
    fixed_graph = True
    has_classifier = False  # a trained one, as far as can be said before the weights are read
    has_map = False  # of stride 16

    def lacks(self, output: Output) -> str | None:
        """Why the model has no such output, as far as can be said before the weights are read; None where it has."""
        if output == "logits" and not self.has_classifier:
            return (
                f"feature_model {self.name} has no classifier, which the Inception Score needs; "
                "feature_model=efficientnet_lite0 has one, and metric.is.feature_model=NAME sets another for it alone"
            )
        if output == "spatial" and not self.has_map:
            return (
                f"feature_model {self.name} has no single feature map of stride 16, from which spatial features are "
                "taken; feature_model=fid_inception or efficientnet_lite0 has one"
            )
        return None

    def build_classifier(self) -> torch.nn.Module:
        """The network with its classifier and with weights: normalised (N, 3, S, S) => logits (N, C).

        Raises:
            UserError: the model has no classifier, or one that was never trained.
        """
        raise UserError(
            f"feature_model {self.name} has no classifier, which the Inception Score needs; "
            "feature_model=efficientnet_lite0 has one, and metric.is.feature_model=NAME sets another for it alone"
        )

    def build_spatial(self) -> torch.nn.Module:
        """The network up to a convolutional feature map of stride 16, the first channels of it that make at most
        2,048 numbers (`genaudit.backbones.layers`), with weights: normalised (N, 3, S, S) => (N, h, w, c).

        Raises:
            UserError: the model has no such feature map.
        """
        raise UserError(
            f"feature_model {self.name} has no convolutional feature map of stride 16, which spatial features need; "
            "feature_model=fid_inception or efficientnet_lite0 has one"
        )

    @property
    def outputs_together(self) -> tuple[Output, ...]:
        """The outputs that `build_parts` gives in one forward pass; none where the model has no such form."""
        return ()

    def build_parts(self) -> dict[Output, torch.nn.Module]:
        """The network cut after each of `outputs_together`, in the order in which the parts run.

        Each output is what its own `build`, `build_classifier` or `build_spatial` gives; of a map it is the whole.
        """
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Further settings of a subclass that change the features."""
        return {}

    def identity(self) -> dict[str, Any]:
        """What makes it this network, whatever prepares images for it: equal ones are the same network.

        A checkpoint of the user's is taken for the weights that it stands for.
        """
        return {"class": type(self).__qualname__, "name": self.name, **self.options()}

    # ------------------------------------------------------------------ what every feature model does
    @cached_property
    def weights(self) -> Weights:
        return self.load_weights()

    def weights_of_file(self, path: str) -> Weights:
        """The weights of a file, with the hash that `sha256sum` prints."""
        file = WeightFile(path, what=f"feature_model {self.name}")
        return Weights(file.read, path, file.sha256, trained=True)

    def random_weights(self, network: torch.nn.Module, seed: int) -> Weights:
        """The weights of a network that was drawn from a seed, with the hash of its tensors."""
        state_dict = network.state_dict()
        return Weights(
            functools.partial(dict, state_dict),
            f"random, weight_seed={seed}",
            sha256_of_tensors(state_dict),
            trained=False,
        )

    def describe(self) -> dict[str, Any]:
        """Everything that changes the features, for fingerprint and report."""
        return {
            "name": self.name,
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "code_version": CODE_VERSION,
            "weights_sha256": self.weights.sha256,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": self.recipe.describe(),
            **self.options(),
        }

    def network(
        self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, *, output: Output = "features"
    ) -> torch.nn.Module:
        """The network ready to measure: [0, 1]-scaled (N, 3, S, S) => (N, D), frozen, in evaluation mode.

        `output` says where the network ends: at its features, at its classifier's logits or at a spatial feature map.

        Batch normalisation is folded into the convolutions before it where the graph proves that this is the
        same function (features equal to about 2e-6), and images are kept channels-last for convolutions.
        """
        from genaudit.backbones.layers import Normalised

        build = {"features": self.build, "logits": self.build_classifier, "spatial": self.build_spatial}[output]
        return self._ready(Normalised(build().eval(), self.mean, self.std), device, dtype)

    def network_of(
        self, outputs: Sequence[Output], device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> torch.nn.Module:
        """`network` with several of `outputs_together`, which come from one forward pass: => a tuple of (N, D)."""
        from genaudit.backbones.layers import FirstChannels, NormalisedOutputs, Parts

        parts: dict[str, torch.nn.Module] = {str(name): part for name, part in self.build_parts().items()}
        network = Parts(parts, outputs, {"spatial": FirstChannels()})
        return self._ready(NormalisedOutputs(network.eval(), self.mean, self.std), device, dtype)

    def _ready(self, model: Any, device: str | torch.device, dtype: torch.dtype | None) -> torch.nn.Module:
        """Frozen and folded, on the device."""
        import torch

        from genaudit.backbones.folding import fold_batch_norms

        model.requires_grad_(False)
        fold_batch_norms(model.network)
        model = model.to(device=device, dtype=dtype or torch.float32)
        ready: torch.nn.Module = model.to(memory_format=torch.channels_last)
        return ready
