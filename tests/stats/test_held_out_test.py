"""The test that looks several times: its looks, its level, its power and the number of samples that it asks for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudit.stats import held_out_test
from genaudit.stats.held_out_test import (
    Design,
    HeldOutTest,
    levels,
    looks,
    most_samples,
    real_needed,
    samples_needed,
)
from genaudit.stats.rarefaction import Law


@given(st.integers(1, 100_000), st.floats(0.001, 0.4))
def test_looks_end_at_the_horizon_and_their_levels_sum_to_alpha(horizon: int, alpha: float) -> None:
    found = looks(horizon, sequential=True)
    assert found == sorted(set(found))
    assert found[-1] == horizon
    assert sum(levels(alpha, len(found))) == pytest.approx(alpha, rel=1e-12)
    assert looks(horizon, sequential=False) == [horizon]
    assert levels(alpha, 1) == [alpha]


@given(st.integers(1, 10_000), st.sampled_from([1.0, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1]))
def test_samples_and_real_images_belong_together(samples: int, share: float) -> None:
    real = real_needed(samples, share)
    assert most_samples(real, share) >= samples
    assert most_samples(real - 1, share) < samples


def test_model_at_the_target_is_rejected_with_probability_at_most_alpha_over_all_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_out_test, "RELABELLINGS", 999)
    rng = np.random.default_rng(0)
    p = rng.exponential(size=300) ** 1.5
    p /= p.sum()
    runs, rejected = 100, 0
    for run in range(runs):
        test = HeldOutTest(rng.choice(300, 150, p=p), 1.0, 0.05, 150, seed=run)
        test.update(rng.choice(300, 150, p=p))
        rejected += test.rejected
    assert rejected / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_collapsed_model_is_rejected_after_some_ten_samples(share: float) -> None:
    real = np.random.default_rng(1).integers(0, 1000, 500)
    for images in (1, 3):
        test = HeldOutTest(real, share, 0.05, 400)
        test.update(np.arange(400) % images)
        assert test.rejected
        assert test.seen[-1].n_sampled <= 18


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_batches_make_no_difference(sizes: list[int]) -> None:
    rng = np.random.default_rng(2)
    real, draws = rng.integers(0, 60, 60), rng.integers(0, 50, 60)
    whole, parts = HeldOutTest(real, 1.0, 0.05, 60), HeldOutTest(real, 1.0, 0.05, 60)
    whole.update(draws)
    start = 0
    for size in [*sizes, 60]:
        parts.update(draws[start : start + size])
        start += size
    assert parts.seen == whole.seen
    assert parts.n_sampled == 60


@pytest.mark.parametrize(("share", "unevenness"), [(1.0, 0.0), (0.8, 1.0), (0.5, 1.0)])
def test_power_is_what_simulated_models_meet(share: float, unevenness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out_test, "RELABELLINGS", 399)
    monkeypatch.setattr(held_out_test, "FEWEST", 399)
    rng = np.random.default_rng(3)
    p = rng.exponential(size=500) ** unevenness
    p /= p.sum()
    law, model = Law(p, np.ones(500)), 0.5 * share
    n = samples_needed(law, share, 0.5, 0.05, 0.8, 10_000)
    assert n is not None
    runs, rejected = 60, 0
    for run in range(runs):
        kept = rng.random(500) < model
        ours = rng.choice(500, n, p=p * kept / (p * kept).sum())
        test = HeldOutTest(rng.choice(500, real_needed(n, share), p=p), share, 0.05, n, sequential=False, seed=run)
        test.update(ours)
        rejected += test.rejected
    # the normal approximation is good to a tenth at some hundred samples; three standard errors are 0.155
    assert 0.8 - 0.1 - 0.155 <= rejected / runs <= 1
    assert Design(law, share, 0.05, n, real_needed(n, share)).power(model) >= 0.8
    assert Design(law, share, 0.05, n - 1, real_needed(n - 1, share)).power(model) < 0.8


def test_more_samples_and_less_diversity_have_more_power() -> None:
    law = Law.even(1000)
    powers = [Design(law, 0.8, 0.05, n, real_needed(n, 0.8)).power(0.4) for n in (50, 100, 200, 400)]
    assert powers == sorted(powers)
    design = Design(law, 0.8, 0.05, 200, 250)
    shares = [design.power(share) for share in (0.7, 0.4, 0.2, 0.05)]
    assert shares == sorted(shares)
    assert samples_needed(law, 0.8, 0.5, 0.05, 0.8, 20) is None


def test_more_samples_than_the_real_images_allow_are_refused() -> None:
    with pytest.raises(ValueError, match="81 samples at share"):
        HeldOutTest(np.arange(100), 0.8, 0.05, 81)
    with pytest.raises(ValueError, match="alpha"):
        HeldOutTest(np.arange(100), 0.8, 0.0, 10)
