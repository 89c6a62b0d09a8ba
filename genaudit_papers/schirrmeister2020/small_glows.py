"""Density models that a CPU trains in minutes, and what they are judged by: the work behind `likelihood_laptop`.

Three Glows a seed: a general model; a copy of it finetuned on the images of interest (Schirrmeister et al. 2020, S7.2);
a copy of that with the outlier loss (Eq. S1). `configs/likelihood/glow_laptop.yaml` has the same network and settings
for `genaudit train`.

N images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from genaudit.likelihood import saved
from genaudit.likelihood.fourier import mix_amplitude_phase, mixing_correlations, to_pixel_range
from genaudit.likelihood.losses import bits_per_dim, log_likelihood_ratio
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.training import fit
from genaudit_papers.measuring import SAVED

if TYPE_CHECKING:
    from torch import Tensor

    from genaudit.likelihood.glow import Glow
    from genaudit.likelihood.trainer import Step

NETWORK = {
    "_target_": "genaudit.likelihood.glow.Glow",
    "channels": 1,
    "size": 32,
    "scales": 3,
    "steps": 4,
    "hidden": 32,
    "coupling": "tanh",
    "classes": 1,
}
Scores: TypeAlias = "dict[str, dict[str, np.ndarray]]"
AFTER = "after the outlier loss: "
FINETUNING_RATE = 6e-3  # half of the general model's: the copy begins near a good place
LOG = ("bits_per_dim", "outlier_loss", "gradient_norm", "skipped")


@dataclass(frozen=True)
class TrainingBudget:
    """Optimiser steps of the three models, and how many cut-outs there are."""

    general: int = 2000
    images: int = 1500
    outlier: int = 250
    cutouts: int = 30_000


@dataclass(frozen=True)
class Trained:
    """The three models of a seed, in evaluation mode.

    seconds: of CPU time for each, over all calls. skipped: updates left out because a value was not finite.
    """

    general: Glow
    images: Glow
    outlier: Glow
    seconds: dict[str, float]
    skipped: dict[str, int]


def recipe(iterations: int, seed: int) -> TrainingRecipe:
    """The general model's; `glow_laptop.yaml` says why these values."""

    return TrainingRecipe(
        iterations=iterations,
        batch_size=64,
        optimiser="adam",
        learning_rate=1.2e-2,
        weight_decay=0.0,
        warmup=50,
        schedule="cosine",
        clip_norm=50.0,
        seed=seed,
    )


def train(
    images: np.ndarray,
    cutouts: np.ndarray,
    budget: TrainingBudget,
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    report: Callable[[str], None] = print,
    checkpoint_seconds: float = 30.0,
) -> Trained:
    """Trains the three models of a seed, or reads back what an earlier call finished.

    Args:
        images: (N, 28, 28) uint8, of the in-distribution. cutouts: likewise, of the general distribution.
        budget: how long. folder: of this seed; every model keeps its checkpoints and log in a folder of its own there.
        seed: of everything random. device: where. report: takes a line for each model. checkpoint_seconds: of `fit`.

    Each model's folder is a saved model, which `density_model=` takes.
    """
    from genaudit.likelihood.trainer import finetune_from

    fitting = _Fitting(folder, seed, device, report, checkpoint_seconds)
    first = recipe(budget.general, seed)
    general = fitting.fitted("general", new_network(seed), cutouts, first)
    second = replace(first, iterations=budget.images, learning_rate=FINETUNING_RATE)
    inside = fitting.fitted("images", finetune_from(general), images, second)
    third = replace(second, iterations=budget.outlier)
    outlier = fitting.fitted("outlier", finetune_from(inside), images, third, outliers=cutouts, general=general)
    return Trained(general, inside, outlier, fitting.seconds, fitting.skipped)


def train_general(cutouts: np.ndarray, budget: TrainingBudget, folder: Path, *, seed: int, **more: Any) -> Glow:
    """The first of `train`'s models alone, in the same folder; arguments as there."""
    fitting = _Fitting(folder, seed, **more)
    return fitting.fitted("general", new_network(seed), cutouts, recipe(budget.general, seed))


def new_network(seed: int) -> Glow:
    """A small Glow with weights drawn from the seed."""
    import torch

    from genaudit.likelihood.glow import Glow

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Glow(**{key: value for key, value in NETWORK.items() if key != "_target_"})  # type: ignore[arg-type]


