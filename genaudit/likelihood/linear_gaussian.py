"""A class-conditional linear generator whose likelihood is known exactly: probabilistic PCA, one for each class.

Tipping and Bishop 1999: x = W_c z + mu_c + N(0, sigma²·I), z ~ N(0, I), so x ~ N(mu_c, W_c W_cᵀ + sigma²·I). It is
fitted in a moment, so that generative classification can be tried where no trained class-conditional generator is at
hand, and it says by how many nats annealed importance sampling is off.

N images of D numbers (C, S, S), L latent dimensions, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn


class LinearGaussian(nn.Module):
    """Latents (n, L) and labels (n,) int64 to images (n, C, S, S), not confined to [0, 1].

    Args:
        weights: (K, D, L). means: (K, D). shape: (C, S, S). sigma2: variance of the observation noise.
    """

    weights: torch.Tensor
    means: torch.Tensor

    def __init__(self, weights: torch.Tensor, means: torch.Tensor, shape: Sequence[int], sigma2: float) -> None:
        super().__init__()
        self.shape, self.sigma2 = tuple(shape), float(sigma2)
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)

    @classmethod
    def fit(cls, images: Any, labels: Any, *, latent: int) -> LinearGaussian:
        """Maximum likelihood for each class, with one sigma² for all: the mean variance that the components leave.

        Args:
            images: (N, C, S, S) on the [0, 1] scale. labels: (N,), 0 to K - 1, each at least L + 1 times. latent: L.
        """
        images, labels = np.asarray(images, np.float64), np.asarray(labels)
        flat = images.reshape(len(images), -1)
        classes, dims = int(labels.max()) + 1, flat.shape[1]
        if np.bincount(labels, minlength=classes).min() <= latent or latent >= dims:
            raise ValueError(f"{latent} latent dimensions need more images of each class, and more numbers per image")
        fits = []
        for label in range(classes):
            members = flat[labels == label]
            mean = members.mean(axis=0)
            _, singular, axes = np.linalg.svd(members - mean, full_matrices=False)
            fits.append((mean, axes[:latent], singular**2 / len(members)))
        # over all D - L directions, those that so few images do not span included
        sigma2 = float(np.mean([variances[latent:].sum() / (dims - latent) for _, _, variances in fits]))
        weights = [
            axes.T * np.sqrt(np.maximum(variances[:latent] - sigma2, 0)) for _, axes, variances in fits
        ]  # Tipping and Bishop's Eq. 7
        as_tensor = [torch.from_numpy(np.stack(each)).float() for each in (weights, [mean for mean, _, _ in fits])]
        return cls(as_tensor[0], as_tensor[1], images.shape[1:], sigma2)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(latents) and bool((labels == labels[0]).all()):
            flat = latents @ self.weights[labels[0]].T + self.means[labels[0]]
        else:
            flat = torch.einsum("ndl,nl->nd", self.weights[labels], latents) + self.means[labels]
        return flat.view(len(latents), *self.shape)

    def log_likelihood(self, images: Any) -> np.ndarray:
        """Exact log p(x|class), nats, (N, K) float64, of images (N, C, S, S) on the [0, 1] scale."""
        flat = np.asarray(images, np.float64).reshape(len(images), -1)
        columns = []
        for weights, mean in zip(self.weights.double().numpy(), self.means.double().numpy(), strict=True):
            # by Woodbury's identity and Sylvester's determinant: only L x L is factorised
            inner = np.eye(weights.shape[1]) + weights.T @ weights / self.sigma2
            rest = flat - mean
            inside = rest @ weights / self.sigma2
            quadratic = (rest**2).sum(1) / self.sigma2 - (inside * np.linalg.solve(inner, inside.T).T).sum(1)
            log_det = np.linalg.slogdet(inner)[1] + len(mean) * math.log(2 * math.pi * self.sigma2)
            columns.append(-0.5 * (quadratic + log_det))
        return np.stack(columns, axis=1)
