"""Annealed importance sampling against exact likelihoods: probabilistic PCA, quadrature, and what a bound promises."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from genaudit.likelihood.ais import (
    AISRun,
    Schedule,
    ais,
    ais_log_likelihood,
    bidirectional,
    log_likelihood_bits,
    power_schedule,
    sigmoidal_schedule,
    simulate,
)
from genaudit.likelihood.hmc import State, adapt_step, hmc_transition


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_decoder(dims: int, latent_dim: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Weights (dims, latent_dim) that give each pixel a variance of 0.1, about that of images on [0, 1]."""
    return torch.randn(dims, latent_dim, generator=seeded(seed), dtype=dtype) * math.sqrt(0.1 / latent_dim)


def exact_log_likelihood(x: torch.Tensor, weights: torch.Tensor, sigma2: float) -> torch.Tensor:
    """Probabilistic PCA: x ~ N(0, W Wᵀ + sigma²·I)."""
    w = weights.double().numpy()
    covariance = w @ w.T + sigma2 * np.eye(len(w))
    return torch.from_numpy(np.atleast_1d(multivariate_normal(cov=covariance).logpdf(x.double().numpy())))


def assert_a_bound_within(error: torch.Tensor, tolerance: float) -> None:
    """Mean error in [-tolerance, 0], each end within 3 standard errors of the mean over images."""
    margin = 3 * float(error.std()) / math.sqrt(len(error))
    assert -tolerance - margin < error.mean() < margin


@pytest.mark.parametrize("temperatures", [1, 2, 7, 500])
def test_schedules_rise_from_zero_to_one(temperatures: int) -> None:
    for schedule in (sigmoidal_schedule(temperatures), power_schedule(temperatures)):
        assert len(schedule) == temperatures + 1
        assert (schedule[0], schedule[-1]) == (0.0, 1.0)
        assert all(a < b for a, b in pairwise(schedule))


def test_schedules_have_their_closed_forms() -> None:
    s = torch.sigmoid(torch.linspace(-4, 4, 501, dtype=torch.float64))
    expected = (s - s[0]) / (s[-1] - s[0])
    # Rounding of linspace and sigmoid: some ulps of 1.
    torch.testing.assert_close(torch.tensor(sigmoidal_schedule(500), dtype=torch.float64), expected, atol=1e-14, rtol=0)
    # The sigmoid is odd about its middle.
    assert sigmoidal_schedule(500)[250] == pytest.approx(0.5, abs=1e-14)
    assert power_schedule(4) == [0.0, 1 / 64, 8 / 64, 27 / 64, 1.0]


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_transition_leaves_a_known_gaussian_invariant(beta: float) -> None:
    rows, latent_dim, sigma2 = 20_000, 3, 0.2
    w = torch.randn(5, latent_dim, generator=seeded(1), dtype=torch.float64)
    x = torch.randn(5, generator=seeded(2), dtype=torch.float64)
    covariance = torch.linalg.inv(torch.eye(latent_dim, dtype=torch.float64) + beta * w.T @ w / sigma2)
    mean = beta * covariance @ w.T @ x / sigma2

    def log_likelihood(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        residual = z @ w.T - x
        return -residual.square().sum(1) / (2 * sigma2), -residual @ w / sigma2

    generator = seeded(3)

    def normal() -> torch.Tensor:
        return torch.randn(rows, latent_dim, generator=generator, dtype=torch.float64)

    z = mean + normal() @ torch.linalg.cholesky(covariance).T
    state, hits = State(z, *log_likelihood(z)), []
    for _ in range(4):
        state, accepted = hmc_transition(
            log_likelihood,
            state,
            beta,
            torch.full((rows,), 0.24 / math.sqrt(beta), dtype=torch.float64),
            leapfrog=5,
            momentum=normal(),
            log_uniform=torch.rand(rows, generator=generator, dtype=torch.float64).log(),
        )
        hits.append(float(accepted.double().mean()))
    # Steps so long that the Metropolis correction is what keeps the distribution.
    assert 0.3 < np.mean(hits) < 0.95
    # 4.5 standard errors: var(mean_i) = S_ii/n, var(cov_ij) = (S_ii·S_jj + S_ij²)/n for Gaussian rows.
    error = 4.5 * (covariance.diagonal() / rows).sqrt()
    assert ((state.z.mean(0) - mean).abs() < error).all()
    d = covariance.diagonal()
    error = 4.5 * ((d[:, None] * d + covariance.square()) / rows).sqrt()
    assert ((state.z.T.cov() - covariance).abs() < error).all()
    torch.testing.assert_close(state.log_lik, log_likelihood(state.z)[0])


def test_a_proposal_that_is_not_finite_is_rejected() -> None:
    def log_likelihood(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(z),), math.nan), torch.full_like(z, math.nan)

    start = State(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2, 1))
    moved, accepted = hmc_transition(
        log_likelihood,
        start,
        1.0,
        torch.full((2,), 0.1),
        leapfrog=1,
        momentum=torch.ones(2, 1),
        log_uniform=torch.full((2,), -50.0),
    )
    assert not accepted.any()
    assert all(torch.equal(a, b) for a, b in zip(moved, start, strict=True))


