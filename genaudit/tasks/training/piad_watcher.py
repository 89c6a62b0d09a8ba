"""What PIAD's training shows: losses and weights gamma as lines, grids of pictures, the AUROC of anomalies, a page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data import ImageSet
from genaudit.errors import one_line
from genaudit.stats.auroc import auroc

if TYPE_CHECKING:
    from genaudit.piad.saved import Model
    from genaudit.piad.trainer import Trainer

LOOKS = 20  # pictures over a whole run, and saved models
WATCHED = 512  # images of each kind that the AUROC looks at
SAMPLES, RECONSTRUCTIONS = 64, 16  # pictures of a grid; reconstructions stand beside their images
PATIENCE = 5.0  # seconds between two printed lines
SHOWN = {
    "reconstruction": ("reconstruction",),
    "adversarial G/E": ("adversarial_generator", "adversarial_encoder"),
    "critics X/Z": ("critic_image", "critic_latent"),
    "gamma G/E": ("gamma_generator", "gamma_encoder"),
}


class PIADWatcher:
    """Called by the fit loop at each row of the log; about LOOKS times a run it saves the model, draws and scores.

    Args:
        anomalies, normal: prepared images, or None; without `normal` the AUROC takes training images.
    """

    def __init__(
        self,
        trainer: Trainer,
        model: Model,
        node: Mapping[str, Any],
        out: Path,
        about: Mapping[str, Any],
        anomalies: np.ndarray | None,
        normal: np.ndarray | None,
        every: int,
    ) -> None:
        self.trainer, self.model, self.node, self.out, self.about = trainer, model, node, out, about
        self.anomalies = anomalies
        self.every = every * max(1, round(trainer.iterations / LOOKS / every))
        self.held_out = normal is not None
        some = spread(len(trainer.images), WATCHED)
        self.normal = normal if normal is not None else trainer.images[some]
        self.shown = trainer.images[some[:: max(1, len(some) // RECONSTRUCTIONS)][:RECONSTRUCTIONS]]

    def __call__(self, iteration: int) -> dict[str, float]:
        if iteration % self.every and iteration != self.trainer.iterations:
            return {}
        if not self.trainer.finite(True):
            return {}  # the fit loop says so; nothing of it is saved as a model
        self.save()
        self.draw()
        if self.anomalies is None:
            return {}
        anomalies, normal = self._scores(self.anomalies), self._scores(self.normal)
        if not (np.isfinite(anomalies).all() and np.isfinite(normal).all()):
            return {}
        return {"auroc": auroc(anomalies, normal)}

    def save(self) -> None:
        """The model as it is now."""
        from genaudit.piad.saved import save

        about = {**self.about, "iterations": self.trainer.iteration, "schedule": self.node["schedule"]}
        save(self.model, self.out, self.node["perceptual"], **about)

    def remove(self) -> None:
        """Removes the models of earlier looks: the training diverged, and they are not what was asked for."""
        from genaudit.piad.saved import RECORD, WEIGHTS

        for name in (WEIGHTS, RECORD):
            (self.out / name).unlink(missing_ok=True)

    def draw(self) -> None:
        """Grids of samples and of images beside their reconstructions."""
        from genaudit.reports.training import png, tile

        name = f"{self.trainer.iteration:08d}.png"
        pairs = [self.shown] if self.anomalies is None else [self.shown, self.anomalies[:RECONSTRUCTIONS]]
        for folder, pictures, columns in (
            ("samples", _to_uint8(self.trainer.samples(SAMPLES).numpy()), None),
            ("reconstructions", np.concatenate([self._beside(each) for each in pairs]), 8),
        ):
            content = png(tile(pictures.transpose(0, 2, 3, 1), columns))
            for path in (self.out / folder / name, self.out / f"{folder}.png"):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(".partial")
                temporary.write_bytes(content)
                os.replace(temporary, path)

    def _beside(self, images: np.ndarray) -> np.ndarray:
        """Each image followed by its reconstruction, (2N, C, S, S) uint8."""
        from genaudit.piad.scoring import score_batches

        model = self.model
        parts = score_batches(model.networks, images, model.perceptual, model.reconstruction)
        reconstructions = np.concatenate([part.reconstructions for part in parts])
        return np.stack([images, _to_uint8(reconstructions)], axis=1).reshape(-1, *images.shape[1:])

    def _scores(self, images: np.ndarray) -> np.ndarray:
        from genaudit.piad.scoring import anomaly_score

        model = self.model
        return anomaly_score(model.networks, images, model.perceptual, reconstruction=model.reconstruction)


class PIADConsole:
    """The lines that are printed while PIAD learns."""

    def __init__(self, out: Path, trainer: Trainer, source: str) -> None:
        self.out, self.trainer, self.printed = out, trainer, time.monotonic()
        networks, features = trainer.networks, trainer.perceptual
        count = sum(p.numel() for network in networks for p in network.parameters())
        shape = "x".join(map(str, networks.image_shape))
        compared = "pixels" if features is None else features.name
        print(
            f"PIAD ({count:,} parameters) on {len(trainer.images):,} images of {one_line(source)} as {shape}, compared "
            f"by {compared}: {trainer.iterations:,} iterations on {trainer.device}",
            flush=True,
        )

    def resume(self, iteration: int) -> None:
        total = self.trainer.iterations
        what = "the training was done before" if iteration == total else "resuming from its checkpoint"
        print(f"{self.out}: {what}, iteration {iteration:,} of {total:,}", flush=True)

    def show(self, row: Mapping[str, float]) -> None:
        now, i = time.monotonic(), int(row["iteration"])
        if now - self.printed < PATIENCE and "auroc" not in row and i != self.trainer.iterations:
            return
        self.printed = now
        parts = [f"{label} {'/'.join(f'{row[key]:.3g}' for key in keys)}" for label, keys in SHOWN.items()]
        parts += [f"AUROC {row['auroc']:.3f}"] if "auroc" in row else []
        print(f"  {i:>9,}  {'  '.join(parts)}", flush=True)

    def end(self, seconds: float) -> None:
        each = 1000 * seconds / self.trainer.iterations
        print(
            f"{self.trainer.iterations:,} iterations in {seconds:,.0f} s ({each:,.1f} ms each); written {self.out}/ "
            f"model.safetensors, model.json, log.csv, train.html\n"
            f"next: genaudit evaluate SAMPLES reference=R metric=[piad] piad_model={self.out}"
        )


def page(out: Path, images: ImageSet, watcher: PIADWatcher, command: str) -> None:
    """Writes train.html from the log and the last pictures."""
    from genaudit.metrics.result import Curve
    from genaudit.reports.training import TrainingPage
    from genaudit.training import read_log

    log = read_log(out)
    iterations = log["iteration"]

    def curve(title: str, y: str, **lines: str) -> Curve:
        return Curve(
            title, "iteration", y, iterations, {name.replace("_", " "): log[key] for name, key in lines.items()}
        )

    curves = [
        curve("Reconstruction loss", watcher.model.reconstruction.replace("_", " "), reconstruction="reconstruction"),
        curve("Critics", "loss", of_images="critic_image", of_latents="critic_latent"),
        curve("Against the critics", "loss", generator="adversarial_generator", encoder="adversarial_encoder"),
        curve("Weight of the reconstruction", "gamma", generator="gamma_generator", encoder="gamma_encoder"),
    ]
    seen = np.isfinite(log["auroc"])
    remarks = []
    if seen.any():
        curves.append(
            Curve("Anomalies distinguished", "iteration", "AUROC", iterations[seen], {"AUROC": log["auroc"][seen]})
        )
        remarks.append(
            f"The AUROC is of at most {WATCHED} anomalies against at most {WATCHED} "
            + (
                "held-out normal images."
                if watcher.held_out
                else "training images, which flatters it: reference= takes held-out ones."
            )
            + " It is for watching; the model is the last one, whatever it shows."
        )
    model, trainer = watcher.model, watcher.trainer
    beside = "Images, each beside its reconstruction" + ("" if watcher.anomalies is None else "; then anomalies")
    pictures = [
        (caption, (out / f"{name}.png").read_bytes())
        for name, caption in (
            ("samples", "Samples G(z)"),
            ("reconstructions", beside),
        )
        if (out / f"{name}.png").exists()
    ]
    facts = [
        ("iterations", f"{trainer.iteration:,}"),
        ("images", f"{len(images):,}"),
        ("side", f"{model.architecture.size} px, {model.networks.image_shape[0]} channels"),
        ("perceptual", model.perceptual.name if model.perceptual is not None else "pixels"),
        ("seed", str(watcher.about["seed"])),
    ]
    TrainingPage(f"PIAD of {images.source}", command, facts, remarks, curves, pictures).write(out / "train.html")


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` places, in order, drawn without replacement: the same ones every time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] => 0 to 255."""
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
