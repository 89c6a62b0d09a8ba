"""The gate's logic: targets, outcomes, what an acceptance is worth, and the paper's statements about rejection."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.gate import LEAST, POWER, Gate, Mode, adjusted_target, plain_target
from genaudit.metrics.power import plan
from genaudit.stats.occupancy import cdf, rejection_power, rejection_threshold


def _draws(support: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, support, n)


def _decide(gate: Gate, draws: np.ndarray) -> str:
    gate.update(draws)
    return gate.verdict(finished=True).decision


def test_figure_7_rejects_below_55_of_60_samples_at_800_training_images() -> None:
    """Section 7 with 800 training images: "by sampling as few as 60 images" a low diversity model is rejected."""
    target = plain_target(800, 1.0, 0.05)
    for learned, expected in ((54, "reject"), (55, "accept")):
        gate = Gate(target, mode="fixed", horizon=60)
        gate.update(np.r_[np.arange(learned), np.zeros(60 - learned, int)])
        verdict = gate.verdict()
        assert (verdict.decision, verdict.threshold, verdict.n_learned) == (expected, 55, learned)
    assert Gate(target, mode="fixed", horizon=60).target.s_target == 800


def test_figure_7_low_diversity_model_is_rejected_within_60_samples() -> None:
    for seed in range(5):
        gate = Gate(plain_target(800, 1.0, 0.05), mode="sequential", horizon=60)
        gate.update(_draws(100, 60, seed))  # P(K <= 54 | 60, 100) is 1 to 6 digits
        verdict = gate.verdict()
        assert verdict.decision == "reject"
        assert verdict.first_rejected_at is not None
        assert verdict.first_rejected_at < 60


def test_figure_9_thresholds_of_15_samples() -> None:
    """32 training images: 10 to 14 learned images are expected; 10 reject 39."""
    for n_train, learned, expected in ((32, 9, "reject"), (32, 10, "accept"), (38, 10, "accept"), (39, 10, "reject")):
        gate = Gate(plain_target(n_train, 1.0, 0.05), mode="fixed", horizon=15)
        assert _decide(gate, np.r_[np.arange(learned), np.zeros(15 - learned, int)]) == expected


def test_section_11_threshold_at_imagenet_scale() -> None:
    """The paper: reject below 48,744. Exactly, 48,744 itself has P = 4.963 % and is rejected too."""
    gate = Gate(plain_target(1_281_166, 0.8, 0.05), mode="fixed", horizon=50_000)
    assert gate.target.s_target == 1_024_933
    assert gate.thresholds(np.array([50_000]))[0] == 48_745
    assert float(cdf(48_744, 50_000, 1_024_933)) == pytest.approx(0.04963, abs=5e-6)
    # "over 1,257 duplicates" reject at once in the paper; with the exact threshold 1,256 do, whatever comes
    gate.update(np.zeros(1256, int))
    assert not gate.decided
    gate.update([0])
    assert gate.verdict().first_rejected_at == 1257


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
def test_diverse_models_are_accepted_and_collapsed_ones_rejected(mode: Mode) -> None:
    for support, expected in ((1000, "accept"), (100, "reject"), (1, "reject")):
        gate = Gate(plain_target(1000, 0.8, 0.05), mode=mode, horizon=300)
        assert _decide(gate, _draws(support, 300)) == expected


def test_acceptance_needs_enough_samples_to_reject_a_tenth_of_the_target() -> None:
    target = plain_target(1000, 0.8, 0.05)
    enough = next(n for n in range(2, 200) if rejection_power(n, round(LEAST * 800), 800, 0.05) >= POWER)
    for n, expected in ((2, "undecided"), (enough - 1, "undecided"), (enough, "accept")):
        gate = Gate(target, mode="fixed", horizon=n)
        gate.update(np.arange(n))
        verdict = gate.verdict()
        assert verdict.decision == expected, n
        assert ("too few" in verdict.reasons[0]) == (expected == "undecided")


def test_detectable_irs_is_the_largest_diversity_rejected_with_the_stated_power() -> None:
    gate = Gate(plain_target(1000, 0.8, 0.05), mode="fixed", horizon=300)
    gate.update(_draws(1000, 300))
    support = round(gate.verdict().detectable_irs * 1000)
    assert rejection_power(300, support, 800, 0.05) >= POWER
    assert rejection_power(300, support + 1, 800, 0.05) < POWER


def test_reaching_the_target_itself_is_accepted_whatever_the_number_of_samples() -> None:
    gate = Gate(plain_target(10, 0.2, 0.05), mode="sequential")
    gate.update([0, 1])
    assert gate.verdict().decision == "accept"


def test_without_a_horizon_only_the_end_of_the_samples_accepts() -> None:
    gate = Gate(plain_target(1000, 0.8, 0.05))
    gate.update(_draws(1000, 400))
    assert gate.verdict().decision == "undecided"
    assert gate.verdict(finished=True).decision == "accept"
    short = Gate(plain_target(1000, 0.8, 0.05), mode="sequential", horizon=400)
    short.update(_draws(1000, 50))
    assert short.verdict(finished=True).decision == "undecided"  # 350 of the promised samples never came


@pytest.mark.parametrize(("mode", "horizon"), [("fixed", 80), ("sequential", 80), ("sequential", None)])
@pytest.mark.parametrize("support", [12, 400])
def test_drawing_by_lookahead_wastes_no_sample_and_decides_as_one_by_one(
    mode: Mode, horizon: int | None, support: int
) -> None:
    target, draws = plain_target(400, 0.6, 0.05), _draws(support, 80, support)
    single, ahead = Gate(target, mode=mode, horizon=horizon), Gate(target, mode=mode, horizon=horizon)
    taken = 0
    while not single.decided and taken < len(draws):
        single.update(draws[taken : taken + 1])
        taken += 1
    batches = 0
    while not ahead.decided and ahead.n_sampled < len(draws):
        ahead.update(draws[ahead.n_sampled :][: ahead.lookahead(64)])
        batches += 1
    assert ahead.n_sampled == single.n_sampled == taken
    assert batches < taken  # and it is no sample-by-sample loop
    assert ahead.verdict().decision == single.verdict().decision


def test_gap_adjusted_target_is_a_share_of_the_references_lower_bound() -> None:
    real = _draws(300, 200, 7)
    target = adjusted_target(real, 1000, 0.9, 0.05, 150)
    assert target.reach is not None
    assert len(target.reach.retrieved) == 150
    assert target.level == 0.025
    assert target.s_target == int(np.ceil(0.9 * target.reach.irs_inf.lower * 1000 - 1e-9))
    assert target.s_target < 0.9 * 300 < plain_target(1000, 0.9, 0.05).s_target
    gate = Gate(target, mode="sequential", horizon=5000)
    assert gate.horizon == 150  # no more samples than real images to compare with
    assert gate.limited


def test_model_as_diverse_as_uneven_real_images_is_rejected_with_probability_at_most_alpha() -> None:
    """Retrieval in feature space is uneven: real images reach 1,000 training images with probabilities of all sizes."""
    rng = np.random.default_rng(0)
    p = rng.exponential(size=1000) ** 1.5
    p /= p.sum()
    rejected = 0
    runs = 60
    for _ in range(runs):
        real, ours = rng.choice(1000, 200, p=p), rng.choice(1000, 200, p=p)
        gate = Gate(adjusted_target(real, 1000, 1.0, 0.05, 200), mode="sequential", horizon=200)
        gate.update(ours)
        rejected += gate.test.decision.decision == "reject"
    # binomial standard error at alpha: sqrt(.05 * .95 / 60) = 0.028
    assert rejected / runs < 0.05 + 3 * 0.028
    # without a reference the same model is rejected as too uneven for a uniform one over everything
    plain = Gate(plain_target(1000, 1.0, 0.05), mode="fixed", horizon=200)
    assert _decide(plain, rng.choice(1000, 200, p=p)) == "reject"


def test_uneven_retrieval_is_said_in_the_decision_and_even_retrieval_is_not() -> None:
    even, rng = _draws(1000, 400, 3), np.random.default_rng(3)
    uneven = np.where(rng.random(400) < 0.3, rng.integers(0, 12, 400), rng.integers(0, 1000, 400))
    real = rng.integers(0, 1000, 400)
    for draws, amplified in ((even, False), (uneven, True)):
        gate = Gate(adjusted_target(real, 1000, 0.5, 0.05, 400), mode="fixed", horizon=400)
        gate.update(draws)
        verdict = gate.verdict()
        assert verdict.bias.fits != amplified
        text = " ".join(verdict.reasons)
        assert ("does not fit" in text) == amplified
        assert ("Bias is amplified" in text) == amplified


def test_wrong_arguments_are_refused() -> None:
    for n_train, share, alpha in ((10, 0.0, 0.05), (10, 1.1, 0.05), (10, 0.5, 0.0), (10, 0.5, 0.5), (0, 0.5, 0.05)):
        with pytest.raises(ValueError):
            plain_target(n_train, share, alpha)
    with pytest.raises(ValueError, match="how many"):
        Gate(plain_target(10, 0.5, 0.05), mode="fixed")
    with pytest.raises(ValueError, match="no sample"):
        Gate(plain_target(10, 0.5, 0.05)).verdict()
    with pytest.raises(ValueError, match="real images"):
        adjusted_target(np.array([3]), 10, 0.5, 0.05, None)


def test_plan_names_sample_numbers_that_reach_the_power_and_no_step_before() -> None:
    made = plan(800, 0.8, 0.05, diversities=[0.1, 0.4], powers=[0.8, 0.99])
    for diversity, row in zip(made.diversities, made.samples, strict=True):
        for power, n in zip(made.powers, row, strict=True):
            assert rejection_power(int(n), round(diversity * 800), 640, 0.05) >= power
            assert rejection_power(int(n) - 1, round(diversity * 800), 640, 0.05) < power
    assert (np.diff(made.samples, axis=0) > 0).all()  # closer to the target: more samples
    assert (np.diff(made.samples, axis=1) > 0).all()
    for wrong in ([0.8], [0.0001], [0.9]):
        with pytest.raises(ValueError, match="diversity"):
            plan(800, 0.8, 0.05, diversities=wrong)
    with pytest.raises(ValueError, match="no smaller"):
        plan(2, 0.5, 0.05)


def test_fixed_gate_agrees_with_equation_9() -> None:
    for seed in range(20):
        draws = _draws(300, 60, seed)
        expected = "reject" if len(set(draws.tolist())) < rejection_threshold(60, 640, 0.05) else "accept"
        assert _decide(Gate(plain_target(800, 0.8, 0.05), mode="fixed", horizon=60), draws) == expected
