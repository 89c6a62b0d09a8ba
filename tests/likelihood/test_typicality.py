"""Typicality on Gaussians, whose entropy and typical radius are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2

from genaudit.likelihood.typicality import estimate_entropy, typical_radius, typicality_test

DIMS = 10
ENTROPY = DIMS / 2 * math.log(2 * math.pi * math.e)


def log_likelihood(count: int, *, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """log N(x; 0, I) of `count` images x ~ N(shift, scale²·I)."""
    x = shift + scale * np.random.default_rng(seed).standard_normal((count, DIMS))
    return -0.5 * np.square(x).sum(1) - DIMS / 2 * math.log(2 * math.pi)


def test_entropy_of_a_gaussian() -> None:
    samples = 40_000
    # var(log p) = var(chi²_D)/4 = D/2; 4 standard errors.
    assert abs(estimate_entropy(log_likelihood(samples)) - ENTROPY) < 4 * math.sqrt(DIMS / 2 / samples)


@pytest.mark.parametrize("size", [1, 10, 75])
def test_radius_is_the_exact_quantile(size: int) -> None:
    # N·(mean log p + H) = (D·N - chi²_{D·N})/2.
    freedom = DIMS * size

    def level(radius: float) -> float:
        return float(np.diff(chi2(freedom).cdf([freedom - 2 * size * radius, freedom + 2 * size * radius]))[0]) - 0.95

    exact = brentq(level, 0, 20 * DIMS)
    radius = typical_radius(log_likelihood(40_000, seed=1), size, entropy=ENTROPY)
    # In units of a batch mean's deviation s the quantile is about 1.96 with density 2·phi(1.96) = 0.117: 10,000
    # resamples place it to sqrt(0.95·0.05/10,000)/0.117 = 0.019 s, 40,000 samples know s to 0.7 %: 1.2 %; 4 of these.
    assert radius == pytest.approx(exact, rel=0.048)


def test_false_alarms_are_those_asked_for() -> None:
    trials = 2000
    result = typicality_test(
        log_likelihood(200_000, seed=2), generated=log_likelihood(40_000, seed=3), trials=trials, seed=4
    )
    assert result.sizes == (10, 25, 50, 75)
    # Binomial 0.0049, level of the radius by 10,000 resamples 0.0022, by its 20,000 samples' deviation 0.0016; 4 of
    # these together. Offsets of H and of the held-out mean, sqrt(2·75/20,000) = 0.09 of s, change the level
    # by under 0.002.
    for fraction in result.typical_fraction:
        assert fraction == pytest.approx(0.95, abs=4 * math.hypot(0.0049, 0.0022, 0.0016) + 0.002)
    # Half of the alarms on either side, but for the skewness of chi².
    assert all(0 < fraction < 0.05 for fraction in result.too_likely_fraction)


@pytest.mark.parametrize("size", [10, 75])
def test_few_samples_of_the_model_leave_its_own_batches_typical_and_shifted_ones_not(size: int) -> None:
    """Over fresh models of 160 samples; each of its own batches should be typical with 95 %, a shifted one rarely."""
    own, shifted, seen = [], [], []
    for seed in range(60):
        generated = log_likelihood(160, seed=3 * seed)
        # the shift that 98.5 % of batches of this size show where entropy and radius are known
        away = (1.96 + 2.17) * math.sqrt(DIMS / 2 / size)
        options: dict[str, Any] = dict(generated=generated, sizes=(size,), trials=20, resamples=1000, seed=seed)
        fresh = log_likelihood(2000, seed=3 * seed + 1)
        own.append(typicality_test(fresh, **options).typical_fraction[0])
        found = typicality_test(fresh - away, **options)
        shifted.append(found.typical_fraction[0])
        seen.append(found.detectable[0] / away)
    # 60 models, whose own shares spread by 0.1 or less: 4 standard errors of 0.013
    assert np.mean(own) == pytest.approx(0.95, abs=0.052)
    # H's error widens the radius by up to sqrt(1 + 75/160) - 1 = 0.21 of 1.96 s and moves it by as much: of the
    # 4.13 s of the shift 3.7 s are left on average, and sqrt(1 + 75/160) = 1.21 s is the spread: P(z > 1.46) = 7 %.
    # Entropy and radius from a quarter of the samples each, without the entropy's error, call 30 % of them typical.
    assert np.mean(shifted) < 0.13
    # 80 % instead of 98.5 %: (1.96 + 0.84) / 4.13 = 0.68, wider by H's error
    assert 0.6 < np.mean(seen) < 0.95


def test_what_is_detectable_is_seen_in_four_of_five_batches() -> None:
    generated = log_likelihood(20_000, seed=1)
    shift = typicality_test(generated, generated=generated, sizes=(25,)).detectable[0]
    for sign in (-1, 1):
        images = log_likelihood(20_000, seed=2) + sign * shift
        found = typicality_test(images, generated=generated, sizes=(25,), trials=2000)
        # 80 % on the side that is harder to see (chi² is skewed), more on the other; binomial 0.009
        assert 0.8 - 4 * 0.009 < 1 - found.typical_fraction[0] < 0.93


def test_shifted_images_are_less_and_less_typical_and_never_too_likely() -> None:
    result = typicality_test(log_likelihood(5000, shift=0.5, seed=5), generated=log_likelihood(10_000))
    # E log p falls by D·0.25/2 = 1.25; s = sqrt((D/2)/N) = 0.26 at N = 75, so that the mean lies 4.8 s out.
    assert result.typical_fraction[0] > result.typical_fraction[1] > result.typical_fraction[3]
    assert result.typical_fraction[3] < 0.05
    assert result.too_likely_fraction[2:] == (0.0, 0.0)
    # Over 5000 images: 4 standard errors, var(log p) = D/2 + D·0.25, and H's over 5000 samples.
    assert result.deviation == pytest.approx(-1.25, abs=4 * math.sqrt((7.5 + 5) / 5000))


def test_images_that_are_too_likely_are_rejected() -> None:
    result = typicality_test(log_likelihood(1000, scale=0.3, seed=6), generated=log_likelihood(10_000))
    # Closer to the mode than samples ever are: E log p rises by D·(1 - 0.09)/2 = 4.55, 6 s already at N = 10.
    assert result.typical_fraction == (0.0,) * 4
    assert result.too_likely_fraction == (1.0,) * 4
    # 4 standard errors: of H's over 5,000 samples with variance D/2, of the images' mean with D/2·0.09²
    assert result.deviation == pytest.approx(4.55, abs=4 * math.sqrt(5 / 5000 + 5 * 0.09**2 / 1000))


def test_units_do_not_matter() -> None:
    images, samples = log_likelihood(300, shift=0.3, seed=7), log_likelihood(400)
    nats = typicality_test(images, generated=samples)
    bits = typicality_test(images / (DIMS * math.log(2)) - 8, generated=samples / (DIMS * math.log(2)) - 8)
    assert bits.typical_fraction == nats.typical_fraction
    assert bits.radius == pytest.approx([radius / (DIMS * math.log(2)) for radius in nats.radius])


def test_held_out_samples_alone_set_the_radius() -> None:
    constant = np.full(50, -3.0)
    result = typicality_test(constant, generated=constant, held_out=constant - 1, sizes=(5,))
    assert (result.entropy, result.radius, result.typical_fraction) == (3.0, (1.0,), (1.0,))


def test_the_seed_decides() -> None:
    images, samples = log_likelihood(300, shift=0.3, seed=7), log_likelihood(400)
    assert typicality_test(images, generated=samples, seed=1) == typicality_test(images, generated=samples, seed=1)
    assert typicality_test(images, generated=samples, seed=1) != typicality_test(images, generated=samples, seed=2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(log_likelihood=np.zeros(74)), "75"),
        (dict(log_likelihood=np.zeros((100, 1))), "shape"),
        (dict(generated=np.zeros(1)), "two"),
        (dict(generated=np.array([0.0, np.nan])), "finite"),
        (dict(sizes=()), "sizes"),
        (dict(trials=0), "trials"),
        (dict(confidence=1.0), "confidence"),
    ],
)
def test_bad_arguments_are_named(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = dict(log_likelihood=np.zeros(100), generated=np.zeros(100))
    with pytest.raises(ValueError, match=message):
        typicality_test(**(arguments | changed))