def test_step_sizes_follow_acceptance_and_stay_in_bounds() -> None:
    step, average = torch.tensor([0.05, 0.05]), torch.tensor([0.65, 0.65])
    first, average = adapt_step(step, average, torch.tensor([True, False]))
    assert first.tolist() == pytest.approx([0.05 * 1.02, 0.05 * 0.98])
    assert average.tolist() == pytest.approx([0.685, 0.585])
    for _ in range(1000):
        step, average = adapt_step(step, average, torch.tensor([True, False]))
    assert step.tolist() == pytest.approx([0.5, 1e-4])


SETTINGS = [("sigmoidal", 0.1, 1.0), ("sigmoidal", 0.025, 1.5), ("power", 0.1, 1.0), ("power", 0.025, 0.8)]


@pytest.mark.parametrize(("schedule", "sigma2", "tolerance"), SETTINGS)
def test_estimates_at_64_dimensions_are_close_lower_bounds(schedule: Schedule, sigma2: float, tolerance: float) -> None:
    w = linear_decoder(64, 5)
    x, _ = simulate(lambda z: z @ w.T, torch.zeros(8, 64), sigma2=sigma2, latent_dim=5, generator=seeded())
    run = ais(lambda z: z @ w.T, x, sigma2=sigma2, latent_dim=5, chains=16, schedule=schedule, generator=seeded(1))
    assert_a_bound_within(run.log_likelihood - exact_log_likelihood(x, w, sigma2), tolerance)
    # 500 temperatures suffice to arrive at the target acceptance from a first step that is far too short for it.
    assert 0.6 < run.acceptance.mean() < 0.95


@pytest.mark.parametrize(("schedule", "sigma2", "tolerance"), SETTINGS[3:])
def test_estimates_at_784_dimensions_are_close_lower_bounds(
    schedule: Schedule, sigma2: float, tolerance: float
) -> None:
    # Three images of scripts/bench_ais.py's table, whose full size says the same with narrower errors.
    w = linear_decoder(784, 10)
    x, _ = simulate(lambda z: z @ w.T, torch.zeros(3, 784), sigma2=sigma2, latent_dim=10, generator=seeded())
    estimate = ais_log_likelihood(
        lambda z: z @ w.T, x, sigma2=sigma2, latent_dim=10, chains=16, schedule=schedule, generator=seeded(1)
    )
    assert_a_bound_within(estimate - exact_log_likelihood(x, w, sigma2), tolerance)


@pytest.mark.parametrize("schedule", ["sigmoidal", "power"])
def test_bounds_from_both_sides_bracket_the_exact_value(schedule: Schedule) -> None:
    w = linear_decoder(64, 5)
    settings: dict[str, Any] = dict(sigma2=0.025, latent_dim=5)
    like = torch.zeros(16, 64)
    bounds = bidirectional(
        lambda z: z @ w.T, like, temperatures=100, chains=4, schedule=schedule, generator=seeded(), **settings
    )
    x, _ = simulate(lambda z: z @ w.T, like, generator=seeded(), **settings)
    exact = exact_log_likelihood(x, w, settings["sigma2"])
    below, above = exact - bounds.lower.log_likelihood, bounds.upper.log_likelihood - exact
    # So few temperatures leave a gap that the test can see: each bound is off by more than its error, to its own side.
    assert below.mean() > 2 * below.std() / 4
    assert above.mean() > 2 * above.std() / 4
    torch.testing.assert_close(bounds.gap, below + above)
    assert bounds.upper.reverse
    assert not bounds.lower.reverse


