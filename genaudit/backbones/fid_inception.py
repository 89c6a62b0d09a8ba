"""The Inception of FID (the TensorFlow network of Heusel et al. 2017) through the optional package torch-fidelity."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.backbones.downloads import Published
from genaudit.backbones.feature_model import FeatureModel, Output, Weights
from genaudit.data.resize import Fit
from genaudit.errors import UserError
from genaudit.stats.bounds import Seed
from genaudit.stats.process_state import seeded

if TYPE_CHECKING:
    import torch

# torch-fidelity and pytorch-fid publish the same bytes under two names, which end with the beginning of the SHA-256
_RELEASES = "https://github.com/{}/releases/download/{}"
PUBLISHED = Published(
    addresses=(
        _RELEASES.format("toshas/torch-fidelity", "v0.2.0/weights-inception-2015-12-05-6726825d.pth"),
        _RELEASES.format("mseitzer/pytorch-fid", "fid_weights/pt_inception-2015-12-05-6726825d.pth"),
    ),
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    names=("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    size=95_628_359,
)


class FidInception(FeatureModel):
    """FID's Inception-v3, pool3 features: (N, 3, S, S) => (N, 2048).

    Images are resized to 299 pixels by genaudit (antialiased, as clean-fid recommends), where the original resizes
    without antialiasing inside the network. FIDs differ accordingly from those of the original pipeline (Parmar et al.
    2022); `preprocessing` gives those of another tool.

    Args:
        preprocessing: "genaudit", or the resize and normalisation of "clean-fid", "pytorch-fid", "torch-fidelity" or
            "torchmetrics", whose FIDs it reproduces for images of any size. `interpolation` and `fit` are genaudit's.
        pretrained: False gives the IRS paper's "Random": the same network with the weights that its authors' code draws
            from `weight_seed`, which is 42 there.
        checkpoint: a weight file in place of the published one, which torch-fidelity and pytorch-fid keep in the torch
            hub cache; where it is not there it is fetched once and verified, unless `offline`.
    """

    def __init__(
        self,
        name: str = "fid_inception",
        *,
        preprocessing: str = "genaudit",
        interpolation: str = "bicubic",
        fit: Fit = "squash",
        pretrained: bool = True,
        weight_seed: Seed = 42,
        checkpoint: str | None = None,
        offline: bool = False,
    ) -> None:
        self.pretrained, self.weight_seed = bool(pretrained), int(weight_seed)
        if checkpoint and not pretrained:
            raise UserError(f"feature_model {name}: a checkpoint and pretrained=false exclude each other")
        # the original network computes (255·x - 128)/128, pytorch-fid 2·x - 1
        middle = 0.5 if preprocessing == "pytorch-fid" else 128 / 255
        super().__init__(
            name,
            size=299,
            mean=(middle,) * 3,
            std=(middle,) * 3,
            interpolation=interpolation,
            fit=fit,
            preprocessing=preprocessing,
            checkpoint=checkpoint,
            offline=offline,
        )

    def find_weights(self) -> str | None:
        if not self.pretrained:
            return f"random, weight_seed={self.weight_seed}"
        if self.checkpoint:
            return str(Path(self.checkpoint).expanduser())
        here = PUBLISHED.find()
        return None if here is None else str(here)

    def load_weights(self) -> Weights:
        if not self.pretrained:
            return self.random_weights(_untrained(self.weight_seed), self.weight_seed)
        if self.checkpoint:
            return self.weights_of_file(str(Path(self.checkpoint).expanduser()))
        what = f"feature_model {self.name}"
        return self.weights_of_file(str(PUBLISHED.get(what, "feature_model.checkpoint", offline=self.offline)))

    def build(self) -> torch.nn.Module:
        import torch

        # Its layers stand in the order in which they run, the classifier last. Called directly they are
        # differentiable, and the resize that the package puts in front (299 to 299 here) drops out.
        return torch.nn.Sequential(*list(self._extractor().children())[:-1])

    def build_classifier(self) -> torch.nn.Module:
        """Logits (N, 1008) without the classifier's bias, from which the original Inception Score is computed."""
        import torch

        if not self.pretrained:
            return super().build_classifier()

        *layers, classifier = self._extractor().children()
        classifier.register_parameter("bias", None)
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), classifier)

    def build_spatial(self) -> torch.nn.Module:
        """The first 7 channels of `mixed_6/conv` (N, 17, 17, 7), as in sFID (Nash et al. 2021 and ADM's evaluator)."""
        import torch

        from genaudit.backbones.layers import FirstChannels

        layers = dict(self._extractor().named_children())
        before = list(layers)[: list(layers).index("Mixed_6d")]
        # TensorFlow counts mixed, mixed_1, ... from Mixed_5b, so that mixed_6 is Mixed_6d; `conv` is its 1x1 branch.
        branch = layers["Mixed_6d"].get_submodule("branch1x1")
        return torch.nn.Sequential(*(layers[name] for name in before), branch, FirstChannels())

    def identity(self) -> dict[str, Any]:
        return {"class": type(self).__qualname__, "pretrained": self.pretrained}

    has_map = True

    @property
    def has_classifier(self) -> bool:  # type: ignore[override]
        return self.pretrained

    @property
    def outputs_together(self) -> tuple[Output, ...]:
        return ("spatial", "features", "logits") if self.pretrained else ("spatial", "features")

    def build_parts(self) -> dict[Output, torch.nn.Module]:
        """Mixed_6d joins its branches' channels, the 1x1 branch first: the first channels of both are the same."""
        import torch

        layers = dict(self._extractor().named_children())
        cut = list(layers).index("Mixed_6d") + 1
        *rest, classifier = list(layers.values())[cut:]
        parts: dict[Output, torch.nn.Module] = {
            "spatial": torch.nn.Sequential(*list(layers.values())[:cut]),
            "features": torch.nn.Sequential(*rest),
        }
        if self.pretrained:
            classifier.register_parameter("bias", None)
            parts["logits"] = torch.nn.Sequential(torch.nn.Flatten(), classifier)
        return parts

    def _extractor(self) -> torch.nn.Module:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise UserError(
                "feature_model fid_inception needs the package torch-fidelity: pip install 'genaudit-images[fid]'"
            ) from None
        import torch

        # The package unpickles the file that it is given, so it is given one that genaudit wrote from checked tensors.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pth"
            torch.save(self.weights.state_dict, path)
            extractor: torch.nn.Module = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
        return extractor


def _untrained(seed: int) -> torch.nn.Module:
    """FID's Inception as BeyondFID, the IRS paper's code, draws it: torchvision's, then the blocks that FID replaces.

    A replaced block has the parameters of torchvision's block of its kind; only how it pools differs, which the network
    that the weights are loaded into knows. What is drawn and in which order decides the weights of a seed.
    """
    from torchvision.models import inception_v3
    from torchvision.models.inception import InceptionA, InceptionC, InceptionE

    with seeded(seed):
        network: torch.nn.Module = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
        network.Mixed_5b = InceptionA(192, pool_features=32)
        network.Mixed_5c = InceptionA(256, pool_features=64)
        network.Mixed_5d = InceptionA(288, pool_features=64)
        network.Mixed_6b = InceptionC(768, channels_7x7=128)
        network.Mixed_6c = InceptionC(768, channels_7x7=160)
        network.Mixed_6d = InceptionC(768, channels_7x7=160)
        network.Mixed_6e = InceptionC(768, channels_7x7=192)
        network.Mixed_7b = InceptionE(1280)
        network.Mixed_7c = InceptionE(2048)
    return network
