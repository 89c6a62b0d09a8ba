"""The diversity gate: may this checkpoint reach the share of the training set that was asked for?

Dombrowski et al., CVPR 2025, sections 7 and 11: n samples that retrieve k different training images reject "the model
can produce s0 = irs_target * N images or more" where P(K <= k | n, s0) < alpha (Eq. 9). `stats.sequential` has the
tests; this module says what they are tests of, what follows from them, and how far the occupancy law fits.

Three outcomes:

- reject: the test rejects. A model that meets the target is rejected with probability at most alpha.
- accept: the samples ended without a rejection, and there were enough of them to reject a model of a tenth of the
  target with probability 80 %; or as many different training images were retrieved as the target asks for.
- undecided: neither; more samples are needed.

Held-out real images do not reach every training image either (the measurement gap, section 3.4). With a reference the
target is `irs_target` times what real images reach with equally many samples: the lower bound of their support at level
alpha/2, tested at level alpha/2, so that both errors together stay within alpha. More real images than samples would
not do: retrieval in feature space is uneven, the apparent support grows with n, and a perfect model would be rejected
(26 % instead of 5 % with 1,500 real against 400 generated MNIST digits; with 400 against 400 fewer than 1 %).

N training images, n samples, k distinct training images, s their support.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from genaudit.stats.evenness import bias_pvalue, uniform_pvalue
from genaudit.stats.occupancy import SupportEstimate, cdf, estimate_support, target_support
from genaudit.stats.sequential import Outcome, SequentialGate

Mode = Literal["fixed", "sequential"]

POWER = 0.8  # an accepted model was not rejected although one of LEAST times the target would have been, this probably
LEAST = 0.1


@dataclass(frozen=True)
class Estimate:
    """An estimated share with one-sided bounds; NaN where nothing identifies it."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Reach:
    """What held-out real images reach: `retrieved` (n,), the training image that each of them retrieves."""

    retrieved: np.ndarray
    irs_inf: Estimate


@dataclass(frozen=True)
class Target:
    """What is asked of the model: a support of `s_target` training images or more, tested at level `level`.

    With `reach`, real images' own, the target is a share of what they reach.
    """

    n_train: int
    irs_target: float
    alpha: float
    s_target: int
    level: float
    reach: Reach | None = None


def plain_target(n_train: int, irs_target: float, alpha: float) -> Target:
    """`irs_target` as a share of the training set.

    Raises:
        ValueError: irs_target outside (0, 1], alpha outside (0, 0.5), or no training image.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not {alpha}")
    return Target(n_train, irs_target, alpha, target_support(n_train, irs_target), alpha)


def adjusted_target(real: np.ndarray, n_train: int, irs_target: float, alpha: float, samples: int | None) -> Target:
    """`irs_target` as a share of what held-out real images reach.

    Args:
        real: (M,) the training image that each held-out real image retrieves, in random order.
        samples: how many samples the model will be judged on at most; the first as many of `real` are used.

    Raises:
        ValueError: as `plain_target`, or fewer than two real images.
    """
    target = plain_target(n_train, irs_target, alpha)
    real = np.asarray(real)[:samples]
    if len(real) < 2:
        raise ValueError("held-out real images adjust the target from 2 on")
    support = estimate_support(_distinct(real), len(real), alpha=alpha / 2, upper=n_train)
    return replace(
        target,
        s_target=target_support(int(support.lower), irs_target),
        level=alpha / 2,
        reach=Reach(real, _shares(support, n_train)),
    )


@dataclass(frozen=True)
class Bias:
    """Whether the occupancy law fits: p-values of even retrieval, None where there is no reference.

    `law` is small where some training images are retrieved more often than uniform draws allow, `law_reference` the
    same of held-out real images, `amplified` where the samples are more uneven than real images. `fits`: not `law`
    below alpha.
    """

    law: float
    law_reference: float | None
    amplified: float | None
    fits: bool


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    `threshold` is the smallest number of learned images that is not rejected after `n_sampled` samples,
    `first_rejected_at` the number of samples after which a rejection was certain. `irs_inf` is s_mle / N with bounds at
    level alpha each; after an early stop they are nominal, since the number of samples depends on the samples.
    `detectable_irs` is the largest IRS_inf of a model that the gate rejects with probability 80 % within the samples
    that it was given or is to be given, 0 where there is none. `reasons` are sentences for people.
    """

    decision: Outcome
    target: Target
    mode: Mode
    method: str
    horizon: int | None
    n_sampled: int
    n_learned: int
    threshold: int
    first_rejected_at: int | None
    irs_inf: Estimate
    irs_inf_adjusted: Estimate | None
    detectable_irs: float
    bias: Bias
    retrieved: np.ndarray = field(repr=False, compare=False)
    reasons: tuple[str, ...]