def test_more_temperatures_tighten_the_bound() -> None:
    w = linear_decoder(64, 5)
    settings: dict[str, Any] = dict(sigma2=0.025, latent_dim=5, generator=seeded(), chains=4)
    x, _ = simulate(lambda z: z @ w.T, torch.zeros(16, 64), sigma2=0.025, latent_dim=5, generator=seeded())
    few, more = (ais_log_likelihood(lambda z: z @ w.T, x, temperatures=t, **settings).mean() for t in (10, 100))
    assert few < more


@pytest.mark.parametrize("temperatures", [1, 8])
def test_mean_weight_is_the_likelihood_however_few_temperatures(temperatures: int) -> None:
    chains, sigma2 = 40_000, 0.5
    w = torch.randn(4, 2, generator=seeded(1), dtype=torch.float64)
    x = torch.randn(1, 4, generator=seeded(2), dtype=torch.float64)
    run = ais(
        lambda z: z @ w.T, x, sigma2=sigma2, latent_dim=2, temperatures=temperatures, chains=chains, generator=seeded()
    )
    # E[w] = p(x): 4 standard errors, which these many chains make small.
    assert run.standard_error < 0.02
    assert abs(run.log_likelihood - exact_log_likelihood(x, w, sigma2)) < 4 * run.standard_error


def test_a_nonlinear_float32_network_agrees_with_quadrature() -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Linear(1, 16), torch.nn.Linear(16, 6)
    torch.nn.init.normal_(first.weight, std=2.0)
    torch.nn.init.normal_(second.weight, std=0.5)
    decoder = torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Sigmoid())
    sigma2 = 0.01
    x, _ = simulate(decoder, torch.zeros(4, 6), sigma2=sigma2, latent_dim=1, generator=seeded(3))
    # x arrives as float64 NumPy; the decoder's type decides.
    run = ais(
        decoder, x.double().numpy(), sigma2=sigma2, latent_dim=1, temperatures=200, chains=64, generator=seeded(4)
    )
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        images = decoder.double()(grid)
    log_joint = (
        -0.5 * grid.square()
        - 0.5 * math.log(2 * math.pi)
        - 3 * math.log(2 * math.pi * sigma2)
        - (images[:, None] - x.double()).square().sum(2) / (2 * sigma2)
    )
    exact = log_joint.logsumexp(0) + math.log(16 / 40_000)
    # Quadrature is exact to rounding; 64 chains leave the standard errors that the run states.
    assert ((run.log_likelihood - exact).abs() < 4 * run.standard_error + 1e-3).all()
    assert (run.standard_error < 0.2).all()


def test_a_decoder_that_ignores_its_latent_is_exact_in_every_chain() -> None:
    x = torch.rand(3, 2, 5, generator=seeded(), dtype=torch.float64)
    run = ais(
        lambda z: 0 * z.sum(1)[:, None, None] + x[:1], x, sigma2=0.3, latent_dim=2, temperatures=9, generator=seeded()
    )
    exact = -5 * math.log(2 * math.pi * 0.3) - (x - x[:1]).square().sum((1, 2)) / 0.6
    torch.testing.assert_close(run.log_weights, exact[:, None].expand(3, 4))
    assert run.effective_chains.tolist() == pytest.approx([4.0] * 3)
    assert not run.disagree.any()


def test_change_of_units_shifts_by_dims_log_scale() -> None:
    w = linear_decoder(12, 3, dtype=torch.float64)
    x = torch.rand(2, 12, generator=seeded(), dtype=torch.float64)
    settings: dict[str, Any] = dict(latent_dim=3, temperatures=20)
    unit = ais_log_likelihood(lambda z: z @ w.T, x, sigma2=0.1, generator=seeded(), **settings)
    scaled = ais_log_likelihood(lambda z: 255 * z @ w.T, 255 * x, sigma2=0.1 * 255**2, generator=seeded(), **settings)
    torch.testing.assert_close(scaled, unit - 12 * math.log(255))


def test_shape_of_the_images_does_not_matter() -> None:
    w = linear_decoder(12, 3)
    x = torch.rand(2, 12, generator=seeded())
    settings: dict[str, Any] = dict(sigma2=0.1, latent_dim=3, temperatures=10)
    flat = ais_log_likelihood(lambda z: z @ w.T, x, generator=seeded(), **settings)
    shaped = ais_log_likelihood(
        lambda z: (z @ w.T).view(-1, 3, 2, 2), x.view(2, 3, 2, 2), generator=seeded(), **settings
    )
    torch.testing.assert_close(flat, shaped)
    assert flat.shape == (2,)
    assert flat.dtype == torch.float64


