"""The Inception of FID (the TensorFlow network of Heusel et al. 2017) through the optional package torch-fidelity."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from genaudit.backbones.feature_model import FeatureModel, Weights
from genaudit.errors import UserError

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"


class FidInception(FeatureModel):
    """FID's Inception-v3, pool3 features: (N, 3, S, S) => (N, 2048).

    Images are resized to 299 pixels by genaudit (antialiased, as clean-fid recommends), where the original resizes
    without antialiasing inside the network. FIDs differ accordingly
    from those of the original pipeline (Parmar et al. 2022).

    Args:
        checkpoint: torch-fidelity's weight file; otherwise looked for in the torch hub cache.
    """

    def __init__(
        self,
        name: str = "fid_inception",
        *,
        interpolation: str = "bicubic",
        fit: str = "squash",
        checkpoint: str | None = None,
        offline: bool = False,
    ) -> None:
        # the original network computes (255·x - 128)/128
        super().__init__(
            name,
            size=299,
            mean=(128 / 255,) * 3,
            std=(128 / 255,) * 3,
            interpolation=interpolation,
            fit=fit,
            checkpoint=checkpoint,
            offline=offline,
        )

    def find_weights(self) -> str | None:
        import torch

        if self.checkpoint:
            return str(Path(self.checkpoint).expanduser())
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE
        return str(path) if path.is_file() else None

    def load_weights(self) -> Weights:
        import torch

        path = self.find_weights()
        if path is None:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise UserError(
                f"feature_model {self.name}: {WEIGHTS_FILE} is not in {folder}. Give feature_model.checkpoint=FILE, or "
                "run torch-fidelity once with a network connection, which puts it there."
            )
        return self.weights_of_file(path)

    def build(self) -> torch.nn.Module:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise UserError(
                "feature_model fid_inception needs the package torch-fidelity: pip install 'genaudit[fid]'"
            ) from None
        import torch

        # The package unpickles the file that it is given, so it is given one that genaudit wrote from checked tensors.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pth"
            torch.save(dict(self.weights.state_dict or {}), path)
            extractor = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
        # Its layers stand in the order in which they run, the classifier last. Called directly they are
        # differentiable, and the resize that the package puts in front (299 to 299 here) drops out.
        return torch.nn.Sequential(*list(extractor.children())[:-1])
