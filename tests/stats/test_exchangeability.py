"""The tests against held-out real images: exact enumeration, level at the boundary of the null, power."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from genaudit.stats.exchangeability import Relabelling, diversity_pvalue


def _law(items: int, unevenness: float, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).exponential(size=items) ** unevenness
    return np.asarray(p / p.sum())


def test_relabellings_are_the_exact_permutation_distribution() -> None:
    """All C(8, 4) labellings of the pooled retrievals, equally many of both."""
    ours, real = [0, 0, 0, 1], [2, 3, 0, 4]
    pooled = np.array(ours + real)
    every = []
    for chosen in combinations(range(8), 4):
        rest = np.setdiff1d(np.arange(8), chosen)
        every.append(len(set(pooled[list(chosen)])) - len(set(pooled[rest])))
    exact = np.mean(np.array(every) <= len(set(ours)) - len(set(real)))
    found = Relabelling(ours, real).pvalue(relabellings=20_000, above=1.0)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))


def test_expected_distinct_is_the_rarefied_count_of_the_real_images_times_the_share() -> None:
    real = [0, 0, 1, 2, 3, 4]
    test = Relabelling([7, 7], real, share=0.5)
    pairs = [len(set(s)) for s in combinations(real, 4)]
    assert test.expected == pytest.approx(0.5 * np.mean(pairs), rel=1e-12)
    assert test.statistic == 1 - test.expected


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_counts_that_change_places_have_the_mean_and_variance_of_exchangeable_ones(share: float) -> None:
    """I items that 2 I real images retrieve twice each, in two blocks; n = share * I samples retrieve other ones.

    The slope is 1/2: F(m) = I (1 - (2I-m)(2I-m-1) / (2I (2I-1))), its central difference at m = I. So an item enters
    with 1/2 for a sample's image, with 1/2 for each kept block that draws it once, and with 0 for a block that draws it
    twice. One of three values (v0, v1, v2) at random, less their mean, times 3/2: mean 0, variance 9/4 of theirs.
    """
    items, draws = 40, 20_000
    test = Relabelling(np.arange(int(share * items)) + 1000, np.repeat(np.arange(items), 2), share=share)
    drawn = test._swapped(draws, np.random.default_rng(0))
    # E var(0, a, b) of an item in both blocks (probability 1/2), a and b = 1/2 with probability `share` each
    both = (2 * share / 4) / 3 - (2 * share / 4 + 2 * share**2 / 4) / 9
    variance = 9 / 4 * (items * both / 2 + len(test.ours[test.ours > 0]) * (1 / 4) * (1 / 3 - 1 / 9))
    assert drawn.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / draws))
    assert drawn.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / draws))  # a sum of dozens: nearly normal


@pytest.mark.parametrize(("share", "unevenness"), [(1.0, 0.0), (1.0, 2.0), (0.8, 0.0), (0.8, 2.0), (0.5, 1.0)])
def test_model_at_the_target_is_rejected_with_probability_at_most_alpha(share: float, unevenness: float) -> None:
    """At the boundary of the null: the real law restricted to a random share of the items, however uneven it is."""
    rng, p = np.random.default_rng(1), _law(400, unevenness)
    runs, rejected = 150, 0
    for run in range(runs):
        kept = rng.random(400) < share
        ours = rng.choice(400, 120, p=p * kept / (p * kept).sum())
        real = rng.choice(400, int(np.ceil(120 / share)), p=p)
        rejected += Relabelling(ours, real, share=share, seed=run).pvalue(relabellings=199, above=0.1) <= 0.05
    assert rejected / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_models_that_reach_less_are_rejected(share: float) -> None:
    rng, p = np.random.default_rng(2), _law(400, 1.0)
    for support, runs, least in ((0.3 * share, 20, 16), (0.1 * share, 10, 10)):
        rejected = 0
        for run in range(runs):
            kept = rng.permutation(400)[: int(support * 400)]
            ours = rng.choice(kept, 250, p=p[kept] / p[kept].sum())
            test = Relabelling(ours, rng.choice(400, int(250 / share), p=p), share=share, seed=run)
            rejected += test.pvalue(relabellings=399) <= 0.05
        assert rejected >= least, support


@pytest.mark.parametrize("share", [1.0, 0.8, 0.2])
@pytest.mark.parametrize("images", [1, 2, 3])
def test_collapse_onto_few_images_is_rejected_after_few_samples(share: float, images: int) -> None:
    """Changing places image by image cannot see it: one image alone changes place with probability 1/2."""
    real = np.random.default_rng(3).integers(0, 5000, 400)
    ours = np.arange(24) % images + 9000
    assert diversity_pvalue(ours, real, share=share) < 0.005


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_threshold_is_the_fewest_that_the_pvalue_does_not_reject(share: float) -> None:
    rng = np.random.default_rng(4)
    for run in range(6):
        ours, real = rng.integers(0, 40 + 15 * run, 70), rng.integers(0, 120, 110)
        test = Relabelling(ours, real, share=share, seed=run)
        rejects = test.pvalue(relabellings=999, above=1.0) <= 0.05
        assert rejects == (test.learned < test.threshold(0.05, relabellings=999)), run


def test_as_diverse_as_asked_for_is_never_rejected_and_the_seed_repeats() -> None:
    real = np.arange(50)
    assert diversity_pvalue(np.arange(50) + 100, real) == 1
    ours = np.random.default_rng(0).integers(0, 25, 50)
    assert diversity_pvalue(ours, real, seed=3) == diversity_pvalue(ours[::-1], real, seed=3)


@pytest.mark.parametrize(
    ("ours", "real", "share", "match"),
    [([], [1, 2], 1.0, "needs a sample"), ([1, 2], [1], 1.0, "need 2 real"), ([1], [1], 0.0, "share must lie")],
)
def test_wrong_arguments_are_refused(ours: list[int], real: list[int], share: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        diversity_pvalue(ours, real, share=share)
