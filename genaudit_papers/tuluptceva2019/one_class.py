"""One-class experiments on small images: the split, PIAD's shallow baselines on it, and how sure an AUROC is.

The baselines of `genaudit.piad.baselines`, each judged on the same test images: reconstructions by the squared error
and by PIAD's own score (Tuluptceva et al. 2019, Eq. 4), nearest neighbours in pixels and in perceptual features.
N images, C channels, S side in pixels, P positive and Q negative scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.piad import baselines, protocols
from genaudit.stats.auroc import auroc

if TYPE_CHECKING:
    from genaudit.piad.perceptual import Perceptual

RELATIVE, SQUARED = "rel-perc-L1", "MSE"
BATCH = 256


class OneClassImages:
    """The images of one split, uint8 (N, C, S, S); of `test` the first `normal` are normal, the others anomalies.

    Args:
        images: that the indices to train on are of, (N, H, W) or (N, C, H, W) uint8.
        chosen: the indices.
        test: images that the indices to test on are of; None: the same.
    """

    def __init__(self, images: np.ndarray, chosen: protocols.Split, test: np.ndarray | None = None) -> None:
        self.train = resized(images[chosen.train])
        self.test = resized((images if test is None else test)[chosen.test])
        self.normal = len(chosen.normal)

    @classmethod
    def made(cls, train: np.ndarray, test: np.ndarray, normal: int) -> OneClassImages:
        """Of images that have their size already."""
        split = cls.__new__(cls)
        split.train, split.test, split.normal = train, test, normal
        return split

    @classmethod
    def of(cls, images: np.ndarray, chosen: protocols.Split) -> OneClassImages:
        """Some of images (N, C, S, S) that have their size already."""
        return cls.made(images[chosen.train], images[chosen.test], len(chosen.normal))


def resized(images: np.ndarray, size: int = 32) -> np.ndarray:
    """Images (N, H, W) or (N, C, H, W) uint8 as (N, C, S, S) uint8: bilinear, half-pixel centres (the paper names no
    filter)."""
    import torch
    import torch.nn.functional as F

    batch = torch.from_numpy(np.ascontiguousarray(images)).float()
    batch = batch[:, None] if batch.ndim == 3 else batch
    grown = F.interpolate(batch, size=size, mode="bilinear", align_corners=False)
    pixels: np.ndarray = grown.round().to(torch.uint8).numpy()
    return pixels


def unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 as float32 in [-1, 1]."""
    return pixels.astype(np.float32) / 127.5 - 1


def judged(scores: Callable[[], np.ndarray], normal: int) -> dict[str, float]:
    """AUROC, its standard error, and the CPU seconds that scoring took; the first `normal` scores are the negatives."""
    start = time.process_time()
    values = np.asarray(scores(), np.float64)
    seconds = time.process_time() - start
    anomalies, ours = values[normal:], values[:normal]
    return {"auroc": auroc(anomalies, ours), "error": standard_error(anomalies, ours), "seconds": seconds}


def standard_error(positive: np.ndarray, negative: np.ndarray) -> float:
    """DeLong's standard error of the AUROC of (P,) and (Q,) scores, two or more each (DeLong et al. 1988)."""
    parts = []
    for a, b in ((positive, np.sort(negative)), (negative, np.sort(positive))):
        below = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")  # ties count half, hence twice
        parts.append((below / (2 * len(b))).var(ddof=1) / len(a))
    return float(np.sqrt(sum(parts)))


def shallow(
    split: OneClassImages, perceptual: Perceptual, *, components: Sequence[int], seed: int, device: str
) -> dict[str, Any]:
    """Every baseline's `judged` by its name, and what the training images chose.

    Args:
        components: of the PCA reconstructions; the class mean is always among them.
        seed: of the images and folds that choose KDE's bandwidth.
    """
    train, test = unit(split.train), unit(split.test)
    results: dict[str, dict[str, float]] = {}

    def judge(name: str, scores: Callable[[], np.ndarray]) -> None:
        results[name] = judged(scores, split.normal)

    for k in (0, *components):
        name = f"PCA-{k}" if k else "class mean"
        judge(f"{name}, {SQUARED}", lambda k=k: squared(test, baselines.pca_reconstructions(train, test, k)))  # type: ignore[misc]
        judge(
            f"{name}, {RELATIVE}",
            lambda k=k: relative(perceptual, test, baselines.pca_reconstructions(train, test, k), device),  # type: ignore[misc]
        )
    start = time.process_time()
    few, few_test = baselines.reduced(train, test)
    reducing = time.process_time() - start
    bandwidth = baselines.kde_bandwidth(few, seed=seed)
    choosing = time.process_time() - start - reducing
    judge("OC-SVM", lambda: baselines.ocsvm_scores(few, few_test))
    judge("KDE", lambda: baselines.kde_scores(few, few_test, bandwidth=bandwidth))
    results["OC-SVM"]["seconds"] += reducing
    results["KDE"]["seconds"] += reducing + choosing
    judge("1-NN, pixels", lambda: baselines.nearest_neighbour_scores(train, test))

    def in_features() -> np.ndarray:
        return baselines.nearest_neighbour_scores(*(features(perceptual, part, device) for part in (train, test)))

    judge("1-NN, perceptual features", in_features)
    return {"methods": results, "bandwidth": bandwidth, "components": few.shape[1]}


def squared(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Mean squared error per image, (N,)."""
    error: np.ndarray = ((images - reconstructions) ** 2).mean(axis=(1, 2, 3))
    return error


def relative(perceptual: Perceptual, images: np.ndarray, reconstructions: np.ndarray, device: str) -> np.ndarray:
    """PIAD's score (N,) of reconstructions from elsewhere."""
    import torch

    from genaudit.piad.scoring import dissimilarity

    parts = []
    for start in range(0, len(images), BATCH):
        with torch.inference_mode():
            x, y = (torch.from_numpy(a[start : start + BATCH]).to(device) for a in (images, reconstructions))
            parts.append(dissimilarity(x, y, perceptual).cpu().numpy())
    return np.concatenate(parts)


def features(perceptual: Perceptual, images: np.ndarray, device: str) -> np.ndarray:
    """Normalised perceptual features (N, F·h·w) float32 (Eq. 3)."""
    import torch

    mean, std = perceptual.mean, perceptual.std
    assert mean is not None and std is not None  # noqa: PT018
    parts = []
    for start in range(0, len(images), BATCH):
        with torch.inference_mode():
            features = perceptual(torch.from_numpy(images[start : start + BATCH]).to(device))
            parts.append(((features - mean[:, None, None]) / std[:, None, None]).flatten(1).cpu().numpy())
    return np.concatenate(parts)
