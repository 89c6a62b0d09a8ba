"""The gate against held-out real images: as diverse as they are, or a share of it, however uneven retrieval is.

The test is `stats.held_out_test`; this module turns it into decisions. Not rejected is not enough to be accepted: a
model of `detect` times the target must have been likely to be rejected. That is computed with the law that the real
images' own retrieval shows.

n samples, M held-out real images, k distinct training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from genaudit.metrics.gate import Evenness, Mode, Question, Verdict
from genaudit.metrics.gate_reasons import reasons
from genaudit.metrics.result import Estimate
from genaudit.stats.evenness import bias_pvalue, uniform_pvalue
from genaudit.stats.held_out_test import Design, HeldOutTest, most_samples, real_needed, samples_needed
from genaudit.stats.occupancy import estimate_support
from genaudit.stats.rarefaction import Law, counts_of, rarefied, relative_distinct
from genaudit.stats.sequential import Outcome, saved_indices

MOST_SAMPLES = 10_000_000  # no number of samples beyond this is recommended


class CalibratedGate:
    """One checkpoint's samples against held-out real images, as they come.

    Args:
        real: (M,) the training image that each held-out real image retrieves, in random order.
        n_train: number of training images that can be retrieved.
        question: the target and the levels.
        calibration: where the real images come from.
        mode: "fixed" tests once, after the horizon; "sequential" at several numbers of samples.
        horizon: the most samples that will come; None or more than `irs_target * M`: as many as the real images allow.
        seed: of the relabellings.

    Raises:
        ValueError: fewer than two real images, or an unknown mode.
    """

    def __init__(
        self,
        real: Any,
        n_train: int,
        question: Question,
        *,
        calibration: Literal["reference", "held_out_train"] = "reference",
        mode: Mode = "sequential",
        horizon: int | None = None,
        seed: int = 0,
    ) -> None:
        if mode not in ("fixed", "sequential"):
            raise ValueError(f"mode must be fixed or sequential, got {mode!r}")
        real = np.asarray(real)
        most = most_samples(len(real), question.irs_target)
        if len(real) < 2 or most < 1:
            raise ValueError(f"{len(real)} held-out real images are too few to compare with; 2 or more are needed")
        self.question, self.mode, self.n_train, self.calibration = question, mode, int(n_train), calibration
        self.limited = horizon is None or horizon > most
        self.horizon: int | None = most if horizon is None else min(horizon, most)
        self.test = HeldOutTest(
            real, question.irs_target, question.alpha, self.horizon, sequential=mode == "sequential", seed=seed
        )

    @property
    def n_sampled(self) -> int:
        return self.test.n_sampled

    @property
    def room(self) -> int:
        return self.test.horizon - self.n_sampled

    @property
    def decided(self) -> bool:
        return self.test.ended or self._satisfied

    def lookahead(self, most: int) -> int:
        return 0 if self.decided else min(most, self.test.next_look - self.n_sampled)

    def update(self, indices: np.ndarray) -> None:
        # Look by look, so that samples behind a decision are not counted, however they are split into batches.
        indices = np.asarray(indices)
        while len(indices) and not self.decided:
            ahead = self.lookahead(len(indices))
            self.test.update(indices[:ahead])
            indices = indices[ahead:]

    @property
    def _satisfied(self) -> bool:
        """Whether the last look already allows to accept: no sign of less diversity, and enough power to see it."""
        if not self.test.seen or self.test.rejected:
            return False
        look = self.test.seen[-1]
        if look.n_learned < look.expected:
            return False
        return self._design(look.n_sampled, look.level).power(self._asked) >= self.question.power

    @cached_property
    def _law(self) -> Law:
        return Law.estimated(counts_of(self.test.real), self.n_train)

    @property
    def _asked(self) -> float:
        """The diversity, relative to real images, that must be detectable."""
        return self.question.detect * self.question.irs_target

    def _design(self, n: int, level: float) -> Design:
        return Design(self._law, self.question.irs_target, level, n, len(self.test.real))

    def verdict(self, *, finished: bool = False, seed: int = 0) -> Verdict:
        test, question = self.test, self.question
        n = test.n_sampled
        if n == 0:
            raise ValueError("the gate has seen no sample yet")
        last = test.seen[-1] if test.seen and test.seen[-1].n_sampled == n else None
        if last is None and finished and not self.decided:
            # The samples ended before a look: the last look's part of alpha is still unspent.
            last = test.look(n, test.levels[-1])
        over = finished or test.ended
        level = last.level if last is not None else test.levels[min(len(test.seen), len(test.levels) - 1)]
        at = n if over or self._satisfied else test.horizon
        design = self._design(at, level if at == n else test.levels[-1])
        detectable = _detectable(design, question)
        outcome: Outcome = "undecided"
        if last is not None and last.rejects:
            outcome = "reject"
        elif self._satisfied or (over and detectable >= question.detect):
            outcome = "accept"
        needed = None if outcome != "undecided" else self._needed(test.levels[-1])
        retrieved = test.retrieved
        evenness = Evenness(
            uniform_pvalue(counts_of(retrieved), seed=seed),
            uniform_pvalue(counts_of(test.real), seed=seed),
            None,
            bias_pvalue(retrieved, test.real, seed=seed),
        )
        even = evenness.holds(question.alpha)
        verdict = Verdict(
            decision=outcome,
            calibration=self.calibration,
            question=question,
            mode=self.mode,
            method="relabelling",
            horizon=test.horizon,
            n_train=self.n_train,
            n_real=len(test.real),
            n_sampled=n,
            n_learned=test.n_learned,
            expected=float(self.expectation(np.array([n]))[0]),
            pvalue=None if last is None else last.pvalue,
            level=level,
            threshold=test.threshold(n, level) if last is not None else self._not_yet_rejected(n, level),
            first_rejected_at=n if outcome == "reject" else None,
            stopped_early=self.decided and n < test.horizon,
            irs_inf=_irs_inf(retrieved, self.n_train, question.alpha, even),
            irs_inf_reference=_irs_inf(test.real, self.n_train, question.alpha, even),
            irs_relative=relative_distinct(retrieved, test.real, self.n_train, confidence=1 - 2 * question.alpha),
            detectable=detectable,
            samples_needed=needed,
            real_needed=None if needed is None else real_needed(needed, question.irs_target),
            s_target=None,
            evenness=evenness,
            even=even,
            retrieved=retrieved,
            real=test.real,
        )
        return replace(verdict, reasons=tuple(reasons(verdict)))

    def _not_yet_rejected(self, n: int, level: float) -> int:
        """About the threshold between two looks, where nothing is rejected."""
        return min(self.test.n_learned, max(1, int(np.ceil(self._design(n, level).boundary))))

    def _needed(self, level: float) -> int | None:
        question = self.question
        return samples_needed(self._law, question.irs_target, question.detect, level, question.power, MOST_SAMPLES)

    def boundary(self, at: np.ndarray) -> np.ndarray:
        # A look's level holds up to the next one; a fixed test looks at its horizon only.
        looks = np.asarray(self.test.looks)
        levels = np.asarray(self.test.levels)[np.minimum(np.searchsorted(looks, at), len(looks) - 1)]
        return np.array([self._design(int(n), float(level)).boundary for n, level in zip(at, levels, strict=True)])

    def expectation(self, at: np.ndarray) -> np.ndarray:
        share = self.question.irs_target
        return share * rarefied(counts_of(self.test.real), np.minimum(np.asarray(at) / share, len(self.test.real)))

    def state_dict(self) -> dict[str, Any]:
        return {**self._settings(), "retrieved": self.test.retrieved.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, own in self._settings().items():
            if state.get(name) != own:
                raise ValueError(f"the saved gate has {name} = {state.get(name)!r}, this one {own!r}")
        retrieved = saved_indices(state, self.n_train)
        self.test.start()
        self.update(retrieved)

    def _settings(self) -> dict[str, Any]:
        names = ("irs_target", "alpha", "detect", "power")
        asked = {name: getattr(self.question, name) for name in names}
        return {**asked, "n_train": self.n_train, "n_real": len(self.test.real), "horizon": self.horizon}


def _irs_inf(retrieved: np.ndarray, n_train: int, alpha: float, even: bool) -> Estimate:
    """IRS_inf with bounds at level alpha each; its lower bound stands for any law, the upper one for uniform draws."""
    support = estimate_support(len(np.unique(retrieved)), len(retrieved), alpha=alpha, upper=n_train)
    shares = support.map(lambda images: images / n_train)
    return shares if even else Estimate(shares, shares.lower)


def _detectable(design: Design, question: Question) -> float:
    """The largest diversity relative to the target that the look rejects with the power asked for; 0 where none."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if design.power(middle * question.irs_target) >= question.power else (low, middle)
    return low
