"""What a density model's training shows: bits per dimension and AUROC as it learns, samples, a page.

AUROC as in `genaudit.metrics.llr`: in-distribution images are the positive class, 0.5 is chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genaudit.errors import UserError
from genaudit.likelihood.dequantisation import from_unit_axis
from genaudit.likelihood.losses import bits_per_dim, log_likelihood_ratio
from genaudit.likelihood.pixelcnnpp import PixelCNNpp
from genaudit.likelihood.scoring import log_likelihoods, noisy_log_prob
from genaudit.stats.auroc import auroc
from genaudit.stats.bounds import Natural, checked
from genaudit.tasks.training.likelihood_images import LikelihoodImages
from genaudit.tasks.training.watching import WATCHED, Page, Watcher, write_picture
from genaudit.training import read_log

if TYPE_CHECKING:
    from genaudit.likelihood.trainer import Trainer

APART = 100  # iterations between two looks at least: a look costs as much as a few dozen
SAMPLES, SLOW_SAMPLES = 64, 16
LABELS = {
    "bits/dim": "bits_per_dim",
    "reference": "reference_bits_per_dim",
    "AUROC raw": "auroc_raw",
    "last scale": "auroc_last_scale",
    "ratio": "auroc_ratio",
    "outlier loss": "outlier_loss",
}


class LikelihoodWatcher(Watcher):
    """Looks at held-out images and at out-of-distribution images; `columns` of the log."""

    def __init__(
        self,
        trainer: Trainer,
        reference: LikelihoodImages | None,
        anomalies: LikelihoodImages | None,
        general: Any,
        every: int,
    ) -> None:
        """
        Args:
            general: the model that the ratio divides by, None for no ratio. every: iterations between rows of the log.
        """

        super().__init__(trainer, every, apart=APART)
        self.trainer = trainer
        self.held_out = None if reference is None else _some(reference)
        self.foreign = None if anomalies is None else _some(anomalies)
        self.normal = self.held_out if self.held_out is not None else _some(trainer.images)
        self.columns: list[str] = ["reference_bits_per_dim"] if reference is not None else []
        self.general: list[np.ndarray] = []
        if self.foreign is not None:
            self.columns.append("auroc_raw")
            if log_likelihoods(trainer.model, self.normal[:1]).shape[1] > 2:
                # PixelCNN++ and the local Glow have one scale, whose score is the likelihood again
                self.columns.append("auroc_last_scale")
            if general is not None:
                self.columns.append("auroc_ratio")
                general = general.to(trainer.device)
                self.general = [log_likelihoods(general, images)[:, 0] for images in (self.normal, self.foreign)]

    def look(self) -> dict[str, float]:

        row: dict[str, float] = {}
        if self.held_out is not None:
            noise = torch.Generator().manual_seed(0)
            log_prob = noisy_log_prob(self.trainer.model, self.held_out, generator=noise)
            row["reference_bits_per_dim"] = float(bits_per_dim(log_prob.mean(), self.trainer.dims))
        if self.foreign is not None:
            rows = [log_likelihoods(self.trainer.model, images) for images in (self.normal, self.foreign)]
            raw, last = ([log_likelihood_ratio(of_set[:, k], 0.0) for of_set in rows] for k in (0, -1))
            row["auroc_raw"] = auroc(*raw)
            if "auroc_last_scale" in self.columns:
                row["auroc_last_scale"] = auroc(*last)
            if self.general:
                pairs = zip(rows, self.general, strict=True)
                row["auroc_ratio"] = auroc(*(log_likelihood_ratio(of_set[:, 0], general) for of_set, general in pairs))
        return row


def _some(images: Any) -> np.ndarray:
    """At most `WATCHED` images, evenly from the whole set."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(WATCHED, len(images))).round().astype(int))
    some: np.ndarray = images[chosen]
    return some


def last_row(out: Path) -> dict[str, Any]:
    """What the trained model's folder says of its end, from the log."""

    log = read_log(out)
    last = {name: float(log[name][-1]) for name in LABELS.values() if name in log and len(log[name])}
    return {name: value if math.isfinite(value) else None for name, value in last.items()}


def samples_wanted(count: Any, trainer: Trainer) -> int:
    """How many images to draw: as `samples` says; by default none where drawing takes too long."""
    if count is not None:
        return int(checked("samples", count, Natural, error=UserError))
    if isinstance(trainer.model, PixelCNNpp):  # a pass for every pixel
        return 0 if trainer.device.type == "cpu" else SLOW_SAMPLES
    return SAMPLES


def draw_samples(trainer: Trainer, count: int, seed: int) -> np.ndarray:
    """Images (n, H, W, C) uint8 from the model."""

    trainer.model.eval()
    sampled = trainer.model.sample(count, torch.Generator().manual_seed(seed))  # type: ignore[operator]
    pixels: np.ndarray = from_unit_axis(sampled).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def write_page(
    out: Path, trainer: Trainer, images: LikelihoodImages, final: Mapping[str, Any], *, samples: int, seed: int
) -> None:
    """samples.png, where samples are wanted, and train.html."""
    page = Page(out)
    page.curve("Bits per dimension", "bits per dimension", **{"training images, one batch": "bits_per_dim"})
    page.curve("Bits per dimension, held-out", "bits per dimension", reference="reference_bits_per_dim")
    names = ("auroc_raw", "auroc_last_scale", "auroc_ratio")
    shown = {label: name for label, name in LABELS.items() if name in names}
    page.curve("Distinguished from out-of-distribution images", "AUROC", **shown)
    page.curve("Outlier loss", "loss", outlier_loss="outlier_loss")
    if samples:
        write_picture(out / "samples.png", draw_samples(trainer, samples, seed))
        page.picture(f"{samples} images drawn from the model", "samples.png")
    facts = [("images", f"{len(images):,}"), ("iterations", f"{trainer.iterations:,}"), ("seed", str(seed))]
    facts += [(label, f"{final[name]:.4g}") for label, name in LABELS.items() if final.get(name) is not None]
    page.write(f"{type(trainer.model).__name__} of {images.set.source}", facts, _remarks(trainer, images))


def _remarks(trainer: Trainer, images: LikelihoodImages) -> list[str]:
    remarks = []
    channels, size, _ = trainer.image_shape
    heights, widths = images.set.sizes[:, 0], images.set.sizes[:, 1]
    if min(heights.min(), widths.min()) < size:
        remarks.append(f"Images smaller than {size}x{size} were padded with black on all sides.")
    if channels == 1 and set(images.set.modes) - {"L", "1"}:
        remarks.append("Colour images were turned to grey (0.2989 red + 0.5870 green + 0.1140 blue).")
    if trainer.dropped:
        remarks.append(f"{trainer.dropped:,} images without a finite log-likelihood were left out of their steps.")
    if trainer.skipped:
        remarks.append(f"{trainer.skipped:,} steps were left out because too many values were not finite.")
    return remarks
