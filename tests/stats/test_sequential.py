"""The diversity gate: exact and simulated errors, batching, curtailment, power, and state."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from genaudit.stats.occupancy import cdf, pmf, rejection_threshold, target_support
from genaudit.stats.sequential import Method, SequentialGate, log_evalue, spending_boundary


def duplicates(support: int, runs: int, draws: int, seed: int) -> np.ndarray:
    """Duplicates after each draw of uniform draws, (runs, draws): the chain itself, by its transition probabilities."""
    rng = np.random.default_rng(seed)
    d = np.zeros(runs)
    out = np.empty((runs, draws), np.int64)
    for n in range(draws):
        d += rng.random(runs) < (n - d) / support
        out[:, n] = d
    return out


def crossing_probability(s: int, boundary: list[int]) -> Fraction:
    """P(d reaches boundary[n - 1] at some look n), in integers."""
    ways, scale, crossed = {0: 1}, 1, Fraction(0)
    for n in range(len(boundary)):
        moved: dict[int, int] = {}
        for d, w in ways.items():
            again = n - d
            moved[d + 1] = moved.get(d + 1, 0) + w * again
            moved[d] = moved.get(d, 0) + w * (s - again)
        scale *= s
        crossed += Fraction(sum(w for d, w in moved.items() if d >= boundary[n]), scale)
        ways = {d: w for d, w in moved.items() if d < boundary[n]}
    return crossed


@pytest.mark.parametrize(("s", "horizon"), [(32, 15), (640, 60), (7, 30)])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_spending_boundary_keeps_alpha_exactly_and_spends_what_it_can(s: int, horizon: int, alpha: float) -> None:
    boundary = [int(b) for b in spending_boundary(horizon, s, alpha)[1:]]
    error = crossing_probability(s, boundary)
    assert error <= Fraction(alpha)
    assert error > Fraction(alpha) / 10
    assert boundary == sorted(boundary)
    # One duplicate fewer at the last look would overspend.
    assert crossing_probability(s, [*boundary[:-1], boundary[-1] - 1]) > Fraction(alpha)


def test_looking_with_the_fixed_threshold_every_time_would_err_as_published() -> None:
    """DEFINITIONS: 14.3 % at s0 = 640 within 60 samples, 9.5 % at s0 = 32 within 15; this is what the gate avoids."""
    for s, horizon, published in [(640, 60, 0.143), (32, 15, 0.095)]:
        boundary = [n - rejection_threshold(n, s, 0.05) + 1 for n in range(1, horizon + 1)]
        assert float(crossing_probability(s, boundary)) == pytest.approx(published, abs=0.0005)


@pytest.mark.parametrize("method", ["spending", "eprocess", "fixed"])
def test_a_model_at_the_target_is_rejected_at_most_with_probability_alpha(method: Method) -> None:
    runs, horizon, alpha = 40_000, 120, 0.05
    gate = SequentialGate(400, 0.5, alpha, horizon=horizon, method=method)
    least = np.array([n - gate.threshold(n) + 1 for n in range(1, horizon + 1)])
    rejected = (duplicates(gate.s_target, runs, horizon, 0) >= least).any(1).mean()
    # Binomial standard error sqrt(.05 * .95 / 40000) = 0.0011.
    assert rejected < alpha + 3 * 0.0011
    assert rejected > alpha / 10  # and the bound is not empty: 0.01 for the e-process within 120 samples


@pytest.mark.parametrize("method", ["spending", "eprocess", "fixed"])
def test_decisions_do_not_depend_on_batches(method: Method) -> None:
    for support, seed in [(30, 0), (100, 1), (200, 2)]:
        draws = np.random.default_rng(seed).integers(0, support, 150)
        decisions = []
        for size in (3, 64, 150):
            gate = SequentialGate(200, 0.6, 0.05, horizon=150, method=method)
            for first in range(0, 150, size):
                gate.update(draws[first : first + size])
            decisions.append(gate.decision)
        assert decisions[1:] == decisions[:-1]


@pytest.mark.parametrize("method", ["spending", "fixed"])
def test_gate_decides_as_soon_as_the_outcome_is_certain_and_not_before(method: Method) -> None:
    """After the decision no continuation decides otherwise; one sample earlier some continuation does."""
    horizon = 40
    outcomes = set()
    for seed in range(30):
        draws = np.random.default_rng(seed).integers(0, 30 + 5 * seed, horizon)
        gate = SequentialGate(200, 0.5, 0.05, horizon=horizon, method=method)
        gate.update(draws)
        decided = gate.decision.decided_at
        assert decided is not None
        outcomes.add(gate.decision.decision)
        before = draws[: decided - 1]
        unused = np.setdiff1d(np.arange(200), before)
        continued = []
        for rest in (np.full(horizon - decided + 1, draws[0]), unused[: horizon - decided + 1]):
            other = SequentialGate(200, 0.5, 0.05, horizon=horizon, method=method)
            continued.append(other.update(np.concatenate([before, rest])).decision)
        assert set(continued) == {"reject", "accept"}
    assert outcomes == {"reject", "accept"}


def test_fixed_method_agrees_with_the_threshold_at_the_horizon() -> None:
    for seed in range(40):
        draws = np.random.default_rng(seed).integers(0, 300, 60)
        gate = SequentialGate(800, 0.8, 0.05, horizon=60, method="fixed")
        expected = "reject" if len(set(draws.tolist())) < rejection_threshold(60, 640, 0.05) else "accept"
        assert gate.update(draws).decision == expected


def test_thresholds_describe_the_decisions() -> None:
    methods: list[Method] = ["spending", "eprocess"]
    for method in methods:
        gate = SequentialGate(100, 0.5, 0.05, horizon=None if method == "eprocess" else 80, method=method)
        for n in (2, 10, 33, 80):
            least = gate.threshold(n)
            for k in {max(1, least - 1), least}:
                fresh = SequentialGate(100, 0.5, 0.05, horizon=gate.horizon, method=method)
                # Distinct images first, so that nothing is rejected before the last sample unless it must be.
                decision = fresh.update(np.r_[np.arange(k), np.zeros(n - k, int)])
                if decision.decision == "undecided" or decision.decided_at == n:
                    assert (decision.decision == "reject") == (k < least)


def test_evalue_is_a_mixture_of_likelihood_ratios_with_expectation_one() -> None:
    n, s0 = 30, 50
    k = np.arange(1, n + 1)
    evalue = np.exp(log_evalue(np.full(n, n), k, s0))
    assert (np.diff(evalue) < 0).all()
    # Summed over the law at s0 a likelihood ratio is 1; at larger supports, where duplicates are rarer, less.
    assert (pmf(k, n, s0) * evalue).sum() == pytest.approx(1, rel=1e-10)
    assert (pmf(k, n, 70) * evalue).sum() < 1
    assert float(np.exp(log_evalue(1, 1, 1))) == 1


def test_collapsed_and_diverse_models_are_distinguished_early() -> None:
    collapsed = SequentialGate(10_000, 0.8, 0.05, horizon=2000)
    decision = collapsed.update(np.random.default_rng(0).integers(0, 500, 2000))
    assert decision.decision == "reject"
    assert decision.first_rejected_at is not None
    assert decision.first_rejected_at < 200
    diverse = SequentialGate(10_000, 0.2, 0.05, horizon=2000)
    decision = diverse.update(np.random.default_rng(0).integers(0, 10_000, 2000))
    assert decision.decision == "accept"
    assert decision.first_rejected_at is None
    assert decision.decided_at is not None
    assert decision.decided_at <= 2000


def test_without_a_horizon_the_gate_stays_undecided_until_it_knows() -> None:
    gate = SequentialGate(1000, 0.01, 0.05)
    assert gate.method == "eprocess"
    assert gate.update(np.arange(9)).decision == "undecided"
    assert gate.update([9]).decision == "accept"  # ten different images prove a support of ten
    assert SequentialGate(1000, 0.8, 0.05, horizon=50).method == "spending"


def test_decision_counts_what_was_seen_and_stays_final() -> None:
    gate = SequentialGate(100, 0.9, 0.05, horizon=60)
    assert gate.decision.decision == "undecided"
    assert gate.update([]).n_sampled == 0
    first = gate.update([3] * 12)
    assert (first.decision, first.n_sampled, first.n_learned) == ("reject", 12, 1)
    later = gate.update(np.arange(100))
    assert (later.decision, later.n_sampled, later.n_learned) == ("reject", 112, 100)
    assert later.first_rejected_at == first.first_rejected_at
    np.testing.assert_array_equal(gate.learned[10:14], [1, 1, 2, 3])
    assert gate.retrieved.shape == (112,)


def test_state_survives_a_restart_through_json() -> None:
    draws = np.random.default_rng(4).integers(0, 90, 120)
    whole = SequentialGate(200, 0.6, 0.05, horizon=120)
    whole.update(draws)
    first = SequentialGate(200, 0.6, 0.05, horizon=120)
    first.update(draws[:50])
    second = SequentialGate(200, 0.6, 0.05, horizon=120)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.decision == first.decision
    assert second.update(draws[50:]) == whole.decision
    with pytest.raises(ValueError, match="alpha"):
        SequentialGate(200, 0.6, 0.01, horizon=120).load_state_dict(first.state_dict())


def test_boundary_at_imagenet_scale_lies_just_outside_the_fixed_test() -> None:
    s0 = target_support(1_281_166, 0.8)
    boundary = spending_boundary(50_000, s0, 0.05)
    rejected = 50_000 - int(boundary[-1])
    fixed = rejection_threshold(50_000, s0, 0.05) - 1
    # Rejections before the end leave a little less for the last look.
    assert fixed - 40 < rejected < fixed
    assert float(cdf(rejected, 50_000, s0)) < 0.05


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="horizon"):
        SequentialGate(10, 0.5, 0.05, method="spending")
    with pytest.raises(ValueError, match="alpha"):
        SequentialGate(10, 0.5, 5)
    with pytest.raises(ValueError, match="irs_target"):
        SequentialGate(10, 80, 0.05)
    gate = SequentialGate(10, 0.5, 0.05)
    for bad in ([10], [-1], [0.5], [[1]]):
        with pytest.raises(ValueError, match="indices"):
            gate.update(bad)


@pytest.mark.filterwarnings("error")
def test_horizon_far_above_the_target_is_followed_without_overflow() -> None:
    """Once every item has been seen each draw is a duplicate; fewer than s items are rejected from then on."""
    boundary = spending_boundary(20_000, 200, 0.05)
    most = np.arange(20_001) - boundary
    assert most[-1] == 199  # 200 of 200 are not rejected, 199 are
    assert (np.diff(most) >= 0).all()
    gate = SequentialGate(250, 0.8, horizon=20_000)
    assert gate.update(np.arange(6000) % 200).decision == "accept"
