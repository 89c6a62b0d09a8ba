"""A diversity gate that may look after every sample: does the model reach enough training images?

Null hypothesis: the samples are uniform draws from s0 = irs_target * n_train items or more (Dombrowski et al., CVPR
2025, Eq. 9). After n samples that retrieved k different items, d = n - k are duplicates; d never falls. To look at
every n with the threshold of a fixed n rejects a model at the target far too often (14 % instead of 5 % within 60
samples at s0 = 640). Three rules keep the error at alpha:

- "spending", for at most `horizon` samples: the chain d -> d + 1 with probability k/s0 is followed exactly, and at each
  look the largest set of high d is rejected that keeps the probability of ever having rejected within
  alpha (n/horizon)^2.
- "eprocess", without a horizon: the likelihood of k under a mixture of supports below s0, over that under s0. It is a
  supermartingale for every support of s0 or more, so that by Ville's inequality it reaches 1/alpha with probability
  at most alpha, ever. The likelihood of a whole sequence depends on (n, k) only: (1/s)^d prod_{j<k} (1 - j/s), up to
  factors that cancel.
- "fixed", for exactly `horizon` samples: Eq. 9's threshold.

Curtailment is always on: since d never falls, a d that a later look would reject is rejected at once, and k above
every count that is still to be rejected is accepted at once. Neither changes the outcome, only when it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import scipy

from genaudit.stats.bounds import probability
from genaudit.stats.occupancy import rejection_threshold, target_support
from genaudit.stats.occupancy_law import log_all_differ

Method = Literal["spending", "eprocess", "fixed"]
Outcome = Literal["accept", "reject", "undecided"]

# Supports of the mixture as shares of s0. Most lie near it: shares far below cost power against near misses, and lose
# little against them, since many duplicates are evidence for every alternative.
ALTERNATIVES = (0.97, 0.94, 0.9, 0.85, 0.75, 0.5)
NEGLIGIBLE = 1e-20  # probability dropped from the chain's lower end at a time


@dataclass(frozen=True)
class Decision:
    """What the gate says after the samples so far.

    `threshold` is the smallest `n_learned` that is not rejected after `n_sampled` samples (1: nothing is rejected yet).
    `decided_at` is the number of samples after which the decision was known, `first_rejected_at` the same for
    rejections only; both None as long as they do not apply. A decision is final: later samples are counted, not judged.
    """

    decision: Outcome
    irs_target: float
    alpha: float
    n_train: int
    s_target: int
    n_sampled: int
    n_learned: int
    threshold: int
    first_rejected_at: int | None
    decided_at: int | None
    method: Method
    horizon: int | None


class SequentialGate:
    """Tests "the model can produce at least irs_target * n_train different training images", sample by sample.

    Args:
        n_train: number of training images.
        irs_target: share of them that the model must be able to produce, in (0, 1].
        alpha: probability at most of rejecting a model that meets the target, in (0, 1).
        horizon: the most samples that will be drawn; None for no limit.
        method: "spending" (default with a horizon), "eprocess" (default without) or "fixed".

    Raises:
        ValueError: arguments out of range, or a method that needs a horizon without one.

    >>> gate = SequentialGate(1000, 0.8, 0.05, horizon=100)
    >>> gate.update([7] * 20).decision
    'reject'
    """

    def __init__(
        self,
        n_train: int,
        irs_target: float,
        alpha: float = 0.05,
        *,
        horizon: int | None = None,
        method: Method | None = None,
    ) -> None:
        probability("alpha", alpha)
        method = method or ("eprocess" if horizon is None else "spending")
        if method not in ("spending", "eprocess", "fixed"):
            raise ValueError(f"method must be 'spending', 'eprocess' or 'fixed', not {method!r}")
        if method != "eprocess" and (horizon is None or horizon < 1):
            raise ValueError(f"method {method!r} needs a horizon of at least 1 sample, not {horizon}")
        self.n_train, self.irs_target, self.alpha = int(n_train), float(irs_target), float(alpha)
        self.s_target = target_support(self.n_train, self.irs_target)
        self.horizon, self.method = horizon, method
        self._start()

    def _start(self) -> None:
        self._seen = np.zeros(self.n_train, bool)
        self._retrieved: list[np.ndarray] = []
        self._n = self._k = 0
        self._outcome: Outcome = "undecided"
        self._decided_at: int | None = None

    def update(self, indices: Any) -> Decision:
        """Counts the next samples and decides; how they are split into batches makes no difference.

        Args:
            indices: (B,) integers, the training image that each next sample retrieved, in order.

        Raises:
            ValueError: an index outside 0 .. n_train - 1.
        """
        if hasattr(indices, "detach"):
            indices = indices.detach().cpu().numpy()
        batch = np.asarray(indices)
        if batch.size == 0:
            return self.decision
        if batch.ndim != 1 or batch.dtype.kind not in "iu":
            raise ValueError(f"indices must be a list of integers, not {batch.dtype} of shape {batch.shape}")
        if batch.min() < 0 or batch.max() >= self.n_train:
            raise ValueError(f"indices must lie between 0 and {self.n_train - 1}, the training images")
        batch = batch.astype(np.int64)
        first = np.zeros(len(batch), bool)
        first[np.unique(batch, return_index=True)[1]] = True
        fresh = first & ~self._seen[batch]
        self._seen[batch] = True
        self._retrieved.append(batch)
        n, k = self._n + np.arange(1, len(batch) + 1), self._k + np.cumsum(fresh)
        self._n, self._k = int(n[-1]), int(k[-1])
        if self._outcome == "undecided":
            self._decide(n, k)
        return self.decision

    def _decide(self, n: np.ndarray, k: np.ndarray) -> None:
        rejected, accepted = self._outcomes(n, k)
        decided = np.nonzero(rejected | accepted)[0]
        if decided.size:
            at = decided[0]
            self._outcome, self._decided_at = ("reject" if rejected[at] else "accept"), int(n[at])

    def _outcomes(self, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether k distinct images after n samples reject, and whether they accept; (B,) each."""
        if self.method == "eprocess":
            rejected = log_evalue(n, k, self.s_target) >= -np.log(self.alpha)
            return rejected, (k >= self.s_target) & ~rejected
        look = np.minimum(n, len(self._limits[0]) - 1)
        return k <= self._limits[0][look], k > self._limits[1][look]

    def earliest_decision(self, most: int) -> int:
        """The fewest further samples that may decide, all duplicates or all new; at most `most`, 0 once decided.

        Samples are wasted by no one who draws that many at a time.
        """
        if self._outcome != "undecided":
            return 0
        more = np.arange(1, most + 1)
        n, none_new = self._n + more, np.full(most, max(self._k, 1))
        may_reject, may_accept = self._outcomes(n, none_new)[0], self._outcomes(n, self._k + more)[1]
        possible = np.nonzero(may_reject | may_accept)[0]
        return int(more[possible[0]]) if possible.size else most

    @property
    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        """For each look 0 .. horizon the most distinct images that this look, and that it or a later one, rejects."""
        assert self.horizon is not None
        return _limits(self.horizon, self.s_target, self.alpha, self.method)

    def threshold(self, n: int) -> int:
        """The smallest number of distinct images after n samples that is not rejected; 0 before the first sample."""
        if n < 1:
            return 0
        if self.method != "eprocess":
            most = self._limits[0]
            return max(1, int(most[min(n, len(most) - 1)]) + 1)
        # The e-value falls with k: bisect.
        low, high = 0, min(n, self.s_target)
        while high - low > 1:
            middle = (low + high) // 2
            rejects = log_evalue(n, middle, self.s_target) >= -np.log(self.alpha)
            low, high = (middle, high) if rejects else (low, middle)
        return high

    @property
    def decision(self) -> Decision:
        """The decision after the samples so far."""
        return Decision(
            decision=self._outcome,
            irs_target=self.irs_target,
            alpha=self.alpha,
            n_train=self.n_train,
            s_target=self.s_target,
            n_sampled=self._n,
            n_learned=self._k,
            threshold=self.threshold(self._n),
            first_rejected_at=self._decided_at if self._outcome == "reject" else None,
            decided_at=self._decided_at,
            method=self.method,
            horizon=self.horizon,
        )

    @property
    def retrieved(self) -> np.ndarray:
        """The training image that each sample retrieved, in order, (n_sampled,) int64."""
        return np.concatenate(self._retrieved) if self._retrieved else np.empty(0, np.int64)

    @property
    def learned(self) -> np.ndarray:
        """Distinct training images after each sample, (n_sampled,) int64."""
        indices = self.retrieved
        fresh = np.zeros(len(indices), np.int64)
        fresh[np.unique(indices, return_index=True)[1]] = 1
        return np.cumsum(fresh)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the gate knows, of plain numbers, strings and lists."""
        return {**self._settings(), "retrieved": self.retrieved.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up where `state_dict` was called: decisions continue as if there had been no break.

        Raises:
            ValueError: the state belongs to a gate with other settings.
        """
        for name, own in self._settings().items():
            if name not in state or state[name] != own:
                raise ValueError(f"the saved gate has {name} = {state.get(name)!r}, this one {own!r}")
        self._start()
        self.update(saved_indices(state, self.n_train))

    def _settings(self) -> dict[str, Any]:
        names = ("n_train", "irs_target", "alpha", "horizon", "method")
        return {name: getattr(self, name) for name in names}


