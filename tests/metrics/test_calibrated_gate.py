"""The gate against held-out real images: decisions that hold when retrieval is uneven, and what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genaudit.metrics.calibrated_gate import CalibratedGate
from genaudit.metrics.gate import Mode, Question
from genaudit.stats import held_out_test

ITEMS = 600
EVEN = np.full(ITEMS, 1 / ITEMS)
UNEVEN = np.random.default_rng(0).exponential(size=ITEMS) ** 1.5
UNEVEN /= UNEVEN.sum()


@pytest.fixture(autouse=True)
def _fewer_relabellings(monkeypatch: pytest.MonkeyPatch) -> None:
    """p-values are valid at any number of relabellings; 999 are quick."""
    monkeypatch.setattr(held_out_test, "RELABELLINGS", 999)


def _draws(p: np.ndarray, n: int, seed: int, share: float = 1.0) -> np.ndarray:
    """Draws from the law restricted to a random share of the items."""
    rng = np.random.default_rng(seed)
    kept = rng.random(len(p)) < share
    return rng.choice(len(p), n, p=p * kept / (p * kept).sum())


def _gate(real: np.ndarray, target: float = 0.8, **keys: Any) -> CalibratedGate:
    question = Question(target, 0.05, **{name: keys.pop(name) for name in ("detect", "power") if name in keys})
    return CalibratedGate(real, ITEMS, question, **keys)


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
def test_perfect_model_with_uneven_retrieval_is_accepted(mode: Mode) -> None:
    """The former gate rejected it in most runs."""
    accepted = 0
    for seed in range(10):
        gate = _gate(_draws(UNEVEN, 500, 2 * seed), mode=mode, horizon=400)
        gate.update(_draws(UNEVEN, 400, 2 * seed + 1))
        verdict = gate.verdict(finished=True)
        assert not verdict.even
        accepted += verdict.decision == "accept"
    assert accepted >= 9  # rejected with a probability far below 5 % each: the target is 0.8


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
@pytest.mark.parametrize("p", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_model_of_a_quarter_is_rejected_and_the_decision_says_against_what(mode: Mode, p: np.ndarray) -> None:
    gate = _gate(_draws(p, 500, 1), mode=mode, horizon=400, calibration="held_out_train")
    gate.update(_draws(p, 400, 2, share=0.2))
    verdict = gate.verdict(finished=True)
    assert verdict.decision == "reject"
    assert verdict.n_learned < verdict.threshold
    assert verdict.pvalue is not None
    assert verdict.pvalue <= verdict.level
    assert verdict.first_rejected_at == verdict.n_sampled
    assert (mode == "fixed") == (verdict.n_sampled == 400)
    assert "500 training images that were set aside" in verdict.reasons[0]
    assert "however uneven retrieval is" in verdict.reasons[0]
    assert verdict.irs_relative is not None
    assert (verdict.irs_relative.upper < 0.8) or verdict.stopped_early


def test_too_few_samples_are_undecided_and_the_number_that_would_do_is_said() -> None:
    gate = _gate(_draws(EVEN, 40, 1), mode="fixed", horizon=30)
    gate.update(_draws(EVEN, 30, 2))
    verdict = gate.verdict(finished=True)
    assert verdict.decision == "undecided"
    assert verdict.detectable < 0.5
    assert verdict.samples_needed is not None
    assert verdict.real_needed == np.ceil(verdict.samples_needed / 0.8)
    assert f"About {verdict.samples_needed:,} samples would detect" in verdict.reasons[1]
    # With as many the same model is accepted.
    n = 2 * verdict.samples_needed
    gate = _gate(_draws(EVEN, int(n / 0.8) + 1, 3), mode="fixed", horizon=n)
    gate.update(_draws(EVEN, n, 4))
    assert gate.verdict().decision == "accept"


def test_detect_and_power_say_what_an_acceptance_is_worth() -> None:
    real, ours = _draws(EVEN, 250, 1), _draws(EVEN, 200, 2)
    decisions = {}
    for detect in (0.3, 0.5, 0.9):
        gate = _gate(real, mode="fixed", horizon=200, detect=detect)
        gate.update(ours)
        verdict = gate.verdict()
        decisions[detect] = verdict.decision
        assert (verdict.detectable >= detect) == (verdict.decision == "accept")
    assert decisions[0.3] == "accept"
    assert decisions[0.9] == "undecided"
    gate = _gate(real, mode="fixed", horizon=200, detect=0.5, power=0.999)
    gate.update(ours)
    assert gate.verdict().detectable < verdict.detectable


def test_model_of_half_the_target_is_seldom_accepted() -> None:
    """detect=0.5, power=0.8: accepted in at most a fifth of the runs."""
    runs, accepted = 20, 0
    for seed in range(runs):
        gate = _gate(_draws(UNEVEN, 400, 2 * seed), horizon=320, seed=seed)
        gate.update(_draws(UNEVEN, 320, 2 * seed + 1, share=0.4))
        accepted += gate.verdict(finished=True).decision == "accept"
    assert accepted / runs <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / runs)


def test_good_model_is_accepted_before_the_horizon_once_there_is_power_enough() -> None:
    gate = _gate(_draws(EVEN, 5000, 1), horizon=4000)
    gate.update(_draws(EVEN, 4000, 2))
    verdict = gate.verdict()
    assert verdict.decision == "accept"
    assert verdict.n_sampled < 1000
    assert gate.decided
    assert gate.lookahead(10) == 0


@pytest.mark.parametrize(("detect", "power"), [(0.5, 0.8), (0.8, 0.8), (0.8, 0.99)])
def test_an_early_acceptance_could_have_seen_what_must_be_detectable_and_no_look_before_it(
    detect: float, power: float
) -> None:
    looks = []
    for seed in range(4):
        gate = _gate(_draws(EVEN, 5000, 2 * seed), horizon=4000, detect=detect, power=power)
        gate.update(_draws(EVEN, 4000, 2 * seed + 1))
        verdict = gate.verdict()
        assert (verdict.decision, verdict.stopped_early) == ("accept", True)
        assert verdict.detectable >= detect - 1e-5  # found by halving, to 2^-20
        before = [look for look in gate.test.seen[:-1] if look.n_learned >= look.expected]
        looks += [gate._design(look.n_sampled, look.level).power(detect * 0.8) for look in before]
    assert max(looks, default=0.0) < power


def test_what_a_gate_will_detect_is_said_at_the_start_as_at_the_last_look() -> None:
    """The last look has another level than the looks before it."""
    real, draws = _draws(EVEN, 300, 1), _draws(EVEN, 240, 2, 0.82)  # about at the target: neither sure nor rejected
    gate = _gate(real, horizon=240, detect=0.97, power=0.97)
    gate.update(draws[:9])
    ahead = gate.verdict()
    gate.update(draws[9:])
    last = gate.verdict()
    assert (ahead.n_sampled, ahead.decision) == (9, "undecided")
    assert (last.n_sampled, last.decision) == (240, "undecided")
    assert ahead.detectable == last.detectable
    # the smallest difference that the last look finds with the power that was asked for, by halving to 2^-20
    design = gate._design(240, gate.test.seen[-1].level)
    assert design.power(0.8 * last.detectable) >= 0.97 > design.power(0.8 * (last.detectable + 1e-3))


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_drawing_by_lookahead_decides_as_all_at_once(share: float) -> None:
    real, draws = _draws(EVEN, 300, 1), _draws(EVEN, 240, 2, share)
    whole, ahead = _gate(real, horizon=240), _gate(real, horizon=240)
    whole.update(draws)
    batches = 0
    while not ahead.decided:
        ahead.update(draws[ahead.n_sampled :][: ahead.lookahead(64)])
        batches += 1
    assert whole.verdict() == ahead.verdict()
    assert batches <= 24


def test_samples_that_end_before_the_horizon_are_judged_by_what_there_is() -> None:
    gate = _gate(_draws(EVEN, 1000, 1), horizon=800)
    gate.update(_draws(EVEN, 60, 2))
    assert gate.verdict().decision == "undecided"
    assert "still to come" in gate.verdict().reasons[0]
    collapsed = _gate(_draws(EVEN, 1000, 1), horizon=800)
    collapsed.update(np.zeros(6, int))
    assert collapsed.verdict(finished=True).decision == "reject"  # before the first look, at the last look's level


def test_fewer_real_images_than_samples_limit_what_is_judged() -> None:
    gate = _gate(_draws(EVEN, 100, 1), mode="fixed", horizon=500)
    assert gate.limited
    assert gate.horizon == 80
    with pytest.raises(ValueError, match="too few"):
        _gate(np.array([3]))
    with pytest.raises(ValueError, match="mode"):
        _gate(_draws(EVEN, 100, 1), mode="quick")
    with pytest.raises(ValueError, match="no sample"):
        _gate(_draws(EVEN, 100, 1)).verdict()


def test_bias_beyond_that_of_real_images_is_said() -> None:
    rng = np.random.default_rng(3)
    uneven = np.where(rng.random(400) < 0.3, rng.integers(0, 12, 400), rng.integers(0, ITEMS, 400))
    for draws, amplified in ((_draws(EVEN, 400, 5), False), (uneven, True)):
        gate = _gate(_draws(EVEN, 500, 1), 0.3, mode="fixed", horizon=400)
        gate.update(draws)
        assert ("Bias is amplified" in " ".join(gate.verdict().reasons)) == amplified


def test_state_resumes_where_it_was_and_belongs_to_its_settings() -> None:
    real, draws = _draws(EVEN, 300, 1), _draws(EVEN, 240, 2, 0.3)
    whole, first, second = (_gate(real, horizon=240) for _ in range(3))
    whole.update(draws)
    first.update(draws[:11])
    second.load_state_dict(first.state_dict())
    assert second.n_sampled == 11
    second.update(draws[11:])
    assert second.verdict() == whole.verdict()
    with pytest.raises(ValueError, match="detect"):
        _gate(real, horizon=240, detect=0.4).load_state_dict(first.state_dict())
