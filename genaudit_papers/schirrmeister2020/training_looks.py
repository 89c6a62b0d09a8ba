"""What is looked at while a Glow trains, for the paper's training curves: Figs. S2, S3, S4 and S6.

Schirrmeister et al. 2020, supplement S7.2 and S7.5: bits per dimension of test images with one draw of noise, and how
well the log-likelihood ratio to the general model distinguishes them from other sets. Looking changes nothing of the
training: it draws from generators of its own.

N images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from genaudit.backbones.weight_files import sha256_of_tensors
from genaudit.likelihood.losses import bits_per_dim, log_likelihood_ratio
from genaudit.metrics.result import Curve
from genaudit.stats.auroc import auroc
from genaudit_papers.measuring import digest_of

if TYPE_CHECKING:
    from genaudit.likelihood.glow import Glow

LOOKS = 40  # at a training, evenly spread
BITS = "test_bits_per_dim"
Log = dict[str, list[float]]  # by column; "iteration" is one


def area(name: str) -> str:
    """The log's column of the AUROC against a set."""
    return f"auroc_{name.replace(' ', '_')}"


@dataclass(frozen=True)
class Look:
    """Looks at a model in training.

    Attributes:
        inside: test images of the in-distribution, uint8 (N, H, W) or (N, H, W, C). others: other sets, by name.
        general: the model that the ratio divides by.
    """

    inside: np.ndarray
    others: Mapping[str, np.ndarray]
    general: Glow

    @classmethod
    def at(cls, inside: np.ndarray, others: Mapping[str, np.ndarray], general: Glow, *, most: int = 512) -> Look:
        """A look at no more than `most` images of each set, evenly from the whole of it."""
        return cls(_some(inside, most), {name: _some(images, most) for name, images in others.items()}, general)

    @property
    def columns(self) -> tuple[str, ...]:
        """The log's."""
        return (BITS, *map(area, self.others))

    @property
    def content(self) -> dict[str, str]:
        """What the numbers depend on besides the training."""
        sets = {name: digest_of(images) for name, images in self.others.items()}
        return {"inside": digest_of(self.inside), **sets, "general": sha256_of_tensors(self.general.state_dict())}

    @cached_property
    def _under_general(self) -> dict[str, np.ndarray]:
        from genaudit.likelihood.scoring import log_likelihoods

        sets = {"": self.inside, **self.others}
        return {name: log_likelihoods(self.general, images)[:, 0] for name, images in sets.items()}

    def __call__(self, model: Glow) -> dict[str, float]:
        """A row of the log."""
        import torch

        from genaudit.likelihood.scoring import log_likelihoods, noisy_log_prob

        log_prob = noisy_log_prob(model, self.inside, generator=torch.Generator().manual_seed(0))
        ours = self._ratio("", log_likelihoods(model, self.inside))
        return {BITS: float(bits_per_dim(log_prob.mean(), math.prod(model.image_shape)))} | {
            area(name): auroc(ours, self._ratio(name, log_likelihoods(model, images)))
            for name, images in self.others.items()
        }

    def _ratio(self, name: str, rows: np.ndarray) -> np.ndarray:
        ratio: np.ndarray = log_likelihood_ratio(rows[:, 0], self._under_general[name])
        return ratio


def _some(images: np.ndarray, most: int) -> np.ndarray:
    chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int))
    some: np.ndarray = images[chosen]
    return some


def kept(log: Mapping[str, np.ndarray], look: Look) -> Log:
    """A training's log as JSON can hold it: the iterations and what was looked at."""
    return {name: log[name].tolist() for name in ("iteration", *look.columns)}


def passes(log: Log, column: str, goal: float, *, lower: bool) -> float:
    """The share of a training, in percent, after which a column is better than `goal`; 100 where it never is."""
    values = np.array(log[column])
    better = np.flatnonzero(values < goal if lower else values > goal)
    iterations = log["iteration"]
    return 100.0 if len(better) == 0 else 100.0 * iterations[int(better[0])] / iterations[-1]


def curve(title: str, y_label: str, logs: Mapping[str, Sequence[Log]], column: str) -> Curve:
    """A column of several trainings: a line for each, the mean over its seeds."""
    lines = {name: np.mean([log[column] for log in of_seeds], axis=0) for name, of_seeds in logs.items()}
    first = next(iter(logs.values()))[0]
    return Curve(title, "iteration", y_label, np.array(first["iteration"]), lines)
