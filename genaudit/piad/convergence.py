"""Has a training come far enough? Its loss on images against those of two detectors that need no training.

A PIAD whose reconstructions are worse than the mean of its training images, or than their projection on eight principal
components, has not converged, whatever its curve looks like (Tuluptceva et al. 2019 train for 50,000 iterations and
more). The three losses are one: that of the training, in the same perceptual features.
N training images, M images to judge by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genaudit.piad.baselines import pca_reconstructions
from genaudit.piad.networks import PIADNetworks
from genaudit.piad.perceptual import Perceptual
from genaudit.piad.scoring import Reconstruction, anomaly_score, dissimilarity, prepare

COMPONENTS = 8
FITTED, JUDGED, BATCH = 2000, 512, 128  # training images that the components are of, images that are judged


@dataclass(frozen=True)
class Convergence:
    """Mean losses over the judged images, lower is closer.

    Attributes:
        piad: of G(E(x)). class_mean: of the mean training image. components: of PCA's reconstructions.
        held_out: whether the images are others than those of the training. images: how many were judged.
    """

    piad: float
    class_mean: float
    components: float
    held_out: bool
    images: int

    @property
    def converged(self) -> bool:
        """Whether the reconstructions are closer than both baselines'."""
        return self.piad < min(self.class_mean, self.components)

    @property
    def sentence(self) -> str:
        """For the end of a training."""
        what = f"{self.images} {'held-out' if self.held_out else 'training'} images"
        beside = f"class mean {self.class_mean:.4f}, PCA-{COMPONENTS} {self.components:.4f}"
        losses = f"loss of {what}: {self.piad:.4f} ({beside})"
        if self.converged:
            return f"{losses}: below both"
        beyond = [
            name
            for name, loss in (("the class mean", self.class_mean), (f"PCA-{COMPONENTS}", self.components))
            if not self.piad < loss
        ]
        return f"{losses}: not converged, no better than {' and '.join(beyond)}; more iterations are needed"


def convergence(
    networks: PIADNetworks,
    train: Any,
    images: Any,
    perceptual: Perceptual | None,
    reconstruction: Reconstruction = "relative_perceptual_l1",
    *,
    held_out: bool,
) -> Convergence:
    """Compares a trained PIAD with the class mean and PCA.

    Args:
        networks, perceptual: on their device. train: (N, C, S, S) normal images, uint8 or floating in [-1, 1].
        images: (M, C, S, S), normal ones; at most 512 of them are judged, spread evenly.
        held_out: whether `images` are others than those of the training.
    """
    some = images[np.linspace(0, len(images) - 1, min(JUDGED, len(images))).round().astype(int)]
    fitted = _unit(train[np.linspace(0, len(train) - 1, min(FITTED, len(train))).round().astype(int)])
    judged = _unit(some)
    components = min(COMPONENTS, len(fitted) - 1)
    piad = anomaly_score(networks, some, perceptual, reconstruction=reconstruction)
    mean, projected = (
        _loss(networks, judged, pca_reconstructions(fitted, judged, k), perceptual, reconstruction)
        for k in (0, components)
    )
    return Convergence(float(piad.mean()), mean, projected, held_out, len(some))


def _loss(networks: PIADNetworks, images: np.ndarray, others: np.ndarray, perceptual: Any, loss: Any) -> float:
    device = next(networks.encoder.parameters()).device
    parts = []
    for start in range(0, len(images), BATCH):
        with torch.inference_mode():
            x = prepare(images[start : start + BATCH], networks, device)
            parts.append(dissimilarity(x, torch.from_numpy(others[start : start + BATCH]).to(device), perceptual, loss))
    return float(torch.cat(parts).mean())


def _unit(images: Any) -> np.ndarray:
    """Images as float32 in [-1, 1]."""
    array = np.asarray(images)
    return array.astype(np.float32) / 127.5 - 1 if array.dtype == np.uint8 else array.astype(np.float32)
