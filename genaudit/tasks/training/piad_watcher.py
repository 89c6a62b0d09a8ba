"""What PIAD's training shows: losses and weights gamma as lines, grids of pictures, the AUROC of anomalies, a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.data import ImageSet
from genaudit.piad.convergence import Convergence, convergence
from genaudit.piad.saved import RECORD, WEIGHTS, save
from genaudit.piad.scoring import anomaly_score, score_batches
from genaudit.stats.auroc import auroc
from genaudit.tasks.training.watching import WATCHED, Page, Watcher, write_picture

if TYPE_CHECKING:
    from genaudit.piad.saved import Model
    from genaudit.piad.trainer import Trainer

SAMPLES, RECONSTRUCTIONS = 64, 16  # pictures of a grid; reconstructions stand next to their images
LABELS = {
    "reconstruction": ("reconstruction",),
    "adversarial G/E": ("adversarial_generator", "adversarial_encoder"),
    "critics X/Z": ("critic_image", "critic_latent"),
    "gamma G/E": ("gamma_generator", "gamma_encoder"),
    "AUROC": ("auroc",),
}


class PIADWatcher(Watcher):
    """Saves the model, draws, and scores the watched images.

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
        super().__init__(trainer, every)
        self.trainer, self.model, self.node, self.out, self.about = trainer, model, node, out, about
        self.anomalies = anomalies
        self.held_out = normal is not None
        some = spread(len(trainer.images), WATCHED)
        self.normal = normal if normal is not None else trainer.images[some]
        self.shown = trainer.images[some[:: max(1, len(some) // RECONSTRUCTIONS)][:RECONSTRUCTIONS]]

    def look(self) -> dict[str, float]:
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

    def convergence(self) -> Convergence:
        """How the model's loss compares with that of baselines, on held-out normal images where there are any."""
        model = self.model
        images, train = self.normal, self.trainer.images
        return convergence(
            model.networks, train, images, model.perceptual, model.reconstruction, held_out=self.held_out
        )

    def save(self, **more: Any) -> None:
        """The model as it is now; `more` goes to its description."""

        about = {**self.about, "iterations": self.trainer.iteration, "recipe": self.node["recipe"], **more}
        save(self.model, self.out, self.node["perceptual"], **about)

    def remove(self) -> None:
        """Removes the models of earlier looks: the training diverged, and they are not what was asked for."""

        for name in (WEIGHTS, RECORD):
            (self.out / name).unlink(missing_ok=True)

    def draw(self) -> None:
        """Grids of samples and of images next to their reconstructions, by iteration; the last ones by name alone."""
        sets = [self.shown] if self.anomalies is None else [self.shown, self.anomalies[:RECONSTRUCTIONS]]
        grids = {
            "samples": (_to_uint8(self.trainer.samples(SAMPLES).numpy()), None),
            "reconstructions": (np.concatenate([self._with_reconstructions(images) for images in sets]), 8),
        }
        for name, (pictures, columns) in grids.items():
            path = self.out / name / f"{self.trainer.iteration:08d}.png"
            write_picture(path, pictures.transpose(0, 2, 3, 1), columns)
            with atomic_write(self.out / f"{name}.png") as copy:
                copy.write_bytes(path.read_bytes())

    def _with_reconstructions(self, images: np.ndarray) -> np.ndarray:
        """Each image followed by its reconstruction, (2N, C, S, S) uint8."""

        model = self.model
        parts = score_batches(model.networks, images, model.perceptual, model.reconstruction)
        reconstructions = np.concatenate([part.reconstructions for part in parts])
        return np.stack([images, _to_uint8(reconstructions)], axis=1).reshape(-1, *images.shape[1:])

    def _scores(self, images: np.ndarray) -> np.ndarray:

        model = self.model
        return anomaly_score(model.networks, images, model.perceptual, reconstruction=model.reconstruction)


def write_page(out: Path, images: ImageSet, watcher: PIADWatcher, reached: Convergence) -> None:
    """train.html from the log and the last pictures."""
    model, trainer, page = watcher.model, watcher.trainer, Page(out)
    compared = model.reconstruction.replace("_", " ")
    page.curve("Reconstruction loss", compared, reconstruction="reconstruction")
    page.curve("Critics", "loss", of_images="critic_image", of_latents="critic_latent")
    page.curve("Against the critics", "loss", generator="adversarial_generator", encoder="adversarial_encoder")
    page.curve("Weight of the reconstruction", "gamma", generator="gamma_generator", encoder="gamma_encoder")
    remarks = [f"{reached.sentence[0].upper()}{reached.sentence[1:]}."]
    if page.curve("Anomalies distinguished", "AUROC", AUROC="auroc"):
        normal = (
            "held-out normal images."
            if watcher.held_out
            else "training images, which flatters it: reference= takes held-out ones."
        )
        remarks.append(
            f"The AUROC is of at most {WATCHED} anomalies against at most {WATCHED} {normal} It is for watching; the "
            "model is the last one, whatever it shows."
        )
    anomalies = "" if watcher.anomalies is None else "; then anomalies"
    page.picture("Samples G(z)", "samples.png")
    page.picture(f"Images, each next to its reconstruction{anomalies}", "reconstructions.png")
    facts = [
        ("iterations", f"{trainer.iteration:,}"),
        ("images", f"{len(images):,}"),
        ("side", f"{model.architecture.size} px, {'grey' if model.networks.image_shape[0] == 1 else 'colour'}"),
        ("perceptual", model.perceptual.name if model.perceptual is not None else "pixels"),
        ("seed", str(watcher.about["seed"])),
    ]
    page.write(f"PIAD of {images.source}", facts, remarks)


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` places, in order, drawn without replacement: the same ones every time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] => 0 to 255."""
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
