"""What the diversity gate says of a checkpoint, whichever test stands behind it.

Dombrowski et al., CVPR 2025, sections 7 and 11, reject a checkpoint whose samples retrieve too few different training
images. Two tests of it:

- calibrated (`metrics.calibrated_gate`, the default): against held-out real images that retrieve from the same training
  set. Their retrieval may be as uneven as it is. The target is a share of what real images reach.
- absolute (`metrics.absolute_gate`): Eq. 9 as it stands, against uniform draws from a share of the training set. Real
  images may miss that target themselves, since retrieval in feature space is uneven.

Three outcomes:

- reject: the test rejects that the model meets the target, at level alpha.
- accept: it does not, and a model of `detect` times the target would have been rejected with probability `power`.
- undecided: neither; more samples, or more real images, are needed.

N training images, n samples, M held-out real images, k distinct training images that samples retrieve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from genaudit.metrics.result import Estimate
from genaudit.stats.bounds import Share, checked, probability
from genaudit.stats.sequential import Outcome

Mode = Literal["fixed", "sequential"]
Calibration = Literal["reference", "held_out_train", "absolute"]

POWER = 0.8
DETECT = 0.5


@dataclass(frozen=True)
class Question:
    """What is asked of a checkpoint.

    Args:
        irs_target: share of the training set, or of what real images reach of it, in (0, 1].
        alpha: probability at most of rejecting a model that meets the target, in (0, 0.5).
        detect: diversity relative to the target, in (0, 1), that must be detectable before a model is accepted.
        power: with which probability, in (0, 1).

    Raises:
        ValueError: a number out of its range.
    """

    irs_target: float = 0.8
    alpha: float = 0.05
    detect: float = DETECT
    power: float = POWER

    def __post_init__(self) -> None:
        checked("irs_target", self.irs_target, Share)
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie between 0 and 0.5, got {self.alpha:g}")
        for name in ("detect", "power"):
            probability(name, getattr(self, name))
        if self.power <= self.alpha:
            raise ValueError(f"power must exceed alpha = {self.alpha:g}, got {self.power:g}")


@dataclass(frozen=True)
class Evenness:
    """P-values of even retrieval: of the samples, of real images (None: not known), and of the training set itself.

    `samples` and `real` are small where some training images are retrieved more often than uniform draws allow;
    `train` is the same for training images that each retrieve their nearest other one. `amplified` is small where the
    samples are more uneven than real images.
    """

    samples: float
    real: float | None = None
    train: float | None = None
    amplified: float | None = None

    def holds(self, alpha: float) -> bool:
        """Whether none of them rejects the uniform law at level alpha."""
        return all(p is None or p >= alpha for p in (self.samples, self.real, self.train))


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    `n_train` training images can be retrieved. `expected` is how many different ones a model at the target retrieves
    with as many samples, `threshold` the fewest that are not rejected, `first_rejected_at` the number of samples after
    which it was rejected. `detectable` is the largest diversity, relative to the target, that the test rejects with
    probability `question.power` within the samples that it has or is to have; 0 where there is none. Where that is less
    than asked for, `samples_needed` (and `real_needed` held-out images) would do; None where no number does.
    `irs_inf` assumes uniform draws; `even` says whether that stands. `irs_relative` is the number of distinct training
    images relative to equally many held-out real images, whatever the law; both are estimates only where the number of
    samples did not depend on the samples (`stopped_early`). `reasons` are sentences for people.
    """

    decision: Outcome
    calibration: Calibration
    question: Question
    mode: Mode
    method: str
    horizon: int | None
    n_train: int
    n_real: int | None
    n_sampled: int
    n_learned: int
    expected: float
    pvalue: float | None
    level: float
    threshold: int
    first_rejected_at: int | None
    stopped_early: bool
    irs_inf: Estimate
    irs_inf_reference: Estimate | None
    irs_relative: Estimate | None
    detectable: float
    samples_needed: int | None
    real_needed: int | None
    s_target: int | None
    evenness: Evenness
    even: bool
    retrieved: np.ndarray = field(repr=False, compare=False)
    real: np.ndarray | None = field(repr=False, compare=False)
    reasons: tuple[str, ...] = ()


class Gate(Protocol):
    """One checkpoint's samples against the target, as they come."""

    question: Question
    mode: Mode
    horizon: int | None
    limited: bool

    @property
    def n_sampled(self) -> int: ...

    @property
    def decided(self) -> bool:
        """Whether further samples cannot change the decision."""

    @property
    def room(self) -> int | None:
        """How many samples the gate still takes; None for no limit."""

    def lookahead(self, most: int) -> int:
        """The fewest further samples that may bring a decision, at most `most` and never beyond the horizon.

        Whoever draws or measures as many at a time wastes none.
        """

    def update(self, indices: np.ndarray) -> None:
        """Counts the training images (B,) that the next samples retrieve; what exceeds the horizon is left out."""

    def verdict(self, *, finished: bool = False, seed: int = 0) -> Verdict:
        """The decision after the samples so far; `finished`: no more will come.

        Raises:
            ValueError: no sample yet.
        """

    def boundary(self, at: np.ndarray) -> np.ndarray:
        """About the fewest distinct images that are not rejected after `at` (P,) samples, for a plot; NaN: no look."""

    def expectation(self, at: np.ndarray) -> np.ndarray:
        """How many distinct images a model at the target shows after `at` (P,) samples."""

    def state_dict(self) -> dict[str, object]:
        """What is needed to resume, as plain numbers, strings and lists."""

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Resumes where `state_dict` was called.

        Raises:
            ValueError: the state belongs to a gate with other settings.
        """
