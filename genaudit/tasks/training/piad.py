"""`genaudit train piad=NAME train=T`: PIAD on normal images, with pictures of what it has learned as it learns.

The run's folder holds, next to checkpoint and log (`genaudit.training`):

    model.safetensors, model.json   the networks as of the last picture, ready to score (`genaudit.piad.saved`)
    samples/, reconstructions/      PNG grids by iteration; samples.png and reconstructions.png are the last
    train.html                      losses, weights gamma and the pictures on one page

Under torchrun every rank takes its part of each batch; rank 0 writes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from genaudit import __version__
from genaudit.data import ImageSet
from genaudit.errors import DONE, Diverged, UserError
from genaudit.hydra_errors import renamed
from genaudit.measures.piad import PreparedPixels
from genaudit.piad.networks import Architecture, build
from genaudit.piad.perceptual import Perceptual
from genaudit.piad.recipe import TrainingRecipe
from genaudit.piad.saved import Model, identity
from genaudit.piad.scoring import check_reconstruction
from genaudit.piad.trainer import Trainer
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.folder import run_folder
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.training.images import images_of, read_pixels
from genaudit.tasks.training.keys import checkpoint_seconds_of, every_of
from genaudit.tasks.training.piad_watcher import LABELS, PIADWatcher, spread, write_page
from genaudit.tasks.training.together import agreed, first_writes, join
from genaudit.tasks.training.watching import WATCHED, Console, parameters
from genaudit.training import fit

LOSSES = ("critic_image", "critic_latent", "adversarial_generator", "adversarial_encoder", "reconstruction")
GAMMAS = ("gamma_generator", "gamma_encoder")
LOG = (*LOSSES, *GAMMAS, "auroc")


def run(cfg: Any, settings: Settings) -> int:
    """Trains, from the run folder's checkpoint on where there is one; writes model, pictures and page."""
    with join(settings.engine.device) as ranks:
        _train(cfg, settings, ranks)
    return DONE


def _train(cfg: Any, settings: Settings, ranks: Ranks) -> None:
    if settings.engine.precision != "float32":
        raise UserError(
            f"precision={settings.engine.precision}: PIAD is trained in float32, as its critics' penalty is the "
            "gradient of a gradient"
        )
    if settings.compile:
        raise UserError("compile=true: PIAD's training takes gradients of gradients, which torch.compile does not")
    model = make(cfg.piad, settings)
    _refuse_old_keys(cfg.piad)
    recipe = instantiate(cfg.piad.recipe)
    if not isinstance(recipe, TrainingRecipe):
        raise UserError("piad.recipe: its YAML must make a genaudit.piad.recipe.TrainingRecipe")
    images = images_of(cfg, "train", settings)
    if images is None:
        raise UserError(
            "train=T is needed, the normal images to learn: genaudit train piad=mnist train=images/ out=RUN"
        )
    out = agreed(run_folder(cfg, "train"), ranks)
    pixels = PreparedPixels.of(model.pixels)
    array, images = first_writes(ranks, functools.partial(read_pixels, images, pixels, settings, out))
    anomalies, normal = (_some(cfg, role, pixels, settings) for role in ("anomalies", "reference"))
    trainer = Trainer(
        model.networks,
        array,
        model.perceptual,
        recipe,
        reconstruction=model.reconstruction,
        seed=settings.seed,
        device=settings.engine.device,
    )
    about = {"seed": settings.seed, "images": len(images), "images_digest": images.digest, "genaudit": __version__}
    every = every_of(cfg.every, recipe.iterations)
    watcher = PIADWatcher(trainer, model, _plain(cfg.piad), out, about, anomalies, normal, every)
    console = _console(out, trainer, images, ranks.count) if ranks.judges else None
    try:
        with Progress(settings.progress and ranks.judges).bar("training", recipe.iterations) as advance:
            fitted = fit(
                trainer,
                out,
                record=lambda losses: losses.numbers(),
                log=LOG,
                every=every,
                checkpoint_seconds=checkpoint_seconds_of(cfg),
                watch=watcher if console else None,
                advance=advance,
                show=console.show if console else None,
                on_resume=console.resume if console else None,
                settings=_fixed(model, settings, images),
            )
    except Diverged:
        if console:
            watcher.remove()
        raise
    if console is None:
        return
    reached = watcher.convergence()
    watcher.save(convergence=asdict(reached) | {"converged": reached.converged})
    write_page(out, images, watcher, reached)
    console.end(
        fitted.seconds,
        ("model.safetensors", "model.json", "log.csv", "samples.png", "train.html"),
        f"genaudit evaluate SAMPLES reference=R metric=[piad] piad_model={out}",
    )
    print(reached.sentence, flush=True)


def _console(out: Path, trainer: Trainer, images: ImageSet, ranks: int) -> Console:
    networks, features = trainer.networks, trainer.perceptual
    shape, compared = "x".join(map(str, networks.image_shape)), "pixels" if features is None else features.name
    model = f"PIAD ({parameters(*networks)})"
    what = f"{len(images):,} images of {images.source} as {shape}, compared by {compared}"
    return Console(out, trainer, model, what, LABELS, f", {ranks} processes" if ranks > 1 else "")


def make(node: Any, settings: Settings) -> Model:
    """The untrained model that a `piad` configuration describes.

    Raises:
        UserError: a key of it is wrong.
    """

    architecture = instantiate(node.networks)
    if not isinstance(architecture, Architecture):
        raise UserError("piad.networks: its YAML must make a genaudit.piad.networks.Architecture")
    perceptual = None if node.reconstruction == "mse" else make_perceptual(node.perceptual)
    try:
        pixels = PreparedPixels(architecture.size, node.channels, **node.pixels)
        check_reconstruction(node.reconstruction, perceptual)
        networks = build(architecture, pixels.channels, seed=settings.seed)
    except (ValueError, TypeError) as error:
        raise UserError(f"piad: {error}") from None
    return Model(networks, architecture, perceptual, node.reconstruction, pixels.describe())


def _refuse_old_keys(node: Any) -> None:
    """A YAML of an older version would otherwise train by the defaults.

    Raises:
        UserError: names the key, and what it is called today.
    """
    keys = [
        key for key in (*node, *(f"recipe.{key}" for key in node.recipe)) if renamed(f"piad.{key}") != f"piad.{key}"
    ]
    if keys:
        raise UserError(f"unknown key 'piad.{keys[0]}': did you mean {renamed(f'piad.{keys[0]}')}?")


def make_perceptual(node: Any) -> Perceptual:
    """The perceptual network of its configuration."""

    perceptual = instantiate(node) if node is not None and "_target_" in node else None
    if not isinstance(perceptual, Perceptual):
        raise UserError("piad.perceptual: its YAML must make a genaudit.piad.perceptual.Perceptual")
    return perceptual


def _some(cfg: Any, role: str, pixels: PreparedPixels, settings: Settings) -> np.ndarray | None:
    """At most WATCHED images of a role, prepared."""
    images = images_of(cfg, role, settings)
    if images is None:
        return None
    return read_pixels(images.subset(spread(len(images), WATCHED)), pixels, settings)[0]


def _fixed(model: Model, settings: Settings, images: ImageSet) -> dict[str, Any]:
    """What must be the same to resume a checkpoint, besides what the trainer itself compares."""

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

    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