def saved_indices(state: Mapping[str, Any], n_train: int) -> np.ndarray:
    """What the samples retrieved, (N,) int64, as a state that was read from a file holds it.

    Raises:
        ValueError: it holds something else.
    """
    retrieved = state.get("retrieved")
    if not isinstance(retrieved, list) or not all(type(each) is int and 0 <= each < n_train for each in retrieved):
        raise ValueError(f"its retrieved must be a list of integers from 0 to {n_train - 1}, the training images")
    return np.array(retrieved, np.int64)


@lru_cache(maxsize=16)
def _limits(horizon: int, s: int, alpha: float, method: str) -> tuple[np.ndarray, np.ndarray]:
    looks = np.arange(horizon + 1)
    if method == "fixed":
        # Duplicates that leave too few distinct images at the horizon whatever comes.
        fewest = np.full(horizon + 1, horizon - rejection_threshold(horizon, s, alpha) + 1)
    else:
        fewest = spending_boundary(horizon, s, alpha)
    most = looks - fewest
    return most, np.maximum.accumulate(most[::-1])[::-1]


def log_evalue(n: Any, k: Any, s_target: int) -> np.ndarray:
    """Log of the mixture's likelihood ratio after n samples with k distinct images, for n and k of equal shapes.

    The mean over s1 in ALTERNATIVES * s_target of `(s0/s1)^(n - k) prod_{j<k} (1 - j/s1)/(1 - j/s0)`; an alternative
    is impossible once k exceeds it.
    """
    n, k = np.asarray(n, np.float64), np.asarray(k, np.float64)
    s0 = float(s_target)
    alternatives = np.unique([max(1, int(share * s_target)) for share in ALTERNATIVES if s_target > 1]).astype(float)
    if alternatives.size == 0:
        return np.zeros(n.shape)
    null = log_all_differ(np.minimum(k, s0), s0)
    ratios = [
        np.where(k <= s, (n - k) * np.log(s0 / s) + log_all_differ(np.minimum(k, s), s) - null, -np.inf)
        for s in alternatives
    ]
    return np.asarray(scipy.special.logsumexp(ratios, axis=0) - np.log(len(ratios)))


