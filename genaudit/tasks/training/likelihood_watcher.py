"""What a density model's training shows: bits per dimension and AUROC as it learns, lines, samples, a page.

AUROC as in `genaudit.metrics.llr`: in-distribution images are the positive class, 0.5 is chance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.errors import UserError, one_line
from genaudit.stats.auroc import auroc
from genaudit.tasks.run.environment import command_line
from genaudit.tasks.training.likelihood_images import LikelihoodImages

if TYPE_CHECKING:
    from genaudit.likelihood.trainer import Trainer

LOOKS = 20  # at the images that are watched, over a whole run,
LEAST_APART = 100  # and at least so many iterations apart: a look costs as much as a few dozen
WATCHED = 512  # images of each kind, evenly from the whole set
SAMPLES, SLOW_SAMPLES = 64, 16
PATIENCE = 5.0  # seconds between two printed lines
LABELS = {
    "bits_per_dim": "bits/dim",
    "reference_bits_per_dim": "reference",
    "auroc_raw": "AUROC raw",
    "auroc_last_scale": "last scale",
    "auroc_ratio": "ratio",
    "outlier_loss": "outlier loss",
}


class LikelihoodWatcher:
    """Looks at held-out images and at out-of-distribution images, about `LOOKS` times; `columns` of the log."""

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
        from genaudit.likelihood.evaluation import log_likelihoods

        self.trainer = trainer
        self.held_out = None if reference is None else _some(reference)
        self.foreign = None if anomalies is None else _some(anomalies)
        self.own = self.held_out if self.held_out is not None else _some(trainer.images)
        self.every = every * max(1, math.ceil(max(trainer.iterations / LOOKS, LEAST_APART) / every))
        self.columns: list[str] = ["reference_bits_per_dim"] if reference is not None else []
        self.general: list[np.ndarray] = []
        if self.foreign is not None:
            self.columns += ["auroc_raw", "auroc_last_scale"]
            if general is not None:
                self.columns.append("auroc_ratio")
                general = general.to(trainer.device)
                self.general = [log_likelihoods(general, each)[:, 0] for each in (self.own, self.foreign)]

    def __call__(self, iteration: int) -> dict[str, float]:
        import torch

        from genaudit.likelihood.evaluation import log_likelihoods, noisy_log_prob
        from genaudit.likelihood.losses import bits_per_dim, log_likelihood_ratio

        if not self.columns or (iteration % self.every and iteration != self.trainer.iterations):
            return {}
        row: dict[str, float] = {}
        if self.held_out is not None:
            noise = torch.Generator().manual_seed(0)
            log_prob = noisy_log_prob(self.trainer.model, self.held_out, generator=noise)
            row["reference_bits_per_dim"] = float(bits_per_dim(log_prob.mean(), self.trainer.dims))
        if self.foreign is not None:
            rows = [log_likelihoods(self.trainer.model, each) for each in (self.own, self.foreign)]
            raw, last = ([log_likelihood_ratio(each[:, k], 0.0) for each in rows] for k in (0, -1))
            row |= {"auroc_raw": auroc(*raw), "auroc_last_scale": auroc(*last)}
            if self.general:
                pairs = zip(rows, self.general, strict=True)
                row["auroc_ratio"] = auroc(*(log_likelihood_ratio(each[:, 0], general) for each, general in pairs))
        return row


def _some(images: Any) -> np.ndarray:
    chosen = np.unique(np.linspace(0, len(images) - 1, min(WATCHED, len(images))).round().astype(int))
    some: np.ndarray = images[chosen]
    return some


class LikelihoodConsole:
    """The lines that are printed while a model learns."""

    def __init__(self, out: Path, trainer: Trainer, images: LikelihoodImages, ranks: int) -> None:
        self.out, self.trainer = out, trainer
        self.printed = time.monotonic()
        count = sum(p.numel() for p in trainer.model.parameters())
        shape = "x".join(map(str, trainer.image_shape))
        shared = f", {ranks} processes" if ranks > 1 else ""
        source = one_line(images.set.source)
        print(
            f"{type(trainer.model).__name__} ({count:,} parameters) on {len(images):,} images of {source} "
            f"as {shape}: {trainer.iterations:,} iterations on {trainer.device}{shared}; out={out}",
            flush=True,
        )

    def resume(self, iteration: int) -> None:
        total = self.trainer.iterations
        what = "the training was done before" if iteration == total else "resuming from its checkpoint"
        print(f"{self.out}: {what}, iteration {iteration:,} of {total:,}", flush=True)

    def show(self, row: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.printed >= PATIENCE or row["iteration"] == self.trainer.iterations:
            self.printed = now
            parts = [f"{label} {row[name]:.4g}" for name, label in LABELS.items() if name in row]
            print(f"  {row['iteration']:>9,}  {'  '.join(parts)}", flush=True)

    def final(self) -> dict[str, Any]:
        """What the trained model's folder says of its end, from the log."""
        from genaudit.training import read_log

        log = read_log(self.out)
        last = {name: float(log[name][-1]) for name in LABELS if name in log and len(log[name])}
        return {name: value if math.isfinite(value) else None for name, value in last.items()}

    def end(self, seconds: float) -> None:
        trainer = self.trainer
        if trainer.skipped:
            print(f"{trainer.skipped:,} of {trainer.iterations:,} steps were left out: values were not finite")
        each = 1000 * seconds / trainer.iterations
        print(
            f"{trainer.iterations:,} iterations in {seconds:,.0f} s ({each:,.1f} ms each); written {self.out}/ "
            f"model.safetensors, model.json, log.csv, samples.png, train.html\n"
            f"next: genaudit evaluate SAMPLES anomalies=A metric=[llr] density_model={self.out}"
        )


