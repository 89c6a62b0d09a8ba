"""The absolute gate: Eq. 9, outcomes, what an acceptance is worth, and the paper's statements about rejection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genaudit.metrics.absolute_gate import AbsoluteGate
from genaudit.metrics.gate import Mode, Question
from genaudit.metrics.power import plan
from genaudit.stats.occupancy import cdf, estimate_support, rejection_power, rejection_threshold


def _draws(support: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, support, n)


def _gate(n_train: int, target: float, **keys: Any) -> AbsoluteGate:
    return AbsoluteGate(n_train, Question(target, 0.05), **keys)


def _decide(gate: AbsoluteGate, draws: np.ndarray) -> str:
    gate.update(draws)
    return gate.verdict(finished=True).decision


def test_figure_7_rejects_below_55_of_60_samples_at_800_training_images() -> None:
    """Section 7 with 800 training images: "by sampling as few as 60 images" a low diversity model is rejected."""
    for learned, expected in ((54, "reject"), (55, "undecided")):  # 60 samples would not catch a half of 800
        gate = _gate(800, 1.0, mode="fixed", horizon=60)
        gate.update(np.r_[np.arange(learned), np.arange(60 - learned)])
        verdict = gate.verdict()
        assert (verdict.decision, verdict.threshold, verdict.n_learned) == (expected, 55, learned)
        assert verdict.s_target == 800


def test_figure_7_low_diversity_model_is_rejected_within_60_samples() -> None:
    for seed in range(5):
        gate = _gate(800, 1.0, horizon=60)
        gate.update(_draws(100, 60, seed))  # P(K <= 54 | 60, 100) is 1 to 6 digits
        verdict = gate.verdict()
        assert verdict.decision == "reject"
        assert verdict.first_rejected_at is not None
        assert verdict.first_rejected_at < 60


def test_figure_9_thresholds_of_15_samples() -> None:
    """32 training images: 10 to 14 learned images are expected; 10 reject 39."""
    for n_train, learned, rejected in ((32, 9, True), (32, 10, False), (38, 10, False), (39, 10, True)):
        gate = _gate(n_train, 1.0, mode="fixed", horizon=15)
        gate.update(np.r_[np.arange(learned), np.arange(15 - learned)])
        assert (gate.verdict().decision == "reject") == rejected


def test_section_11_threshold_at_imagenet_scale() -> None:
    """The paper: reject below 48,744. Exactly, 48,744 itself has P = 4.963 % and is rejected too."""
    gate = _gate(1_281_166, 0.8, mode="fixed", horizon=50_000)
    assert gate.test.s_target == 1_024_933
    assert gate.boundary(np.array([50_000]))[0] == 48_745
    assert float(cdf(48_744, 50_000, 1_024_933)) == pytest.approx(0.04963, abs=5e-6)
    # "over 1,257 duplicates" reject at once in the paper; with the exact threshold 1,256 do, whatever comes
    gate.update(np.zeros(1256, int))
    assert not gate.decided
    gate.update([0])
    assert gate.test.decision.first_rejected_at == 1257


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
def test_diverse_models_are_accepted_and_collapsed_ones_rejected(mode: Mode) -> None:
    for support, expected in ((1000, "accept"), (100, "reject"), (1, "reject")):
        gate = _gate(1000, 0.8, mode=mode, horizon=300)
        assert _decide(gate, _draws(support, 300)) == expected


@pytest.mark.parametrize("detect", [0.5, 0.2])
def test_acceptance_needs_enough_samples_to_reject_what_must_be_detectable(detect: float) -> None:
    enough = next(n for n in range(2, 400) if rejection_power(n, round(detect * 800), 800, 0.05) >= 0.8)
    for n, expected in ((2, "undecided"), (enough - 1, "undecided"), (enough, "accept")):
        gate = AbsoluteGate(1000, Question(0.8, 0.05, detect=detect), mode="fixed", horizon=n)
        gate.update(np.arange(n))
        verdict = gate.verdict()
        assert verdict.decision == expected, n
        assert (verdict.samples_needed is not None) == (expected == "undecided")
        if expected == "undecided":
            assert verdict.samples_needed == enough
            assert f"About {enough:,} samples" in " ".join(verdict.reasons)


def test_detectable_is_the_largest_diversity_rejected_with_the_stated_power() -> None:
    gate = _gate(1000, 0.8, mode="fixed", horizon=300)
    gate.update(_draws(1000, 300))
    support = round(gate.verdict().detectable * 800)
    assert rejection_power(300, support, 800, 0.05) >= 0.8
    assert rejection_power(300, support + 1, 800, 0.05) < 0.8


def test_reaching_the_target_itself_is_accepted_whatever_the_number_of_samples() -> None:
    gate = _gate(10, 0.2)
    gate.update([0, 1])
    assert gate.verdict().decision == "accept"


def test_without_a_horizon_only_the_end_of_the_samples_accepts() -> None:
    gate = _gate(1000, 0.8)
    gate.update(_draws(1000, 400))
    assert gate.verdict().decision == "undecided"
    assert gate.verdict(finished=True).decision == "accept"
    short = _gate(1000, 0.8, horizon=400)
    short.update(_draws(1000, 50))
    assert short.verdict(finished=True).decision == "undecided"  # 350 of the promised samples never came


@pytest.mark.parametrize(("mode", "horizon"), [("fixed", 80), ("sequential", 80), ("sequential", None)])
@pytest.mark.parametrize("support", [12, 400])
def test_drawing_by_lookahead_wastes_no_sample_and_decides_as_one_by_one(
    mode: Mode, horizon: int | None, support: int
) -> None:
    draws = _draws(support, 80, support)
    single, ahead = (_gate(400, 0.6, mode=mode, horizon=horizon) for _ in range(2))
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


def test_where_uniform_draws_are_rejected_the_answer_is_undecided_and_says_why() -> None:
    """A perfect model with uneven retrieval: Eq. 9 rejects, and the decision must not."""
    rng = np.random.default_rng(0)
    p = rng.exponential(size=1000) ** 1.5
    draws = rng.choice(1000, 400, p=p / p.sum())
    gate = _gate(1000, 1.0, mode="fixed", horizon=400)
    gate.update(draws)
    verdict = gate.verdict()
    assert verdict.n_learned < verdict.threshold
    assert (verdict.decision, verdict.even) == ("undecided", False)
    assert "draws evenly" in verdict.reasons[0]
    assert verdict.irs_inf.upper is None
    # no upper end, since uneven draws repeat themselves more; the lower one is the law's
    assert verdict.irs_inf.lower == estimate_support(verdict.n_learned, 400, alpha=0.05, upper=1000).lower / 1000
    # even samples of an uneven feature space, as the training set among itself shows it
    for evenness, expected in ((0.5, "reject"), (0.001, "undecided")):
        gate = _gate(1000, 0.8, mode="fixed", horizon=400, train_evenness=evenness)
        assert _decide(gate, _draws(300, 400, 1)) == expected


def test_no_statement_of_an_error_probability_without_its_condition() -> None:
    gate = _gate(1000, 0.8, mode="fixed", horizon=400)
    gate.update(_draws(200, 400, 1))
    (reason, *others) = gate.verdict().reasons
    assert "and draws evenly, is rejected with probability at most 0.05" in reason
    assert "that a model that reaches 800 of the 1,000 training images must retrieve" in reason
    assert "real images may not reach the target" in others[0]


@pytest.mark.parametrize(
    "keys", [{"irs_target": 0.0}, {"irs_target": 1.1}, {"alpha": 0.0}, {"alpha": 0.5}, {"detect": 1.0}, {"power": 0.05}]
)
def test_wrong_questions_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(keys))):
        Question(**keys)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="how many"):
        _gate(10, 0.5, mode="fixed")
    with pytest.raises(ValueError, match="no sample"):
        _gate(10, 0.5).verdict()
    with pytest.raises(ValueError, match="mode"):
        _gate(10, 0.5, mode="quick")


def test_plan_names_sample_numbers_that_reach_the_power_and_no_step_before() -> None:
    made = plan(800, Question(0.8, 0.05), absolute=True, diversities=[0.1, 0.4], powers=[0.8, 0.99])
    for diversity, row in zip(made.diversities, made.samples, strict=True):
        for power, n in zip(made.powers, row, strict=True):
            assert rejection_power(int(n), round(diversity * 800), 640, 0.05) >= power
            assert rejection_power(int(n) - 1, round(diversity * 800), 640, 0.05) < power
    assert (np.diff(made.samples, axis=0) > 0).all()  # closer to the target: more samples
    assert (np.diff(made.samples, axis=1) > 0).all()
    for wrong in ([0.8], [0.0001], [0.9]):
        with pytest.raises(ValueError, match="diversity"):
            plan(800, Question(0.8, 0.05), diversities=wrong)
    with pytest.raises(ValueError, match="no smaller"):
        plan(2, Question(0.5, 0.05))


def test_what_no_number_of_samples_can_reject_is_said_and_ends_no_plan() -> None:
    """Which images a share holds is random: 0.72 and 0.8 of 100 images overlap."""
    made = plan(100, Question(0.8, 0.05))
    assert made.samples[0, 0] < made.samples[1, 0] < 100
    assert np.isinf(made.samples[-1]).any()
    assert np.isfinite(plan(100, Question(0.8, 0.05), absolute=True).samples).all()


def test_calibrated_plan_counts_the_real_images_too() -> None:
    made = plan(800, Question(0.8, 0.05), diversities=[0.1, 0.4], powers=[0.8, 0.99])
    assert made.real is not None
    np.testing.assert_array_equal(made.real, np.ceil(made.samples / 0.8 - 1e-9))
    assert made.detect_samples == made.samples[1, 0]  # detect 0.5 of 0.8, with probability 0.8
    exact = plan(800, Question(0.8, 0.05), absolute=True, diversities=[0.4], powers=[0.8])
    # Real images vary too: about twice the variance, and less than three times the samples
    assert exact.samples[0, 0] < made.samples[1, 0] < 3 * exact.samples[0, 0]


def test_fixed_gate_agrees_with_equation_9() -> None:
    for seed in range(6):
        draws = _draws(300, 60, seed)
        gate = _gate(800, 0.8, mode="fixed", horizon=60)
        gate.update(draws)
        assert (gate.verdict().n_learned < gate.verdict().threshold) == (
            len(set(draws.tolist())) < rejection_threshold(60, 640, 0.05)
        )