@lru_cache(maxsize=16)
def spending_boundary(horizon: int, s: int, alpha: float) -> np.ndarray:
    """For each look 0 .. horizon the fewest duplicates that reject "support s or more", (horizon + 1,) int64.

    Exact by the recursion over d, of which only the part that carries probability is kept; the spending function is
    alpha (n/horizon)^2. Curtailed: an entry is at most every later one.
    """
    # A look that cannot afford to reject what can be reached starts its boundary just above that.
    boundary = np.ones(horizon + 1, np.int64)
    spend = alpha * (np.arange(horizon + 1) / horizon) ** 2
    spent = 0.0
    # p[low:high] are the probabilities of d = low .. high - 1 duplicates without a rejection so far.
    p = np.zeros(horizon + 1)
    duplicates = np.arange(horizon + 1, dtype=np.float64)
    low, high = 0, 1
    p[0] = 1.0
    for n in range(1, horizon):
        # No more than s items can be seen, so that n - s duplicates are the fewest there are.
        low = max(low, n - s)
        part = p[low:high]
        if high == low + 1 == n - s + 1:
            # Every path that has not seen all s items is rejected: from here on each draw is a duplicate, and one more
            # duplicate than that says that there are fewer than s items.
            boundary[n + 1 :] = np.arange(n + 1, horizon + 1) - s + 1
            break
        # One more draw: of n - d items seen so far one comes again with probability (n - d)/s.
        again = (n - duplicates[low:high]) * part
        again /= s
        part -= again
        p[low + 1 : high + 1] += again
        high += 1
        budget, top = spend[n + 1] - spent, high
        while top > low and p[top - 1] <= budget:
            budget -= p[top - 1]
            top -= 1
        spent = spend[n + 1] - budget
        boundary[n + 1] = top
        p[top:high] = 0.0
        high = top
        if n % 64 == 0:
            while low < high - 1 and p[low] < NEGLIGIBLE:
                low += 1
        if high == low:  # every path is rejected by now
            boundary[n + 1 :] = top
            break
    # Duplicates never fall: what a later look rejects is rejected now.
    result = np.minimum.accumulate(boundary[::-1])[::-1]
    result.setflags(write=False)
    return result