class Gate:
    """One checkpoint's samples against a target, as they come.

    Args:
        target: from `plain_target` or `adjusted_target`.
        mode: "fixed" tests once, after exactly `horizon` samples (Eq. 9); "sequential" after every sample.
        horizon: the most samples that will come; None for no limit (sequential, without a reference). No more than
            the real images that adjust the target.

    Raises:
        ValueError: a fixed test, or one with a reference, without a horizon.
    """

    def __init__(self, target: Target, *, mode: Mode = "sequential", horizon: int | None = None) -> None:
        if mode not in ("fixed", "sequential"):
            raise ValueError(f"mode must be fixed or sequential, not {mode!r}")
        if mode == "fixed" and horizon is None:
            raise ValueError("a fixed test needs to know how many samples there will be")
        self.limited = False  # fewer samples are judged than come, for want of real images
        if target.reach is not None:
            real = len(target.reach.retrieved)
            self.limited = horizon is None or horizon > real
            horizon = real if horizon is None else min(horizon, real)
        self.target, self.mode, self.horizon = target, mode, horizon
        self.test = SequentialGate(
            target.n_train,
            target.s_target / target.n_train,
            target.level,
            horizon=horizon,
            method="fixed" if mode == "fixed" else None,
        )

    @property
    def n_sampled(self) -> int:
        return self.test.decision.n_sampled

    @property
    def decided(self) -> bool:
        """Whether further samples cannot change the decision."""
        return self.test.decision.decision != "undecided"

    @property
    def room(self) -> int | None:
        """How many samples the gate still takes; None for no limit."""
        return None if self.horizon is None else self.horizon - self.n_sampled

    def lookahead(self, most: int) -> int:
        """The fewest further samples that may bring a decision, at most `most` and never beyond the horizon.

        Whoever draws or measures as many at a time wastes none.
        """
        most = most if self.room is None else min(most, self.room)
        return self.test.earliest_decision(most) if most > 0 else 0

    def update(self, indices: Any) -> None:
        """Counts the training images (B,) that the next samples retrieve; what exceeds the horizon is left out."""
        self.test.update(indices if self.room is None else indices[: self.room])

    def verdict(self, *, finished: bool = False, seed: int = 0) -> Verdict:
        """The decision after the samples so far.

        Args:
            finished: no more samples will come; only then can a gate without a horizon accept.
            seed: of the simulated p-values of even retrieval.

        Raises:
            ValueError: no sample yet.
        """
        now, target = self.test.decision, self.target
        if now.n_sampled == 0:
            raise ValueError("the gate has seen no sample yet")
        retrieved = self.test.retrieved
        support = estimate_support(now.n_learned, now.n_sampled, alpha=target.alpha, upper=target.n_train)
        detectable = _detectable(self.test, self.horizon or now.n_sampled, target.s_target)
        ended = self.horizon is None and finished
        outcome: Outcome = now.decision
        if now.n_learned >= target.s_target and outcome != "reject":
            outcome = "accept"
        elif outcome == "accept" or (outcome == "undecided" and ended):
            outcome = "accept" if detectable >= LEAST * target.s_target else "undecided"
        verdict = Verdict(
            decision=outcome,
            target=target,
            mode=self.mode,
            method=now.method,
            horizon=self.horizon,
            n_sampled=now.n_sampled,
            n_learned=now.n_learned,
            threshold=now.threshold,
            first_rejected_at=now.first_rejected_at,
            irs_inf=_shares(support, target.n_train),
            irs_inf_adjusted=_adjusted(retrieved, target),
            detectable_irs=detectable / target.n_train,
            bias=_bias(retrieved, target, seed),
            retrieved=retrieved,
            reasons=(),
        )
        return replace(verdict, reasons=tuple(_reasons(verdict)))

    def thresholds(self, at: np.ndarray) -> np.ndarray:
        """The rejection boundary: the fewest learned images that are not rejected after `at` (P,) samples."""
        return np.array([self.test.threshold(int(n)) for n in at])


def _distinct(indices: np.ndarray) -> int:
    return len(np.unique(indices))


def _shares(support: SupportEstimate, n_train: int) -> Estimate:
    return Estimate(*(float(each) / n_train for each in support))


