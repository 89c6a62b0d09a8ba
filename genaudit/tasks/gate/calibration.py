"""How the gate is calibrated: by held-out real images, by training images that are set aside, or absolutely."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genaudit.data.digest import shuffled_by_content
from genaudit.errors import UserError
from genaudit.metrics.absolute_gate import AbsoluteGate
from genaudit.metrics.calibrated_gate import CalibratedGate
from genaudit.metrics.gate import Calibration, Gate, Mode
from genaudit.stats.held_out_test import real_needed
from genaudit.tasks.gate.keys import GateKeys
from genaudit.tasks.gate.retrieval import RealRetrievals

HELD_OUT_FOR = 2000  # samples for which training images are set aside where nobody knows how many will come
# Of the training images. Each that leaves makes retrieval coarser: samples of a mode that has left retrieve some
# neighbour or other, and look diverse. Of 500 training images with 512 dimensions (Gaussian, target 1, 1,000 samples,
# 30 runs) a model of a tenth was caught in 40 % with half of them set aside, in 93 % with a third, in 97 % with a
# fifth.
MOST_SET_ASIDE = 0.2


@dataclass
class Gates:
    """Makes the gate of each checkpoint of one training set.

    `retrieval` holds the training images, each content once, and what the reference retrieves; `digests` (N, 16) are of
    all training images. `excluded` counts the reference images that are training images.
    """

    keys: GateKeys
    seed: int
    retrieval: RealRetrievals
    digests: np.ndarray
    excluded: int = 0
    _aside: dict[int, RealRetrievals] = field(default_factory=dict)

    def calibrate_by(self, rows: Any, digests: np.ndarray) -> None:
        """Takes held-out images (M, D) that are no training images themselves, in random order.

        Raises:
            UserError: fewer than 2 are left, and the gate is not absolute.
        """
        retrieved, copies = self.retrieval.nearest(rows, "reference")
        held_out = np.flatnonzero(~copies)
        self.excluded = len(rows) - len(held_out)
        order = shuffled_by_content(digests[held_out], self.seed)
        if len(held_out) < 2 and not self.keys.absolute:
            raise UserError(
                f"reference: all but {len(held_out)} of its {len(rows)} images are training images; 2 or more held-out "
                "images are needed, or leave reference out and some of train is set aside"
            )
        self.retrieval.real = retrieved[held_out][order]

    @property
    def calibration(self) -> Calibration:
        if self.keys.absolute:
            return "absolute"
        return "held_out_train" if self.retrieval.real is None else "reference"

    def gate(self, mode: Mode, samples: int | None) -> tuple[Gate, RealRetrievals]:
        """A gate for a checkpoint of `samples` samples (None: nobody knows), and what they retrieve from."""
        counts = [n for n in (samples, self.keys.n_max) if n is not None]
        horizon = min(counts) if counts else None
        retrieval = self._set_aside(horizon) if self.calibration == "held_out_train" else self.retrieval
        try:
            return self._gate(retrieval, mode, horizon), retrieval
        except ValueError as error:
            role = "reference" if self.calibration == "reference" else "train"
            raise UserError(f"{role}: {error}") from error

    def _gate(self, retrieval: RealRetrievals, mode: Mode, horizon: int | None) -> Gate:
        question, n_train = self.keys.question, retrieval.n_train
        if self.calibration == "absolute":
            evenness = self._train_evenness
            return AbsoluteGate(
                n_train, question, mode=mode, horizon=horizon, real=retrieval.real, train_evenness=evenness
            )
        return CalibratedGate(
            retrieval.real,
            n_train,
            question,
            calibration=self.calibration,
            mode=mode,
            horizon=horizon,
            seed=self.seed,
        )

    @cached_property
    def _train_evenness(self) -> float:
        return self.retrieval.evenness(self.seed)

    def _set_aside(self, horizon: int | None) -> RealRetrievals:
        """Some training images play held-out ones: as many as the samples need, at most a fifth."""
        wanted = real_needed(HELD_OUT_FOR if horizon is None else horizon, self.keys.question.irs_target)
        n_train = self.retrieval.n_train
        count = min(wanted, int(MOST_SET_ASIDE * n_train))
        if count < 2:
            raise UserError(
                f"train: {n_train} distinct images are too few to set some aside; the gate needs 4 or more, or "
                "reference=... with held-out images"
            )
        if count not in self._aside:
            order = shuffled_by_content(self.digests[self.retrieval.kept], self.seed)
            self._aside = {count: self.retrieval.with_set_aside(count, order)}
        return self._aside[count]
