"""The gate as the paper prints it: does the model draw evenly from `irs_target * N` training images or more?

Dombrowski et al., CVPR 2025, Eq. 9: n samples that retrieve k different training images reject where
P(K <= k | n, s0) < alpha, K the occupancy law of uniform draws from s0 images. `stats.sequential` has the tests. The
law is exact and its assumption seldom true: retrieval in feature space is uneven, real images included, so that a
perfect model may retrieve fewer images than uniform draws would. Where the retrieval counts (of the samples, of real
images, or of the training set among itself) reject uniform draws, a rejection is not given: the outcome is undecided.

N training images, n samples, k distinct training images, s their support.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from genaudit.metrics.gate import Evenness, Mode, Question, Verdict
from genaudit.metrics.gate_reasons import reasons
from genaudit.metrics.result import Estimate
from genaudit.stats.evenness import bias_pvalue, uniform_pvalue
from genaudit.stats.occupancy import cdf, estimate_support, expected_distinct
from genaudit.stats.occupancy import samples_needed as exact_samples_needed
from genaudit.stats.rarefaction import counts_of, relative_distinct
from genaudit.stats.sequential import Outcome, SequentialGate


class AbsoluteGate:
    """One checkpoint's samples against uniform draws from a share of the training set, as they come.

    Args:
        n_train: number of training images.
        question: the target and the levels.
        mode: "fixed" tests once, after exactly `horizon` samples (Eq. 9); "sequential" after every sample.
        horizon: the most samples that will come; None for no limit (sequential).
        real: (M,) what held-out real images retrieve, where there are any: for the estimates and the law, not the test.
        train_evenness: p-value of even retrieval of the training set among itself; None where it is not known.

    Raises:
        ValueError: an unknown mode, or a fixed test without a horizon.
    """

    limited = False

    def __init__(
        self,
        n_train: int,
        question: Question,
        *,
        mode: Mode = "sequential",
        horizon: int | None = None,
        real: np.ndarray | None = None,
        train_evenness: float | None = None,
    ) -> None:
        if mode not in ("fixed", "sequential"):
            raise ValueError(f"mode must be fixed or sequential, got {mode!r}")
        if mode == "fixed" and horizon is None:
            raise ValueError("a fixed test needs to know how many samples there will be")
        self.question, self.mode, self.horizon, self.real = question, mode, horizon, real
        self.train_evenness = train_evenness
        self.test = SequentialGate(
            n_train,
            question.irs_target,
            question.alpha,
            horizon=horizon,
            method="fixed" if mode == "fixed" else None,
        )

    @property
    def n_train(self) -> int:
        return self.test.n_train

    @property
    def n_sampled(self) -> int:
        return self.test.decision.n_sampled

    @property
    def decided(self) -> bool:
        return self.test.decision.decision != "undecided"

    @property
    def room(self) -> int | None:
        return None if self.horizon is None else self.horizon - self.n_sampled

    def lookahead(self, most: int) -> int:
        most = most if self.room is None else min(most, self.room)
        return self.test.earliest_decision(most) if most > 0 else 0

    def update(self, indices: Any) -> None:
        self.test.update(indices if self.room is None else indices[: self.room])

    def verdict(self, *, finished: bool = False, seed: int = 0) -> Verdict:
        now, question = self.test.decision, self.question
        if now.n_sampled == 0:
            raise ValueError("the gate has seen no sample yet")
        retrieved = self.test.retrieved
        evenness = self._evenness(retrieved, seed)
        even = evenness.holds(question.alpha)
        n, s = now.n_sampled, now.s_target
        detectable = _detectable(self.test, self.horizon or n, question.power) / s
        needed = None
        outcome = self._outcome(now.decision, detectable, even, finished)
        if outcome == "undecided" and detectable < question.detect and 1 <= round(question.detect * s) < s:
            needed = exact_samples_needed(round(question.detect * s), s, question.alpha, question.power)
        verdict = Verdict(
            decision=outcome,
            calibration="absolute",
            question=question,
            mode=self.mode,
            method=now.method,
            horizon=self.horizon,
            n_train=self.n_train,
            n_real=None if self.real is None else len(self.real),
            n_sampled=n,
            n_learned=now.n_learned,
            expected=float(expected_distinct(n, s)),
            pvalue=float(cdf(now.n_learned, n, s)) if self.mode == "fixed" and n == self.horizon else None,
            level=question.alpha,
            threshold=now.threshold,
            first_rejected_at=now.first_rejected_at if outcome == "reject" else None,
            stopped_early=self.mode == "sequential" and self.decided and n != self.horizon,
            irs_inf=_shares(estimate_support(now.n_learned, n, alpha=question.alpha, upper=self.n_train), self, even),
            irs_inf_reference=self._reference(even),
            irs_relative=None
            if self.real is None
            else relative_distinct(retrieved, self.real, self.n_train, confidence=1 - 2 * question.alpha),
            detectable=detectable,
            samples_needed=needed,
            real_needed=None,
            s_target=s,
            evenness=evenness,
            even=even,
            retrieved=retrieved,
            real=self.real,
        )
        return replace(verdict, reasons=tuple(reasons(verdict)))

    def _outcome(self, tested: Outcome, detectable: float, even: bool, finished: bool) -> Outcome:
        if tested == "reject":
            return "reject" if even else "undecided"
        if self.test.decision.n_learned >= self.test.s_target:
            return "accept"
        ended = tested == "accept" or (self.horizon is None and finished)
        return "accept" if ended and detectable >= self.question.detect else "undecided"

    def _evenness(self, retrieved: np.ndarray, seed: int) -> Evenness:
        samples = uniform_pvalue(counts_of(retrieved), seed=seed)
        if self.real is None:
            return Evenness(samples, train=self.train_evenness)
        real = uniform_pvalue(counts_of(self.real), seed=seed)
        return Evenness(samples, real, self.train_evenness, bias_pvalue(retrieved, self.real, seed=seed))

    def _reference(self, even: bool) -> Estimate | None:
        if self.real is None:
            return None
        support = estimate_support(
            len(np.unique(self.real)), len(self.real), alpha=self.question.alpha, upper=self.n_train
        )
        return _shares(support, self, even)

    def boundary(self, at: np.ndarray) -> np.ndarray:
        thresholds = np.array([self.test.threshold(int(n)) for n in at], float)
        return np.where(thresholds > 1, thresholds, np.nan)

    def expectation(self, at: np.ndarray) -> np.ndarray:
        return np.asarray(expected_distinct(at, self.test.s_target))

    def state_dict(self) -> dict[str, Any]:
        return self.test.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.test.load_state_dict(dict(state))


def _shares(support: Estimate, gate: AbsoluteGate, even: bool) -> Estimate:
    shares = support.map(lambda images: images / gate.n_train)
    return shares if even else Estimate(shares, shares.lower)


def _detectable(test: SequentialGate, n: int, power: float) -> int:
    """The largest support that n samples reject with probability `power`, 0 where none; the last look alone counted."""
    most = test.threshold(n) - 1
    if most < 1:
        return 0
    low, high = 1, test.s_target
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if float(cdf(most, n, middle)) >= power else (low, middle)
    return low
