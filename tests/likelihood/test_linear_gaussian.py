"""Probabilistic PCA by class: its likelihood against the dense Gaussian, its fit against the eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from genaudit.likelihood.ais import ais_log_likelihood
from genaudit.likelihood.linear_gaussian import LinearGaussian


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    images = rng.normal(size=(120, 1, 4, 4)) * np.linspace(0.05, 0.4, 16).reshape(4, 4) + labels[:, None, None, None]
    return images.astype(np.float32), labels


def test_the_likelihood_is_the_dense_gaussians(data: tuple[np.ndarray, np.ndarray]) -> None:
    model = LinearGaussian.fit(*data, latent=3)
    found = model.log_likelihood(data[0])
    for label in range(2):
        w = model.weights[label].double().numpy()
        covariance = w @ w.T + model.sigma2 * np.eye(16)
        exact = multivariate_normal(model.means[label].double().numpy(), covariance).logpdf(data[0].reshape(120, -1))
        np.testing.assert_allclose(found[:, label], exact, rtol=1e-9)
    assert (found.argmax(1) == data[1]).all()


def test_one_class_is_fitted_as_by_the_eigenvalues(data: tuple[np.ndarray, np.ndarray]) -> None:
    images = data[0][:60]
    model = LinearGaussian.fit(images, np.zeros(60, int), latent=3)
    flat = images.reshape(60, -1).astype(np.float64)
    covariance = np.cov(flat.T, ddof=0)
    values = np.linalg.eigvalsh(covariance)[::-1]
    assert model.sigma2 == pytest.approx(values[3:].mean())
    # Tipping and Bishop: the model's covariance keeps the leading eigenvalues; float32 weights.
    w = model.weights[0].double().numpy()
    np.testing.assert_allclose(np.linalg.eigvalsh(w @ w.T)[::-1][:3] + model.sigma2, values[:3], rtol=1e-5)


def test_sampling_comes_near_the_exact_likelihood_from_below(data: tuple[np.ndarray, np.ndarray]) -> None:
    model = LinearGaussian.fit(*data, latent=3)
    x = torch.from_numpy(data[0][::10])

    def decoder(z: torch.Tensor) -> torch.Tensor:
        return model(z, torch.zeros(len(z), dtype=torch.int64))

    own = data[1][::10] == 0
    generator = torch.Generator().manual_seed(0)
    found = ais_log_likelihood(
        decoder, x, sigma2=model.sigma2, latent_dim=3, temperatures=200, chains=8, generator=generator
    )
    error = found.numpy()[own] - model.log_likelihood(data[0][::10])[own, 0]
    # within a nat below, and above only by chance: P(above by a nats) <= exp(-a)
    assert -1 < error.mean() < 1


def test_mixed_labels_give_what_each_gives_alone(data: tuple[np.ndarray, np.ndarray]) -> None:
    model = LinearGaussian.fit(*data, latent=3)
    z, labels = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    alone = torch.cat([model(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(model(z, labels), alone)


def test_too_few_images_are_refused(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="more images"):
        LinearGaussian.fit(data[0][:3], data[1][:3], latent=3)
