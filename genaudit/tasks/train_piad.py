"""`genaudit train piad=NAME train=T`: PIAD on normal images, with pictures of what it has learned as it learns.

The run's folder holds, beside checkpoint and log (`genaudit.training`):

    model.safetensors, model.json   the networks as of the last picture, ready to score (`genaudit.piad.saved`)
    samples/, reconstructions/      PNG grids by iteration; samples.png and reconstructions.png are the last
    train.html                      losses, weights gamma and the pictures on one page
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit import __version__
from genaudit.data import ImageSet
from genaudit.errors import DONE, UserError
from genaudit.measures.piad import Pixels
from genaudit.stats.auroc import auroc
from genaudit.tasks.environment import command_line
from genaudit.tasks.instantiate import instantiate
from genaudit.tasks.progress import Progress
from genaudit.tasks.run_folder import run_folder
from genaudit.tasks.settings import Settings
from genaudit.tasks.training_images import images_of, read_pixels

if TYPE_CHECKING:
    from genaudit.piad.perceptual import Perceptual
    from genaudit.piad.saved import Model
    from genaudit.piad.trainer import Trainer

LOSSES = ("critic_image", "critic_latent", "adversarial_generator", "adversarial_encoder", "reconstruction")
GAMMAS = ("gamma_generator", "gamma_encoder")
LOG = (*LOSSES, *GAMMAS, "auroc")
ROWS = 200  # of the log, over a whole run
PICTURED = 10  # rows between two pictures
WATCHED = 512  # images of each kind that the AUROC in the log looks at
SAMPLES, RECONSTRUCTIONS = 64, 16  # pictures of a grid; reconstructions stand beside their images


def run(cfg: Any, settings: Settings) -> int:
    """Trains, from the run folder's checkpoint on where there is one; writes model, pictures and page."""
    from genaudit.piad.trainer import Schedule, Trainer
    from genaudit.training import fit

    model = make(cfg.piad, settings)
    schedule = instantiate(cfg.piad.schedule)
    if not isinstance(schedule, Schedule):
        raise UserError("piad.schedule: its YAML must make a genaudit.piad.trainer.Schedule")
    images = images_of(cfg, "train", settings)
    if images is None:
        raise UserError(
            "train=T is needed, the normal images to learn: genaudit train piad=mnist train=images/ out=RUN"
        )
    out = run_folder(cfg, "train")
    pixels = Pixels.of(model.pixels)
    array, images = read_pixels(images, pixels, settings, out)
    anomalies, normal = (_some(cfg, role, pixels, settings) for role in ("anomalies", "reference"))
    trainer = Trainer(
        model.networks,
        array,
        model.perceptual,
        schedule,
        reconstruction=model.reconstruction,
        seed=settings.seed,
        device=settings.engine.device,
    )
    about = {"seed": settings.seed, "images": len(images), "images_digest": images.digest, "genaudit": __version__}
    every = _every(cfg, schedule.iterations)
    watcher = _Watcher(trainer, model, _plain(cfg.piad), out, about, anomalies, normal, every, settings.progress)
    with Progress(settings.progress).bar("training", schedule.iterations) as advance:
        fitted = fit(
            trainer,
            out,
            record=lambda losses: losses.numbers(),
            log=LOG,
            every=every,
            checkpoint_seconds=float(cfg.checkpoint_seconds),
            watch=watcher,
            advance=advance,
            show=watcher.show,
            settings=_fixed(model, settings, images),
        )
    watcher.save()
    page(out, images, watcher, command_line("train"))
    print(f"{trainer.iteration:,} iterations on {len(images):,} images in {fitted.seconds:,.0f} s")
    print(f"written {out}/ model.safetensors, model.json, log.csv, train.html; score with piad_model={out}")
    return DONE


def make(node: Any, settings: Settings) -> Model:
    """The untrained model that a `piad` configuration describes.

    Raises:
        UserError: a key of it is wrong.
    """
    from genaudit.piad.networks import Architecture, build
    from genaudit.piad.saved import Model
    from genaudit.piad.scoring import check_reconstruction

    architecture = instantiate(node.networks)
    if not isinstance(architecture, Architecture):
        raise UserError("piad.networks: its YAML must make a genaudit.piad.networks.Architecture")
    perceptual = None if node.reconstruction == "mse" else make_perceptual(node.perceptual)
    try:
        pixels = Pixels(architecture.size, node.channels, **node.pixels)
        check_reconstruction(node.reconstruction, perceptual)
        networks = build(architecture, pixels.channels, seed=settings.seed)
    except (ValueError, TypeError) as error:
        raise UserError(f"piad: {error}") from None
    return Model(networks, architecture, perceptual, node.reconstruction, pixels.describe())