@dataclass
class _Fitting:
    """Trains models of a seed in folders beside each other; `seconds` and `skipped` of each by its name."""

    folder: Path
    seed: int
    device: str = "cpu"
    report: Callable[[str], None] = print
    checkpoint_seconds: float = 30.0
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def fitted(self, name: str, model: Glow, images: np.ndarray, how: TrainingRecipe, **more: Any) -> Glow:
        self.report(f"seed {self.seed}: {name} model, {how.iterations} iterations")
        trainer = _timed()(model, images, how, device=self.device, **more)
        place, seconds = self.folder / name, self.checkpoint_seconds
        fit(trainer, place, record=_numbers, log=LOG, every=100, checkpoint_seconds=seconds)
        if not (place / SAVED).exists():
            saved.save(model, place, NETWORK, seed=self.seed)
        self.seconds[name], self.skipped[name] = trainer.seconds, trainer.skipped
        return model.eval()


def _timed() -> Any:
    from genaudit.likelihood.trainer import Trainer

    class Timed(Trainer):
        """Counts its CPU time, that before a resumption too."""

        seconds = 0.0

        def step(self) -> Step:
            start = time.process_time()
            done = super().step()
            self.seconds += time.process_time() - start
            return done

        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"seconds": self.seconds}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            super().load_state_dict(state)
            self.seconds = float(state["seconds"])

    return Timed


def _numbers(step: Step) -> dict[str, float]:
    return {name: float(getattr(step, name)) for name in LOG}


def padded(images: np.ndarray) -> Tensor:
    """Images (N, 28, 28) uint8 as the models see them, (N, 1, 32, 32) uint8."""
    from genaudit.likelihood.dequantisation import to_pixels

    return to_pixels(images, size=int(str(NETWORK["size"])))


def judge(models: Trained, sets: dict[str, np.ndarray], codes: dict[str, dict[str, Any]]) -> Scores:
    """Scores of every image of every set, (N,) each, higher where the image is taken for one of the in-distribution.

    Args:
        models: of one seed. sets: uint8 (N, 28, 28) by name.
        codes: codec => set's name => bits of each image.

    Returns:
        Score's name => set's name => scores, on noise-free inputs, clipped from below (S4.5).
    """
    from genaudit.likelihood.scoring import log_likelihoods

    scores: Scores = {}
    for name, images in sets.items():
        general = log_likelihoods(models.general, images)[:, 0]
        beside = {"general model": general}
        beside |= {codec: -math.log(2) * np.asarray(lengths[name], float) for codec, lengths in codes.items()}
        for other, log_prob in beside.items():
            scores.setdefault(f"control: {other} alone", {})[name] = log_likelihood_ratio(0 * log_prob, log_prob)
        for after, model in (("", models.images), (AFTER, models.outlier)):
            rows = log_likelihoods(model, images)
            scores.setdefault(f"{after}likelihood", {})[name] = log_likelihood_ratio(rows[:, 0], 0 * general)
            scores.setdefault(f"{after}last scale", {})[name] = log_likelihood_ratio(rows[:, -1], 0 * general)
            for other, log_prob in beside.items():
                scores.setdefault(f"{after}ratio to {other}", {})[name] = log_likelihood_ratio(rows[:, 0], log_prob)
    return dict(sorted(scores.items(), key=lambda of: of[0].startswith("control")))  # the controls last


def bits(model: Glow, images: np.ndarray, *, samples: int = 1) -> float:
    """Bits per dimension of images (N, 28, 28) with dequantisation noise, padding counted; importance-weighted if
    `samples` is above 1, then an upper bound of what a code by the model would need that is closer to it."""
    import torch

    from genaudit.likelihood.scoring import noisy_log_prob

    generator = torch.Generator().manual_seed(0)
    log_prob = noisy_log_prob(model, images, samples=samples, generator=generator)
    return float(bits_per_dim(log_prob.mean(), math.prod(model.image_shape)))


def amplitude_and_phase(model: Glow, images: np.ndarray) -> tuple[float, float]:
    """Spearman correlations of mixes' log-likelihoods with those of the images of the amplitudes and phases (S3).

    Each image's amplitudes meet the phases of the next one; padded first, mixed, then clipped and rounded.
    """
    from genaudit.likelihood.scoring import log_likelihoods

    pixels = padded(images)[:, 0].numpy()
    mixes = to_pixel_range(mix_amplitude_phase(pixels, np.roll(pixels, -1, axis=0))).pixels
    plain, mixed = (log_likelihoods(model, given)[:, 0] for given in (pixels, mixes))
    correlations = mixing_correlations(mixed, plain, np.roll(plain, -1))
    return correlations.amplitude, correlations.phase
