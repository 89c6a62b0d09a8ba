"""Losses and scores of density models: bits per dimension, outlier loss, margin loss, log-likelihood ratio.

Schirrmeister et al. 2020, "Understanding Anomaly Detection with Deep Invertible Networks through Hierarchies of
Distributions and Features", supplement S4 and S7. Every log-likelihood here is in nats, of the whole image, on the
unit-scaled axis (a pixel value divided by 256; shifts do not matter). NumPy arrays and Python numbers give NumPy
results in float64, torch tensors give torch tensors on their device with their gradient.

N images, D dimensions of one image (channels times height times width).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genaudit.stats.bounds import positive_int


def _is_tensor(*values: Any) -> bool:
    return any(hasattr(value, "detach") for value in values)


def bits_per_dim(log_prob: Any, dims: int, bins: int = 256) -> Any:
    """Bits that a density spends on one dimension of a pixel grid: log2(bins) - log p / (D ln 2).

    Args:
        log_prob: log-likelihood in nats on the unit-scaled axis, any shape; a model on an axis scaled by a adds
            D ln a first.
        dims: D, the number of dimensions of one image.
        bins: number of values that a dimension can take; 256 for 8-bit images.

    Returns:
        Bits per dimension, same kind and shape as `log_prob`; lower is better. The uniform density gives
        log2(bins).

    Raises:
        ValueError: `dims` below 1 or `bins` below 2.

    >>> float(bits_per_dim(0.0, 3072))
    8.0
    """
    positive_int("dims", dims)
    if bins < 2:
        raise ValueError(f"bins must be at least 2, not {bins}")
    if not _is_tensor(log_prob):
        log_prob = np.asarray(log_prob, dtype=np.float64)[()]
    return math.log2(bins) - log_prob / (dims * math.log(2.0))


def outlier_loss(log_prob_in: Any, log_prob_general: Any, *, temperature: float = 1000, weight: float = 6000) -> Any:
    """Loss that lowers the likelihood of outliers, lambda·softplus((log p_in - log p_general)/T) (Eq. S1).

    Both log-likelihoods are of the same images, drawn from the general distribution. The general model is
    detached: no gradient reaches it. The gradient with respect to log p_in is (lambda/T)·sigmoid(.)/N.

    Args:
        log_prob_in: (N,) nats under the model in training.
        log_prob_general: (N,) nats under the general model.
        temperature: T.
        weight: lambda.

    Returns:
        Mean over the batch, a scalar >= 0; lower is better. Values that are not finite are not handled here:
        the trainer drops such images first (S4.3).

    >>> round(float(outlier_loss([-5000.0], [-5000.0])), 2)
    4158.88
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    if _is_tensor(log_prob_in, log_prob_general):
        import torch
        import torch.nn.functional as F

        log_prob_in = torch.as_tensor(log_prob_in)
        general = torch.as_tensor(log_prob_general, device=log_prob_in.device).detach()
        return weight * F.softplus((log_prob_in - general) / temperature).mean()
    difference = np.asarray(log_prob_in, dtype=np.float64) - np.asarray(log_prob_general, dtype=np.float64)
    return weight * np.logaddexp(0.0, difference / temperature).mean()


def margin_loss(log_prob_in: Any, log_prob_out: Any, *, margin: float, weight: float = 1.0) -> Any:
    """Margin loss of outlier exposure, weight·max(0, margin + log p(x_out) - log p(x_in)), for comparison (S7.5).

    Hendrycks et al. 2019, as the paper's code uses it: the n-th image of one batch is paired with the n-th of the
    other (a longer batch is cut), the margin is D nats, and log p(x_in) is detached, so that the loss lowers the
    outliers and does not raise the rest.

    Args:
        log_prob_in: (N,) nats of training images.
        log_prob_out: (M,) nats of outliers, under the same model.
        margin: distance in nats that costs nothing; the authors use D.
        weight: factor of the loss.

    Returns:
        Mean over the pairs, a scalar >= 0; lower is better.
    """
    pairs = min(len(log_prob_in), len(log_prob_out))
    if pairs == 0:
        raise ValueError("margin_loss needs at least one image of each kind")
    if _is_tensor(log_prob_in, log_prob_out):
        import torch

        log_prob_out = torch.as_tensor(log_prob_out)
        inside = torch.as_tensor(log_prob_in, device=log_prob_out.device).detach()
        return weight * (margin + log_prob_out[:pairs] - inside[:pairs]).clamp_min(0.0).mean()
    difference = np.asarray(log_prob_out, dtype=np.float64)[:pairs] - np.asarray(log_prob_in, dtype=np.float64)[:pairs]
    return weight * np.maximum(0.0, margin + difference).mean()


def log_likelihood_ratio(log_prob_in: Any, log_prob_general: Any, *, floor: float = -3e6) -> Any:
    """Anomaly score log p_in(x) - log p_general(x), both clipped from below (S4.5).

    A model trained with the outlier loss gives outliers log-likelihoods of minus infinity, or finite ones far below
    any floor. Each term is therefore clipped at `floor`, and a value that is not finite (NaN and plus infinity too)
    is set to it, before the difference. The authors' text replaces only non-finite values; clipping as well keeps
    the order right, since finite values of -7.9e6 occur.

    Args:
        log_prob_in: nats under the model of the training set, any shape.
        log_prob_general: nats under the general model, same shape. A code length counts as one (see
            `genaudit.measures.code_length`).
        floor: nats.

    Returns:
        Ratio in nats, always finite; higher means more like the training set (the positive class of an AUROC).

    >>> float(log_likelihood_ratio(float("nan"), -5000.0))
    -2995000.0
    """
    if _is_tensor(log_prob_in, log_prob_general):
        import torch

        inside = torch.as_tensor(log_prob_in)
        general = torch.as_tensor(log_prob_general, device=inside.device)

        def clip(log_prob: Any) -> Any:
            return torch.where(torch.isfinite(log_prob), log_prob, floor).clamp_min(floor)

        return clip(inside) - clip(general)
    terms = [np.asarray(term, dtype=np.float64) for term in (log_prob_in, log_prob_general)]
    clipped = [np.maximum(np.where(np.isfinite(term), term, floor), floor) for term in terms]
    return (clipped[0] - clipped[1])[()]
