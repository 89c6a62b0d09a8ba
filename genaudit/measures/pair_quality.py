"""Each generated image with its partner: mean squared error and SSIM, and LPIPS. Images are pairs, one above the other.

See `genaudit.data.pairs` for the pairs and `genaudit.metrics.pair_quality` for the definitions.
B pairs of a batch, H rows and W columns of an image, which a pair has twice.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genaudit.errors import UserError, reason_of
from genaudit.measures.measure import OptionalNetwork, to_unit_range, torch_dtype
from genaudit.stats.image_similarity import SMALLEST, mean_squared_error, ssim

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter

Net = Literal["alex", "vgg", "squeeze"]


class PairErrors:
    """Rows (2,): mean squared error over pixels and channels, of values from 0 to 255, and SSIM. No network."""

    name = "pair errors"
    columns: tuple[str, ...] = ("mse", "ssim")
    weights_sha256 = ""
    view = "pairs"

    def describe(self, precision: str) -> dict[str, Any]:
        return {"measure": "pair_errors", "version": 1, "columns": list(self.columns)}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Computes here, where many pairs are prepared at a time; the numbers travel as the bytes of an image."""
        above, below = np.split(image, 2)
        similar = ssim(above, below) if min(above.shape[:2]) >= SMALLEST else np.nan
        errors = np.array([mean_squared_error(above, below), similar], np.float32)
        return np.resize(errors.view(np.uint8), (1, 3, 3))  # 8 bytes, and one that is not read

    def batch_size(self, device: str) -> int:
        return 64

    def open(self, device: str, precision: str) -> Meter:
        import torch

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            written = images.permute(0, 2, 3, 1).flatten(1)[:, :8].cpu().numpy()
            return torch.from_numpy(np.ascontiguousarray(written).view(np.float32).copy())

        return meter


class PairLpips(OptionalNetwork):
    """Rows (1,): LPIPS (Zhang et al. 2018, version 0.1) at the images' own size, by the package lpips.

    Args:
        net: the network behind it: "alex" (the authors' for comparing images), "vgg" or "squeeze". The package holds
            the learned weights of its layers; the network's own are torchvision's, which downloads them once.
        offline: never ask for them.
    """

    columns: tuple[str, ...] = ("lpips",)
    view = "pairs"
    one_size = True  # a batch holds images of one size

    def __init__(self, net: Net = "alex", offline: bool = False) -> None:
        self.net, self.offline = net, offline

    @property
    def name(self) -> str:
        return f"lpips {self.net}"

    @cached_property
    def _network(self) -> Any:
        try:
            import lpips
        except ImportError:
            raise UserError("LPIPS needs the package lpips: pip install 'genaudit-images[lpips]'") from None
        if self.offline and not self._checkpoint().is_file():
            raise UserError(
                f"LPIPS: the weights of {self.net} are not on this machine ({self._checkpoint()}), and offline=true"
            )
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return lpips.LPIPS(net=self.net, verbose=False).eval().requires_grad_(False)
        except Exception as error:  # whatever a download that fails raises
            raise UserError(f"LPIPS: the weights of {self.net} cannot be downloaded ({reason_of(error)})") from None

    def _checkpoint(self) -> Path:
        """Where torchvision keeps the network's weights."""
        import torch
        from torchvision import models

        weights: Any = {
            "alex": models.AlexNet_Weights, "vgg": models.VGG16_Weights, "squeeze": models.SqueezeNet1_1_Weights
        }[self.net].DEFAULT  # fmt: skip
        return Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]

    def describe(self, precision: str) -> dict[str, Any]:
        weights = self.weights_sha256
        return {"measure": "pair_lpips", "version": 1, "net": self.net, "weights": weights, "precision": precision}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return image

    def batch_size(self, device: str) -> int:
        return 32 if device.startswith("cuda") else 4

    def open(self, device: str, precision: str) -> Meter:
        import copy

        import torch

        dtype = torch_dtype(precision)
        network = copy.deepcopy(self._network).to(device, dtype)

        @torch.inference_mode()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            above, below = (to_unit_range(images, dtype) * 2 - 1).chunk(2, dim=2)
            distances: torch.Tensor = network(above, below)
            return distances.reshape(-1, 1).float()

        return meter