def make_perceptual(node: Any) -> Perceptual:
    """The perceptual network of its configuration."""
    from genaudit.piad.perceptual import Perceptual

    perceptual = instantiate(node) if node is not None and "_target_" in node else None
    if not isinstance(perceptual, Perceptual):
        raise UserError("piad.perceptual: its YAML must make a genaudit.piad.perceptual.Perceptual")
    return perceptual


class _Watcher:
    """Called by the fit loop at each row of the log; at some of them it saves the model and draws.

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
        talks: bool,
    ) -> None:
        self.trainer, self.model, self.node, self.out, self.about = trainer, model, node, out, about
        self.anomalies, self.every, self.talks = anomalies, every, talks
        self.held_out = normal is not None
        some = _spread(len(trainer.images), WATCHED)
        self.normal = normal if normal is not None else trainer.images[some]
        self.shown = trainer.images[some[:: max(1, len(some) // RECONSTRUCTIONS)][:RECONSTRUCTIONS]]

    def __call__(self, iteration: int) -> dict[str, float]:
        if iteration % (self.every * PICTURED) and iteration != self.trainer.iterations:
            return {}
        self.save()
        self.draw()
        if self.anomalies is None:
            return {}
        anomalies, normal = self._scores(self.anomalies), self._scores(self.normal)
        if not (np.isfinite(anomalies).all() and np.isfinite(normal).all()):
            return {}  # the trainer says so itself once it looks
        return {"auroc": auroc(anomalies, normal)}

    def show(self, row: Mapping[str, float]) -> None:
        """A line of the log for people, where there is a new picture."""
        i, end = int(row["iteration"]), self.trainer.iterations
        text = (
            f"reconstruction {row['reconstruction']:.3f}, "
            f"adversarial G {row['adversarial_generator']:.3g} E {row['adversarial_encoder']:.3g}, "
            f"critics {row['critic_image']:.3g} {row['critic_latent']:.3g}, "
            f"gamma G {row['gamma_generator']:.3g} E {row['gamma_encoder']:.3g}"
        )
        text += f", AUROC {row['auroc']:.3f}" if "auroc" in row else ""
        if self.talks and (i % (self.every * PICTURED) == 0 or i == end):
            print(f"{i:>{len(str(end))}}/{end}  {text}", file=sys.stderr, flush=True)

    def save(self) -> None:
        """The model as it is now."""
        from genaudit.piad.saved import save

        about = {**self.about, "iterations": self.trainer.iteration, "schedule": self.node["schedule"]}
        save(self.model, self.out, self.node["perceptual"], **about)

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


def page(out: Path, images: ImageSet, watcher: _Watcher, command: str) -> None:
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
            Curve("Anomalies told apart", "iteration", "AUROC", iterations[seen], {"AUROC": log["auroc"][seen]})
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
    pictures = [
        (caption, (out / f"{name}.png").read_bytes())
        for name, caption in (
            ("samples", "Samples G(z)"),
            ("reconstructions", "Images, each beside its reconstruction"),
        )
        if (out / f"{name}.png").exists()
    ]
    facts = [
        ("iterations", f"{trainer.iteration:,}"),
        ("images", f"{len(images):,} of {images.source}"),
        ("side", f"{model.architecture.size} px, {model.networks.image_shape[0]} channels"),
        ("perceptual", model.perceptual.name if model.perceptual is not None else "pixels"),
        ("seed", str(watcher.about["seed"])),
    ]
    TrainingPage("PIAD", command, facts, remarks, curves, pictures).write(out / "train.html")


def _every(cfg: Any, iterations: int) -> int:
    if cfg.every is None:
        return max(1, iterations // ROWS)
    if isinstance(cfg.every, bool) or not isinstance(cfg.every, int) or cfg.every < 1:
        raise UserError(f"every={cfg.every}: a whole number from 1 on, or null, is needed")
    return int(cfg.every)


def _some(cfg: Any, role: str, pixels: Pixels, settings: Settings) -> np.ndarray | None:
    """At most WATCHED images of a role, prepared."""
    images = images_of(cfg, role, settings)
    if images is None:
        return None
    return read_pixels(images.subset(_spread(len(images), WATCHED)), pixels, settings)[0]


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` places, in order, drawn without replacement: the same ones every time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _fixed(model: Model, settings: Settings, images: ImageSet) -> dict[str, Any]:
    """What must be the same for a checkpoint to be gone on with, besides what the trainer itself compares."""
    import hashlib
    import json
    from dataclasses import asdict

    from genaudit.piad.saved import identity

    perceptual = {} if model.perceptual is None else identity(model.perceptual)
    statistics = json.dumps(perceptual.get("statistics")).encode()
    return {
        "seed": settings.seed,
        "images": images.digest,
        "pixels": json.dumps(model.pixels, sort_keys=True),
        "networks": json.dumps(asdict(model.architecture), sort_keys=True),
        "perceptual weights": str(perceptual.get("weights_sha256")),
        "perceptual statistics": hashlib.sha256(statistics).hexdigest(),
    }


def _plain(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] => 0 to 255."""
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
