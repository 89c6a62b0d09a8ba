"""torchvision networks as feature models, and the randomly initialised Inception-v3 of the IRS paper.

"Random" is an Inception-v3 that was never trained; Dombrowski et al. 2025 (section 14, Table 6) find it the feature
extractor with the smallest measurement gap.
"""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genaudit.backbones.downloads import Published
from genaudit.backbones.feature_model import IMAGENET_MEAN, IMAGENET_STD, FeatureModel, Weights
from genaudit.errors import UserError, reason_of
from genaudit.stats.bounds import Seed, Side
from genaudit.stats.process_state import seeded

if TYPE_CHECKING:
    import torch

# Weights of networks that have a YAML of their own, as torchvision's DEFAULT has them: `genaudit list feature_models`
# looks for them without importing torch.
LISTED = {"vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth"}


class TorchvisionModel(FeatureModel):
    """A torchvision classification network without its classifier.

    Args:
        architecture: torchvision's name ("resnet50", "inception_v3").
        pretrained: False gives random weights drawn from `weight_seed`.
        weight_seed: seed of the random weights.
        name: that of the architecture unless given.
        layer: "body", what stands before the classifier, or "hidden", the last hidden layer of the classifier after its
            activation: (N, 4096) for VGG-16, which improved precision and recall are defined on (Kynkäänniemi et al.
            2019, section 3).
        size, mean, std, interpolation, more: see `FeatureModel`.
    """

    def __init__(
        self,
        architecture: str,
        *,
        name: str | None = None,
        layer: Literal["body", "hidden"] = "body",
        size: Side = 224,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        interpolation: str = "bilinear",
        pretrained: bool = True,
        weight_seed: Seed = 0,
        **more: Any,
    ) -> None:
        super().__init__(name or architecture, size=size, mean=mean, std=std, interpolation=interpolation, **more)
        if layer not in ("body", "hidden"):
            raise UserError(f"feature_model.layer must be body or hidden, got {layer}")
        self.architecture, self.layer = architecture, str(layer)
        self.pretrained = bool(pretrained)
        self.weight_seed = int(weight_seed)

    def options(self) -> dict[str, Any]:
        hidden = {"layer": self.layer} if self.layer != "body" else {}  # rows of "body" keep their fingerprint
        return {"architecture": self.architecture, **hidden}

    @cached_property
    def _untrained(self) -> torch.nn.Module:
        with seeded(self.weight_seed):
            return self._made()

    def _made(self) -> torch.nn.Module:
        """The whole network as torchvision initialises it."""
        import torchvision

        if self.architecture not in torchvision.models.list_models():
            raise UserError(f"feature_model.architecture={self.architecture}: torchvision knows no such model")
        # `init_weights` gives Inception its documented truncated-normal initialisation (and silences a warning);
        # the auxiliary classifier is not part of the features
        extra = {"init_weights": True, "aux_logits": True} if self.architecture == "inception_v3" else {}
        model: torch.nn.Module = torchvision.models.get_model(self.architecture, weights=None, **extra)
        return model

    def find_weights(self) -> str | None:
        if self.checkpoint:
            return str(Path(self.checkpoint).expanduser())
        if not self.pretrained:
            return f"random, weight_seed={self.weight_seed}"
        here = self._published().find()
        return None if here is None else str(here)

    def _published(self) -> Published:
        if self.architecture in LISTED:
            return Published.of_torch(LISTED[self.architecture])
        import torchvision

        return Published.of_torch(torchvision.models.get_model_weights(self.architecture).DEFAULT.url)

    def load_weights(self) -> Weights:
        if self.checkpoint:
            return self.weights_of_file(str(Path(self.checkpoint).expanduser()))
        if not self.pretrained:
            return self.random_weights(self._untrained, self.weight_seed)
        what = f"feature_model {self.name}"
        return self.weights_of_file(str(self._published().get(what, "feature_model.checkpoint", offline=self.offline)))

    def build(self) -> torch.nn.Module:
        import torch

        model = self._loaded()
        for head in ("fc", "classifier", "heads", "head"):
            if hasattr(model, head):
                classifier = getattr(model, head)
                setattr(model, head, torch.nn.Identity() if self.layer == "body" else self._hidden(classifier))
                return model
        raise UserError(
            f"feature_model.architecture={self.architecture}: its classifier is not where genaudit looks for it"
        )

    def _hidden(self, classifier: torch.nn.Module) -> torch.nn.Module:
        """The classifier without its last linear layer."""
        import torch

        layers = list(classifier) if isinstance(classifier, torch.nn.Sequential) else []
        linear = [place for place, each in enumerate(layers) if isinstance(each, torch.nn.Linear)]
        if len(linear) < 2:
            raise UserError(
                f"feature_model.layer=hidden: the classifier of {self.architecture} has no hidden layer; "
                "feature_model.layer=body"
            )
        return torch.nn.Sequential(*layers[: linear[-1]])

    @property
    def has_classifier(self) -> bool:  # type: ignore[override]
        return self.pretrained or bool(self.checkpoint)

    def build_classifier(self) -> torch.nn.Module:
        return self._loaded() if self.weights.trained else super().build_classifier()

    def _blank(self) -> torch.nn.Module:
        """The whole network, to be filled: random weights that are overwritten would cost time and memory."""
        import torch

        try:
            with torch.device("meta"):
                model = self._made()
        except NotImplementedError:  # RegNet computes its widths with tensors
            return self._made()
        tensors = dict([*model.named_parameters(), *model.named_buffers()])
        return model if set(tensors) <= set(model.state_dict()) else self._made()

    def _loaded(self) -> torch.nn.Module:
        """The whole network with its weights."""
        if not self.weights.trained:
            return copy.deepcopy(self._untrained)  # the caller folds and casts what it gets
        model = self._blank()
        own = model.state_dict()
        state = self.weights.state_dict
        state = {name: each.to(own[name].dtype, copy=True) if name in own else each for name, each in state.items()}
        try:
            model.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise UserError(
                f"feature_model {self.name}: the weights in {self.weights.source} do not fit the network "
                f"({reason_of(error)})"
            ) from None
        return model