def test_with_a_generator_an_image_its_estimate_does_not_depend_on_the_batch() -> None:
    w = linear_decoder(12, 3, dtype=torch.float64)
    x = torch.rand(3, 12, generator=seeded(), dtype=torch.float64)
    settings: dict[str, Any] = dict(sigma2=0.1, latent_dim=3, temperatures=20)
    together = ais_log_likelihood(lambda z: z @ w.T, x, generator=[seeded(i) for i in range(3)], **settings)
    alone = ais_log_likelihood(lambda z: z @ w.T, x[1:2], generator=[seeded(1)], **settings)
    torch.testing.assert_close(together[1:2], alone)


def test_all_images_and_chains_share_each_call_of_the_decoder() -> None:
    w, calls = linear_decoder(4, 2), list[int]()

    def decoder(z: torch.Tensor) -> torch.Tensor:
        calls.append(len(z))
        return z @ w.T

    ais_log_likelihood(decoder, torch.rand(5, 4), sigma2=0.1, latent_dim=2, temperatures=7, chains=3, leapfrog=2)
    assert calls == [15] * (7 * 2 + 1)


def test_pooling_effective_chains_and_disagreement() -> None:
    log_weights = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -10.0, -10.0, -10.0]], dtype=torch.float64)
    nothing = torch.zeros_like(log_weights)
    forward, reverse = (AISRun(s * log_weights, nothing, nothing, nothing, reverse=s < 0) for s in (1, -1))
    q = math.exp(-10)
    assert forward.log_likelihood.tolist() == pytest.approx([0.0, math.log((1 + 3 * q) / 4)])
    torch.testing.assert_close(reverse.log_likelihood, -forward.log_likelihood)
    for run in (forward, reverse):
        assert run.effective_chains.tolist() == pytest.approx([4.0, (1 + 3 * q) ** 2 / (1 + 3 * q * q)])
        # One chain carries everything: (4/1 - 1)/3 = 1, the largest that the first-order error can state.
        assert run.standard_error.tolist() == pytest.approx([0.0, 1.0], abs=1e-3)
        assert run.disagree.tolist() == [False, True]
    single = AISRun(log_weights[:, :1], nothing, nothing, nothing)
    assert single.standard_error.isnan().all()
    assert single.spread.isnan().all()
    assert not single.disagree.any()


def test_bits_per_dimension_are_those_of_table_1() -> None:
    # A uniform density on [0, 1]^D costs all 8 bits; Table 1 prints likelihoods, so with a minus.
    assert log_likelihood_bits(torch.zeros(1), 3072).item() == -8.0
    # Errors of the noise's own variance cost 0.5·log2(2·pi·e·sigma²) bits. With Table 3's variances that lies just
    # above what Table 1 prints for CIFAR10, which the cost of the latent lowers further.
    for sigma2, printed in ((0.008, -6.68), (0.018, -7.27)):
        best = -0.5 * 3072 * math.log(2 * math.pi * math.e * sigma2)
        assert 0 < log_likelihood_bits(torch.tensor(best), 3072).item() - printed < 0.2


BatchNorm = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(sigma2=0.0), "sigma2"),
        (dict(sigma2=math.nan), "sigma2"),
        (dict(chains=0), "chains"),
        (dict(schedule="linear"), "schedule"),
        (dict(x=torch.zeros(3, 4, dtype=torch.uint8)), "floating"),
        (dict(x=torch.full((3, 4), math.nan)), "finite"),
        (dict(x=torch.zeros(3, 4, dtype=torch.float16)), "float32"),
        (dict(x=torch.zeros(3, 5)), "decoder gave"),
        (dict(decoder=lambda z: (z / 0).repeat(1, 2)), "not finite"),
        (dict(decoder=BatchNorm), "eval"),
        (dict(generator=[seeded()]), "generators"),
        (dict(start=torch.zeros(2, 2)), "start"),
    ],
)
def test_bad_arguments_are_named(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = dict(
        decoder=lambda z: z.repeat(1, 2), x=torch.zeros(3, 4), sigma2=0.1, latent_dim=2, temperatures=2
    )
    with pytest.raises(ValueError, match=message):
        ais(**(arguments | changed))