def _detectable(test: SequentialGate, n: int, s_target: int) -> int:
    """The largest support that n samples reject with probability POWER, 0 where none; the last look alone counted."""
    most = test.threshold(n) - 1
    if most < 1:
        return 0
    low, high = 1, s_target
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if float(cdf(most, n, middle)) >= POWER else (low, middle)
    return low


def _adjusted(retrieved: np.ndarray, target: Target) -> Estimate | None:
    """s_mle(samples) / s_mle(as many real images); ends divide bounds at alpha/2 each, so that each holds at alpha."""
    if target.reach is None or len(retrieved) < 2:
        return None
    n = min(len(retrieved), len(target.reach.retrieved))
    ours, real = (
        estimate_support(_distinct(each[:n]), n, alpha=target.alpha / 2, upper=target.n_train)
        for each in (retrieved, target.reach.retrieved)
    )
    return Estimate(ours.value / real.value, ours.lower / real.upper, ours.upper / real.lower)


def _bias(retrieved: np.ndarray, target: Target, seed: int) -> Bias:
    def law(indices: np.ndarray) -> float:
        return uniform_pvalue(np.unique(indices, return_counts=True)[1], seed=seed)

    ours = law(retrieved)
    if target.reach is None:
        return Bias(ours, None, None, ours >= target.alpha)
    real = target.reach.retrieved
    return Bias(ours, law(real), bias_pvalue(retrieved, real, seed=seed), ours >= target.alpha)


def _reasons(verdict: Verdict) -> list[str]:
    target, n, k = verdict.target, verdict.n_sampled, verdict.n_learned
    asked = f"{target.s_target:,} of the {target.n_train:,} training images"
    if target.reach is not None:
        real = target.reach
        asked += (
            f" ({target.irs_target:g} times what {len(real.retrieved):,} held-out real images reach: "
            f"IRS_inf {real.irs_inf.value:.3g}, at least {real.irs_inf.lower:.3g})"
        )
    seen = f"{n:,} samples retrieve {k:,} different training images"
    can_detect = (
        f"a model that reaches {verdict.detectable_irs:.2g} of the training set or less would have been rejected with "
        f"probability {_percent(POWER)}"
    )
    reasons = []
    if verdict.decision == "reject":
        early = verdict.first_rejected_at
        known = f" This was certain after {early:,} samples." if early is not None and early < n else ""
        reasons.append(
            f"{seen}, fewer than the {verdict.threshold:,} that a model must retrieve which reaches {asked}; one "
            f"that does is rejected with probability at most {target.alpha:g}.{known}"
        )
    elif verdict.decision == "accept" and k >= target.s_target:
        reasons.append(f"{seen}: as many as the target asks for, {asked}.")
    elif verdict.decision == "accept":
        limit = "" if verdict.horizon in (None, n) else f", too many for a rejection within {verdict.horizon:,} samples"
        reasons.append(f"{seen}{limit}: enough for a model that reaches {asked}. Not rejected, though {can_detect}.")
    elif verdict.horizon is not None and n < verdict.horizon and not verdict.detectable_irs < _least(target):
        reasons.append(f"{seen}; of {verdict.horizon:,} samples {verdict.horizon - n:,} are still to come.")
    elif verdict.detectable_irs < _least(target):
        reasons.append(
            f"{seen}. That is too few to tell: {verdict.horizon or n:,} samples would not reject even a model of a "
            f"tenth of the target, {asked}, with probability {_percent(POWER)}. `genaudit reject --plan` says how many "
            "would."
        )
    else:
        reasons.append(f"{seen}: neither a rejection nor proof of {asked} yet; the samples have not ended.")
    return reasons + _bias_reasons(verdict.bias, verdict.decision, target.alpha)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _least(target: Target) -> float:
    return LEAST * target.s_target / target.n_train


def _bias_reasons(bias: Bias, decision: Outcome, alpha: float) -> list[str]:
    reasons = []
    if not bias.fits:
        text = (
            f"The occupancy law does not fit: some training images are retrieved more often than uniform draws allow "
            f"(p = {bias.law:.2g}), so that IRS_inf underestimates how many images the model can produce"
        )
        if decision == "reject":
            text += ", and the rejection may mean that some images are drawn too often, not that others are missing"
        if bias.law_reference is not None and bias.law_reference < alpha:
            text += (
                f". Held-out real images are uneven too (p = {bias.law_reference:.2g}): the features share the blame"
            )
        reasons.append(text + ".")
    if bias.amplified is not None and bias.amplified < alpha:
        reasons.append(
            f"Bias is amplified: the samples favour some training images more than held-out real images do "
            f"(p = {bias.amplified:.2g})."
        )
    return reasons
