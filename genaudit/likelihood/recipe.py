"""How a density model is trained: the keys of `likelihood.recipe` (Schirrmeister et al. 2020, supplement S4 and S7)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from genaudit.stats.bounds import Seed


@dataclass(frozen=True)
class TrainingRecipe:
    """How to train.

    iterations: optimiser steps; None takes `epochs` passes over the images.
    optimiser: "adamax" (the authors' for Glow) or "adam" (for PixelCNN++, and faster for small models).
    learning_rate: at its highest; `warmup` steps lead up to it, "cosine" leads down to 0 at the end.
    clip_norm: largest norm of the gradient of bits per dimension; None does not clip, as the authors.
    flip, shift: augmentation, see `dequantisation.augment`.
    outliers: the loss on outliers, if outliers are given; `temperature` and `weight` are T and lambda of Eq. S1, the
        margin is D nats with weight 1.
    initial_images: images in the batch that sets the actnorms.
    """

    iterations: int | None = None
    epochs: int = 250
    batch_size: int = 64
    optimiser: Literal["adamax", "adam"] = "adamax"
    learning_rate: float = 5e-4
    weight_decay: float = 5e-5
    warmup: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float | None = None
    flip: bool = False
    shift: float = 0.0
    outliers: Literal["outlier", "margin"] = "outlier"
    temperature: float = 1000.0
    weight: float = 6000.0
    initial_images: int = 256
    seed: Seed = 0

    def __post_init__(self) -> None:
        choices_of = {
            "optimiser": ("adamax", "adam"),
            "schedule": ("constant", "cosine"),
            "outliers": ("outlier", "margin"),
        }
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        whole = ("iterations", "epochs", "batch_size", "warmup", "initial_images", "seed")
        may_be_zero = ("weight_decay", "warmup", "shift", "weight", "seed")
        for name, value in asdict(self).items():
            optional = value is None and name in ("iterations", "clip_norm")
            if name in choices_of or name == "flip" or optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int if name in whole else (int, float)):
                raise ValueError(f"{name} must be a {'whole ' if name in whole else ''}number, not {value!r}")
            if not 0 <= value < math.inf or (value == 0 and name not in may_be_zero):
                raise ValueError(f"{name} must be {'at least' if name in may_be_zero else 'above'} 0, not {value!r}")
        if self.shift >= 1:
            raise ValueError(f"shift is a share of the side below 1, not {self.shift}")

    def rate(self, iteration: int, iterations: int) -> float:
        """Learning rate of step `iteration` (from 0) of `iterations`."""
        rise = min(1.0, (iteration + 1) / self.warmup) if self.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * iteration / iterations)) if self.schedule == "cosine" else 1.0
        return self.learning_rate * rise * fall
