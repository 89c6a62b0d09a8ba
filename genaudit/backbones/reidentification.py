"""Re-identification networks of echocardiograms (Table 5 of the IRS paper): siamese ResNets on frames or on latents.

Reynaud et al. 2024 (EchoNet-Synthetic) and Dombrowski et al. 2024 train the siamese network of Packhäuser et al. 2022
to say whether two frames are of one video. Its feature is the sigmoid of 128 outputs of a ResNet-50. Networks on frames
take 3 channels of 112 x 112 pixels, networks on latents the 4 channels of 14 x 14 that a VAE makes of them.

Each input is stretched to [-1, 1] by its own minimum and maximum. The authors take those of a whole video in training,
and of the whole set in their filter; genaudit has frames alone, and the features of one must not depend on others. The
latents are the mean of the VAE's posterior where the authors draw a sample. Both differ from the authors' numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.backbones.feature_model import Weights
from genaudit.backbones.local_checkpoint import LocalCheckpoint
from genaudit.backbones.weight_files import WeightFile
from genaudit.errors import UserError, reason_of
from genaudit.stats.bounds import Side

if TYPE_CHECKING:
    from torch import nn

LATENTS = 4


class ReIdentification(LocalCheckpoint):
    """(N, 3, S, S) => (N, 128) in (0, 1), from a file of the siamese network's state dict.

    Args:
        vae: the diffusers file of the VAE (`diffusion_pytorch_model.safetensors`), for a network on latents.
        size, checkpoint, offline: see `FeatureModel`.
    """

    def __init__(
        self, name: str = "reidentification", *, size: Side = 112, vae: str | None = None, **more: Any
    ) -> None:
        more = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bilinear"} | more
        super().__init__(name, size=size, **more)
        self.vae = vae

    def find_weights(self) -> str | None:
        """The network's file; None too where the VAE's is named and is not there."""
        if self.vae and not Path(self.vae).expanduser().is_file():
            return None
        return super().find_weights()

    def load_weights(self) -> Weights:
        if self.vae:
            self._vae_file()  # says so where it is not there
        return super().load_weights()

    def weight_files(self) -> list[str]:
        return super().weight_files() + (
            [str(vae)] if self.vae and (vae := Path(self.vae).expanduser()).is_file() else []
        )

    def how_to_get(self, key: str) -> str:
        if self.vae and not Path(self.vae).expanduser().is_file():
            return f"{key}.vae: no weight file at {self.vae}"
        return super().how_to_get(key)

    def options(self) -> dict[str, Any]:
        return {"vae_sha256": self._vae_file().sha256} if self.vae else {}

    def build(self) -> nn.Module:
        from torch import nn

        from genaudit.backbones.siamese import HEADS, Channels, Latents, Stretch, siamese

        tensors = self.weights.state_dict
        if any(name not in tensors for name in HEADS):
            raise self.unfit(f"{HEADS[0]} is missing: the siamese network's state dict is needed")
        stem = tensors.get("model.conv1.weight")
        channels = stem.shape[1] if stem is not None and stem.ndim == 4 else 0
        if channels not in (1, 3, LATENTS):
            raise self.unfit(f"its first layer takes {channels} channels; 1 or 3 are frames, {LATENTS} are latents")
        try:
            network = siamese(tensors, channels, self.name)
        except (ValueError, RuntimeError) as error:
            raise self.unfit(error) from None
        if channels == LATENTS:
            return nn.Sequential(Latents(self._encoder()), Stretch(), network, nn.Sigmoid())
        if self.vae:
            raise UserError(
                f"feature_model {self.name}: its network takes frames; feature_model.vae has no use with it"
            )
        return nn.Sequential(Channels(channels), Stretch(), network, nn.Sigmoid())

    def _encoder(self) -> nn.Module:
        if not self.vae:
            raise UserError(
                f"feature_model {self.name}: its network takes latents of a VAE; give feature_model.vae=FILE, the "
                "diffusers file of the autoencoder that it was trained with"
            )
        from genaudit.backbones.vae_encoder import vae_encoder

        try:
            return vae_encoder(self._vae_file().read())
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"feature_model.vae={self.vae}: not the encoder of a diffusers VAE ({reason_of(error)})"
            ) from None

    def _vae_file(self) -> WeightFile:
        assert self.vae
        return WeightFile(self.vae, what=f"feature_model {self.name}: vae")
