"""The nearest training image as classifier and outlier detector: what the GANs of Figures 4 and 7 are compared with.

"Intriguing Properties of Modern GANs", sections 3.1 and 4.2. Distances are L2 between pixels, between features of the
embedded network, LPIPS (Zhang et al. 2018; a Euclidean distance of scaled features, so that one search serves all),
and between a ViT's features where its weights are on this machine. The training images are read and embedded in blocks.

N queries, T training images, C channels, S side, D numbers of an embedded image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.measures.inversion import perceptual_features
from genaudit.stats.memory import Fitting
from genaudit.stats.neighbours import nearest

if TYPE_CHECKING:
    import torch

Embed = Callable[[np.ndarray], np.ndarray]  # (n, C, S, S) in [0, 1] => (n, D)
BLOCK = 512  # training images that are embedded at a time
BATCH = 64  # images of a network's pass
VGG16 = "vgg16-397923af.pth"  # torchvision's file, behind the package lpips


@dataclass(frozen=True)
class Nearest:
    """The nearest training image's place (N,) and its distance (N,)."""

    index: np.ndarray
    distance: np.ndarray


def embeddings(device: str = "cpu") -> tuple[dict[str, Embed], dict[str, str]]:
    """How images are compared, by name; and the names of those that this machine lacks, with the reason."""
    found: dict[str, Embed] = {"L2": lambda images: images.reshape(len(images), -1)}
    import torch

    found["perceptual"] = _in_batches(perceptual_features(device, torch.float32), device)
    network = _lpips()
    if isinstance(network, str):
        return found, {"LPIPS": network}
    found["LPIPS"] = _in_batches(lpips_features(network.to(device)), device)
    return found, {}


def nearest_of(embed: Embed, query: np.ndarray, train: Iterable[np.ndarray]) -> Nearest:
    """The nearest of the training images, which come in blocks (t, C, S, S), of every query (N, C, S, S)."""
    rows = embed(query)
    index, distance, seen = np.zeros(len(rows), np.int64), np.full(len(rows), np.inf), 0
    for block in train:
        found = nearest(rows, embed(block))
        closer = found.distances[:, 0] < distance  # of equal distances the first stays
        index[closer] = seen + found.indices[closer, 0]
        distance = np.minimum(distance, found.distances[:, 0])
        seen += len(block)
    return Nearest(index, distance)


def lpips_features(network: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Images (n, C, S, S) in [0, 1] => features (n, D) whose squared Euclidean distance is LPIPS.

    LPIPS is the mean over positions of the weighted squared differences of features of unit length, summed over layers:
    each is scaled by the root of its weight over the number of positions.

    Args:
        network: `lpips.LPIPS`.
    """
    import torch

    def features(images: torch.Tensor) -> torch.Tensor:
        scaled = network.scaling_layer(images.expand(-1, 3, -1, -1) * 2 - 1)
        parts = []
        for layer, head in zip(network.net(scaled), network.lins, strict=True):
            unit = layer / (layer.square().sum(1, keepdim=True).sqrt() + 1e-10)
            weight = head.model[-1].weight[0, :, 0, 0].clamp_min(0) / (layer.shape[2] * layer.shape[3])
            parts.append((unit * weight.sqrt()[:, None, None]).flatten(1))
        return torch.cat(parts, dim=1)

    return features


def _lpips() -> Any:
    """The network, or why there is none; nothing is downloaded."""
    import torch

    try:
        import lpips
    except ImportError:
        return "needs the package lpips: pip install 'genaudit-images[lpips]'"
    file = Path(torch.hub.get_dir()) / "checkpoints" / VGG16
    if not file.is_file():
        return f"needs torchvision's file {VGG16}, put at {file}"
    return lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)


def _in_batches(features: Callable[[torch.Tensor], torch.Tensor], device: str) -> Embed:
    import torch

    fitting = Fitting("1-NN")

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batches = torch.from_numpy(images).split(BATCH)
            parts = [part for batch in batches for part in fitting(lambda some: features(some.to(device)).cpu(), batch)]
        return torch.cat(parts).numpy()

    return embed
