"""The score of PIAD: how far an image is from its reconstruction G(E(x)), in the features of a perceptual network.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", Eq. 1; with the ablation's distances next to the paper's.
N images, C channels, S side, h and w positions of the perceptual features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genaudit.errors import UserError
from genaudit.piad import losses
from genaudit.piad.networks import PIADNetworks
from genaudit.piad.perceptual import Perceptual
from genaudit.stats.memory import Fitting

Reconstruction = Literal["relative_perceptual_l1", "perceptual_l1", "perceptual", "mse"]
RECONSTRUCTIONS = ("relative_perceptual_l1", "perceptual_l1", "perceptual", "mse")


def prepare(images: Any, networks: PIADNetworks, device: torch.device | str = "cpu") -> Tensor:
    """A batch (N, C, S, S), uint8 or floating in [-1, 1], as float32 in [-1, 1] on a device, channels last.

    Raises:
        UserError: a shape that the networks don't read, or values that are not finite or beyond [-1, 1].
    """
    batch = torch.as_tensor(images)
    if batch.dim() != 4 or tuple(batch.shape[1:]) != networks.image_shape:
        ours, theirs = networks.image_shape, tuple(batch.shape[1:])
        raise UserError(f"these PIAD networks read images of shape (C, H, W) = {ours}, not {theirs}")
    if batch.dtype == torch.uint8:
        batch = batch.to(device).float().div(127.5).sub(1)
    elif not batch.is_floating_point() or not (batch.abs() <= 1.001).all():
        raise UserError("images must be uint8, or finite and in [-1, 1]; these hold other values, NaN or infinity")
    return batch.to(device=device, dtype=torch.float32, memory_format=torch.channels_last)


def dissimilarity(
    x: Tensor, y: Tensor, perceptual: Perceptual | None, reconstruction: Reconstruction = "relative_perceptual_l1"
) -> Tensor:
    """How far each reconstruction y is from its image x: (N,), lower is closer; gradients flow to y alone.

    Args:
        x, y: (N, C, S, S) in [-1, 1].
        perceptual: the features; `mse` compares pixels and needs none.
    """
    if reconstruction == "mse" or perceptual is None:
        return losses.mean_squared_error(x, y)
    with torch.no_grad():
        fx = perceptual(x)
    fy = perceptual(y)
    if reconstruction == "perceptual":
        return losses.perceptual(fx, fy)
    distance = losses.perceptual_l1 if reconstruction == "perceptual_l1" else losses.relative_perceptual_l1
    return distance(fx, fy, perceptual.mean, perceptual.std)


def dissimilarity_map(
    x: Tensor, y: Tensor, perceptual: Perceptual | None, reconstruction: Reconstruction = "relative_perceptual_l1"
) -> Tensor:
    """Where `dissimilarity` lies: the share of each position of the features (of the pixels for `mse`), (N, h, w).

    A sample's shares sum to its dissimilarity. Arguments as there; no gradients.
    """
    with torch.no_grad():
        if reconstruction == "mse" or perceptual is None:
            return (x - y).square().sum(1) / x[0].numel()
        fx, fy = perceptual(x), perceptual(y)
        if reconstruction == "relative_perceptual_l1":
            return losses.relative_perceptual_l1_map(fx, fy, perceptual.mean, perceptual.std)
        if reconstruction == "perceptual":
            return (fx - fy).square().sum(1) / fx[0].numel()
        scale = 1.0 if perceptual.std is None else perceptual.std.reshape(-1, 1, 1)
        return ((fx - fy) / scale).abs().sum(1) / fx[0].numel()


@dataclass(frozen=True)
class Scored:
    """A batch's anomaly scores (N,), reconstructions (N, C, S, S) and maps (N, h, w) of where the scores lie.

    Higher scores are more anomalous; a map's values sum to the score. NumPy float32.
    """

    scores: np.ndarray
    reconstructions: np.ndarray
    maps: np.ndarray


def anomaly_score(
    networks: PIADNetworks,
    images: Any,
    perceptual: Perceptual | None,
    *,
    reconstruction: Reconstruction = "relative_perceptual_l1",
    batch_size: int = 256,
) -> np.ndarray:
    """A(x) = relative-perceptual-L1(x, G(E(x))) of each image (Tuluptceva et al. 2019, Eq. 1).

    Args:
        networks, perceptual: on the device that is to be used, as a `Trainer` leaves them.
        images: (N, C, S, S), uint8 or floating in [-1, 1]; read batch by batch.
        reconstruction: the loss that the networks were trained with, for the ablation's rows.

    Returns:
        (N,) float32, 0 and up, higher is more anomalous.

    Raises:
        UserError: see `prepare`.
    """
    parts = [part.scores for part in score_batches(networks, images, perceptual, reconstruction, batch_size)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def score_batches(
    networks: PIADNetworks,
    images: Any,
    perceptual: Perceptual | None,
    reconstruction: Reconstruction = "relative_perceptual_l1",
    batch_size: int = 256,
) -> Iterator[Scored]:
    """`anomaly_score` with the reconstructions and maps, a batch at a time, in order."""
    check_reconstruction(reconstruction, perceptual)
    device = next(networks.encoder.parameters()).device

    def scored(batch: Any) -> Scored:
        with torch.inference_mode():
            x = prepare(batch, networks, device)
            y = networks.generator(networks.encoder(x))
            maps = dissimilarity_map(x, y, perceptual, reconstruction)
            return Scored(maps.sum((1, 2)).cpu().numpy(), y.contiguous().cpu().numpy(), maps.cpu().numpy())

    fitting = Fitting("PIAD")
    for start in range(0, len(images), batch_size):
        yield from fitting(scored, images[start : start + batch_size])


def check_reconstruction(reconstruction: str, perceptual: Perceptual | None) -> None:
    """Complain (ValueError) about an unknown loss, or one whose features are missing."""
    if reconstruction not in RECONSTRUCTIONS:
        raise ValueError(f"reconstruction must be one of {', '.join(RECONSTRUCTIONS)}, not {reconstruction!r}")
    if perceptual is None and reconstruction != "mse":
        raise ValueError(f"the loss {reconstruction} needs a perceptual network")