def samples_wanted(given: Any, trainer: Trainer) -> int:
    """How many images to draw: as `samples` says; by default none where drawing takes too long."""
    from genaudit.likelihood.pixelcnnpp import PixelCNNpp

    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        raise UserError(f"samples must be an integer of 0 or more or null, got {given}")
    if given is not None:
        return int(given)
    if isinstance(trainer.model, PixelCNNpp):  # a pass for every pixel
        return 0 if trainer.device.type == "cpu" else SLOW_SAMPLES
    return SAMPLES


def draw_samples(trainer: Trainer, count: int, seed: int) -> np.ndarray:
    """Images (n, H, W, C) uint8 from the model."""
    import torch

    from genaudit.likelihood.dequantisation import from_unit_axis

    trainer.model.eval()
    sampled = trainer.model.sample(count, torch.Generator().manual_seed(seed))  # type: ignore[operator]
    pixels: np.ndarray = from_unit_axis(sampled).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def write_page(
    out: Path, trainer: Trainer, images: LikelihoodImages, final: Mapping[str, Any], *, samples: int, seed: int
) -> None:
    """samples.png, where samples are wanted, and train.html."""
    from genaudit.metrics.result import Curve
    from genaudit.reports.training import TrainingPage, png, tile
    from genaudit.training import read_log

    log = read_log(out)
    iterations = log["iteration"]
    curves = [_curve("Bits per dimension", "bits per dimension", iterations, {
        "training images, one batch": log["bits_per_dim"],
    })]  # fmt: skip
    groups = {
        "Bits per dimension, held-out": ("bits per dimension", ["reference_bits_per_dim"]),
        "Distinguished from out-of-distribution images": ("AUROC", ["auroc_raw", "auroc_last_scale", "auroc_ratio"]),
        "Outlier loss": ("loss", ["outlier_loss"]),
    }
    for title, (axis, names) in groups.items():
        lines = {LABELS[name]: log[name] for name in names if name in log}
        if lines:
            curves.append(_curve(title, axis, iterations, lines))
    pictures = []
    if samples:
        picture = png(tile(draw_samples(trainer, samples, seed)))
        temporary = out / "samples.png.partial"
        temporary.write_bytes(picture)
        temporary.replace(out / "samples.png")
        pictures.append((f"{samples} images drawn from the model", picture))
    facts = [("images", f"{len(images):,}"), ("iterations", f"{trainer.iterations:,}"), ("seed", str(seed))]
    facts += [(LABELS[name], f"{value:.4g}") for name, value in final.items() if value is not None]
    page = TrainingPage(
        title=f"{type(trainer.model).__name__} of {images.set.source}",
        command=command_line("train"),
        facts=facts,
        remarks=_remarks(trainer, images),
        curves=[curve for curve in curves if isinstance(curve, Curve)],
        pictures=pictures,
    )
    page.write(out / "train.html")


def _curve(title: str, axis: str, x: np.ndarray, lines: Mapping[str, np.ndarray]) -> Any:
    """The rows in which any line has a number."""
    from genaudit.metrics.result import Curve

    there = np.isfinite(np.stack(list(lines.values()))).any(axis=0)
    return Curve(title, "iteration", axis, x[there], {name: line[there] for name, line in lines.items()})


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
