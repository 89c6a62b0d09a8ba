"""Which regions of an image make it vulnerable: an attack on superpixels and a linear regression.

Hwang, Lee and Lee 2024, supplement, section D: 20 superpixels (SLIC); 20 trials, each attacking 3 to 6 of them; the
feature change of each trial regressed on the binary indicators, Y = V W + b. A large coefficient: that superpixel makes
the image vulnerable.

T trials, P superpixels, C channels, H, W sides, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from genaudit.errors import UserError

Network = Callable[[torch.Tensor], torch.Tensor]
TRIALS_AT_ONCE = 4


@dataclass(frozen=True)
class Attribution:
    """What the trials showed of one image.

    coefficients: (P,) W, in the units of f; the feature change that attacking the superpixel adds.
    standard_errors: (P,) of a least-squares fit, NaN where the trials are too few for one. intercept: b.
    share_explained: R² of the fit on its own trials (1 by construction where there are no more trials than unknowns).
    chosen: (T, P) bool V. changes: (T,) Y.
    """

    coefficients: np.ndarray
    standard_errors: np.ndarray
    intercept: float
    share_explained: float
    chosen: np.ndarray
    changes: np.ndarray


def superpixels(image: np.ndarray, count: int = 20, compactness: float = 10.0) -> np.ndarray:
    """SLIC superpixels (Achanta et al. 2012): (H, W, 3) uint8 => (H, W) int64 labels from 0, about `count` of them.

    Where the image's own regions are fewer than three quarters of `count`, they are cut more and more evenly.

    Raises:
        UserError: scikit-image, which has the algorithm, is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError:
        raise UserError("superpixels need the package scikit-image: pip install 'genaudit-images[explain]'") from None
    for factor in (1, 4, 16, 64):
        labels = slic(image, n_segments=count, compactness=factor * compactness, start_label=0)
        compact: np.ndarray = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        if 4 * (compact.max() + 1) >= 3 * count:
            break
    return compact


def attribute(
    model: Network,
    image: torch.Tensor,
    labels: np.ndarray,
    *,
    trials: int = 20,
    least: int = 3,
    most: int = 6,
    alpha: float = 0.01,
    steps: int = 10,
    seed: int = 0,
) -> Attribution:
    """Attacks random sets of superpixels and regresses the feature change on which were attacked.

    An attack is the vulnerability's (`genaudit.measures.anomaly.vulnerability`), its steps kept to the chosen
    superpixels. With 20 trials and 20 superpixels the regression of the paper is not determined (21 unknowns): of all
    least-squares fits the one with the smallest coefficients is returned, which is exact in none. More trials than
    superpixels make it a regression; twice as many give usable standard errors.

    Args:
        model: f, (N, C, H, W) in [0, 1] => (N, D), differentiable.
        image: (C, H, W) in [0, 1].
        labels: (H, W), integers from 0 to P - 1.
        trials: T. least, most: how many superpixels a trial attacks.
        alpha, steps: of the attack; its radius is alpha·steps.
        seed: of the choice of superpixels and the attack's start.

    Raises:
        ValueError: shapes that do not go together, or fewer superpixels than a trial attacks.
    """
    if image.ndim != 3 or labels.shape != tuple(image.shape[1:]):
        raise ValueError(f"labels {labels.shape} must have the image's sides, {tuple(image.shape)}")
    count = int(labels.max()) + 1
    if not 1 <= least <= most <= count:
        raise ValueError(f"a trial attacks {least} to {most} superpixels, and there are {count}")
    chosen = choose(trials, count, least, most, seed)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, trials, TRIALS_AT_ONCE):  # (T, 1, H, W) masks of all trials may not fit into memory
        masks = torch.from_numpy(chosen[start : start + TRIALS_AT_ONCE][:, labels]).unsqueeze(1)
        parts.append(_attack_parts(model, image, masks.to(image.device, image.dtype), alpha, steps, generator))
    changes = torch.cat(parts)
    return regress(chosen, changes.double().cpu().numpy())


def choose(trials: int, count: int, least: int, most: int, seed: int) -> np.ndarray:
    """(T, P) bool: each trial's superpixels, `least` to `most` of them, all alike in probability."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros((trials, count), bool)
    for row in chosen:
        row[rng.choice(count, rng.integers(least, most + 1), replace=False)] = True
    return chosen


def regress(chosen: np.ndarray, changes: np.ndarray) -> Attribution:
    """Least squares of `changes` (T,) on `chosen` (T, P) with an intercept; the smallest solution where many fit."""
    x, y = chosen.astype(float), np.asarray(changes, float)
    centre, mean = x.mean(0), y.mean()
    inverse = np.linalg.pinv(x - centre)
    weights = inverse @ (y - mean)
    residual = y - mean - (x - centre) @ weights
    free = len(y) - 1 - int(np.linalg.matrix_rank(x - centre))
    determined = np.linalg.matrix_rank(x - centre) == x.shape[1]
    errors = np.full(x.shape[1], np.nan)
    if free > 0 and determined:
        errors = np.sqrt(residual @ residual / free * (inverse**2).sum(1))
    spread = ((y - mean) ** 2).sum()
    explained = float(1 - residual @ residual / spread) if spread > 0 else float("nan")
    return Attribution(weights, errors, float(mean - centre @ weights), explained, chosen, y)


def _attack_parts(
    model: Network, image: torch.Tensor, masks: torch.Tensor, alpha: float, steps: int, generator: torch.Generator
) -> torch.Tensor:
    """The feature change of an attack within each mask, (T, 1, H, W) => (T,)."""
    images = image.unsqueeze(0).expand(len(masks), *image.shape).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        reference = model(images[:1]).flatten(1)
    drawn = 2 * torch.rand(images.shape, generator=generator) - 1
    # a start of one step: from the paper's 1e-6 the first signs would be float32's rounding
    attacked = (images + alpha * masks * drawn.to(images.device, images.dtype)).clamp(0, 1)
    for _ in range(steps):
        attacked.requires_grad_(True)
        with torch.enable_grad():
            distance = (model(attacked).flatten(1) - reference).square().sum()
            (gradient,) = torch.autograd.grad(distance, attacked)
        change = (attacked.detach() + alpha * masks * gradient.sign() - images).clamp(-alpha * steps, alpha * steps)
        attacked = (images + change).clamp(0, 1)
    with torch.no_grad():
        return (model(attacked).flatten(1) - reference).norm(dim=1)
