"""Inversion against least squares, brute force over its own samples, and Table 3."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from genaudit.likelihood.inversion import Inversion, invert, mean_squared_error, observation_variance, psnr

DIMS, LATENT = 20, 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.randn(DIMS, LATENT, generator=seeded(1), dtype=torch.float64) / 2


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, DIMS, generator=seeded(2), dtype=torch.float64)


def test_a_linear_decoder_is_inverted_as_by_least_squares(weights: torch.Tensor, images: torch.Tensor) -> None:
    found = invert(lambda z: z @ weights.T, images, latent_dim=LATENT, generator=seeded())
    best = torch.linalg.lstsq(weights, images.T).solution.T
    # Adam's last steps are below 0.1·(1 - cos(pi/750))/2 = 4e-7, the cosine's end; errors of z enter the error squared.
    torch.testing.assert_close(found.latents, best, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.reconstructions, found.latents @ weights.T)
    mse = (best @ weights.T - images).square().mean(1)
    torch.testing.assert_close(found.mse, mse, atol=1e-7, rtol=0)
    # One minimum: every restart finds it.
    torch.testing.assert_close(found.restarts, mse[:, None].expand(5, 4), atol=1e-7, rtol=0)
    assert (found.mse >= mse - 1e-12).all()  # but for rounding


def test_generated_images_are_recovered_and_others_are_not(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(
        torch.nn.Linear(LATENT, 32), torch.nn.Tanh(), torch.nn.Linear(32, DIMS), torch.nn.Sigmoid()
    )
    z = torch.randn(5, LATENT, generator=seeded(3))
    with torch.no_grad():
        generated = decoder(z)
    on = invert(decoder, generated, latent_dim=LATENT, steps=500, generator=seeded())
    off = invert(decoder, images.sigmoid(), latent_dim=LATENT, steps=500, generator=seeded())
    # float32 and 500 steps reach far below an eighth of a grey level; 20 dimensions are not reached by 4.
    assert (on.mse < (1 / 2048) ** 2).all()
    assert (off.mse > 1e-3).all()
    torch.testing.assert_close(on.latents, z, atol=0.05, rtol=0)


def test_the_start_is_the_nearest_of_the_samples_and_the_result_never_worse(
    weights: torch.Tensor, images: torch.Tensor
) -> None:
    seen = []

    def decoder(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.detach().clone())
        return z @ weights.T

    start = invert(decoder, images, latent_dim=LATENT, restarts=2, samples=100, steps=0, generator=seeded())
    samples = torch.cat(seen)[:200]
    errors = (samples @ weights.T - images[:, None]).square().mean(2)
    torch.testing.assert_close(start.restarts, errors.view(5, 2, 100).amin(2))
    torch.testing.assert_close(start.latents, samples[errors.argmin(1)])
    # A learning rate that only does harm leaves what the samples gave.
    worst = invert(
        decoder,
        images,
        latent_dim=LATENT,
        restarts=2,
        samples=100,
        steps=3,
        learning_rate=1e6,
        generator=seeded(),
    )
    torch.testing.assert_close(worst.latents, start.latents)


def test_another_distance_is_minimised_in_its_own_unit(weights: torch.Tensor, images: torch.Tensor) -> None:
    half = slice(0, DIMS // 2)

    def distance(reconstructions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (reconstructions - targets)[:, half].square().sum(1)

    found = invert(lambda z: z @ weights.T, images, latent_dim=LATENT, distance=distance, generator=seeded())
    best = torch.linalg.lstsq(weights[half], images[:, half].T).solution.T
    torch.testing.assert_close(found.latents, best, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.distances, distance(found.reconstructions, images))
    torch.testing.assert_close(found.mse, mean_squared_error(found.reconstructions, images))


def test_an_image_does_not_depend_on_its_batch_or_shape(weights: torch.Tensor, images: torch.Tensor) -> None:
    settings: dict[str, Any] = dict(latent_dim=LATENT, samples=20, steps=30)
    together = invert(lambda z: z @ weights.T, images, generator=seeded(), **settings)
    alone = invert(
        lambda z: (z @ weights.T).view(-1, 5, 2, 2), images[3:4].view(1, 5, 2, 2), generator=seeded(), **settings
    )
    torch.testing.assert_close(together.latents[3:4], alone.latents)
    assert alone.reconstructions.shape == (1, 5, 2, 2)


def test_l2_is_the_norm_of_the_residual() -> None:
    reconstructions, images = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    mse = mean_squared_error(reconstructions, images)
    found = Inversion(torch.zeros(1, 1), reconstructions, mse, mse[:, None], mse)
    assert mse.tolist() == [0.25]
    assert found.l2.item() == pytest.approx((images - reconstructions).norm().item())


def test_observation_variance_maximises_the_likelihood_of_the_errors() -> None:
    mse = torch.tensor([0.01, 0.02, 0.06])

    def log_likelihood(sigma2: float) -> float:
        return float((-0.5 * math.log(2 * math.pi * sigma2) - mse / (2 * sigma2)).sum())

    best = observation_variance(mse)
    assert best == pytest.approx(0.03)
    assert log_likelihood(best) > max(log_likelihood(0.99 * best), log_likelihood(1.01 * best))


@pytest.mark.parametrize(("sigma2", "printed"), [(0.018, 17.4), (0.012, 19.2), (0.021, 16.8), (0.019, 17.2)])
def test_psnr_is_that_of_table_3(sigma2: float, printed: float) -> None:
    # Table 3's fifth row, 0.008 and 21.2, does not fit its own formula (21.0): sigma² is printed to one digit there.
    assert psnr(sigma2) == pytest.approx(printed, abs=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(restarts=0), "restarts"),
        (dict(steps=-1), "steps"),
        (dict(x=torch.zeros(3, 5)), "decoder gave"),
        (dict(x=torch.zeros(0, 4)), "N >= 1"),
        (dict(distance=lambda a, b: (a - b).square()), "distance"),
        (dict(decoder=lambda z: (z / 0).repeat(1, 2)), "finite"),
    ],
)
def test_bad_arguments_are_named(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = dict(
        decoder=lambda z: z.repeat(1, 2), x=torch.zeros(3, 4), latent_dim=2, samples=4, steps=2
    )
    with pytest.raises(ValueError, match=message):
        invert(**(arguments | changed))
