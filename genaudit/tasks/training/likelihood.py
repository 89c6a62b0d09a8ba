"""`genaudit train likelihood=NAME train=T`: a density model on images, for `metric=llr`.

Schirrmeister et al. 2020, supplement S4 and S7. The run's folder holds, next to checkpoint and log
(`genaudit.training`):

    model.safetensors, model.json   the trained model (`genaudit.likelihood.saved`), which density_model=RUN and
                                    general_model=RUN, general=RUN and finetune=RUN name
    samples.png                     images drawn from it
    train.html                      bits per dimension, AUROC and samples on one page

Under torchrun every rank takes its part of each batch; rank 0 writes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf

from genaudit import __version__
from genaudit.errors import DONE, UserError
from genaudit.likelihood import saved
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.likelihood.trainer import PRECISIONS, Trainer
from genaudit.likelihood.wide_resnet import ClassifierRecipe
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.folder import run_folder
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.training import classifier
from genaudit.tasks.training.keys import checkpoint_seconds_of, every_of
from genaudit.tasks.training.likelihood_images import LikelihoodImages, labels_of, likelihood_images
from genaudit.tasks.training.likelihood_watcher import LABELS, LikelihoodWatcher, last_row, samples_wanted, write_page
from genaudit.tasks.training.together import agreed, join
from genaudit.tasks.training.watching import Console, parameters
from genaudit.training import fit

if TYPE_CHECKING:
    from genaudit.likelihood.trainer import Step

LOG = ("bits_per_dim", "outlier_loss", "learning_rate", "gradient_norm", "dropped")


def run(cfg: Any, settings: Settings) -> int:
    """Trains, from the run folder's checkpoint on where there is one; writes model, samples and page."""

    if settings.engine.precision not in PRECISIONS:
        raise UserError(
            f"precision={settings.engine.precision}: density models are trained in float32, or with precision=bfloat16 "
            "for what their networks compute within a step"
        )
    recipe = instantiate(cfg.likelihood.recipe, seed=settings.seed)
    if not isinstance(recipe, (TrainingRecipe, ClassifierRecipe)):
        raise UserError("likelihood.recipe: its YAML must make a genaudit.likelihood.recipe.TrainingRecipe")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        with join(settings.engine.device) as ranks:
            if isinstance(recipe, ClassifierRecipe):
                every, seconds = every_of(cfg.every, recipe.iterations), checkpoint_seconds_of(cfg)
                return classifier.run(cfg, settings, recipe, every, seconds, ranks)
            _train(cfg, settings, recipe, ranks)
    return DONE


def _train(cfg: Any, settings: Settings, recipe: TrainingRecipe, ranks: Ranks) -> None:

    model, node = _model(cfg)
    images, outliers, reference, anomalies = (
        likelihood_images(cfg, role, model.image_shape, settings)
        for role in ("train", "outliers", "reference", "anomalies")
    )
    if images is None:
        raise UserError("train=T is needed: the images that the model learns; `genaudit train --help` shows how")
    if len(images) < 2:
        raise UserError(f"train: {images.set.source} holds one image, and a density model needs at least 2")
    general = _general(cfg, recipe, outliers, model.image_shape)
    labels = labels_of(cfg.labels, images, int(node.get("classes", 1)))
    out = agreed(run_folder(cfg, "train"), ranks)
    trainer = Trainer(
        model,
        images,
        recipe,
        labels=labels,
        outliers=outliers,
        general=general,
        device=settings.engine.device,
        precision=settings.engine.precision,
        compiled=settings.compile,
    )
    every, samples = every_of(cfg.every, trainer.iterations), samples_wanted(cfg.samples, trainer)
    divisor = saved.load(cfg.finetune) if general is None and cfg.finetune else general
    watch = LikelihoodWatcher(trainer, reference, anomalies, divisor, every) if ranks.judges else None
    console = _console(out, trainer, images, ranks.count) if ranks.judges else None
    columns = [name for name in LOG if name != "outlier_loss" or outliers is not None]
    about: dict[str, Any] = {
        "images": images.set.source,
        "images_digest": images.set.digest,
        "n_images": len(images),
        "outliers_digest": None if outliers is None else outliers.set.digest,
        "general": saved.sha256(cfg.general) if cfg.general else None,
        "finetune": saved.sha256(cfg.finetune) if cfg.finetune else None,
        "labels": None if labels is None else hashlib.sha256(labels.tobytes()).hexdigest(),
        "precision": None if trainer.precision == "float32" else trainer.precision,
    }
    with Progress(settings.progress and ranks.judges).bar("training", trainer.iterations) as advance:
        fitted = fit(
            trainer,
            out,
            record=lambda step: _record(step, columns),
            log=[*columns, *(watch.columns if watch else ())],
            every=every,
            checkpoint_seconds=checkpoint_seconds_of(cfg),
            watch=watch,
            advance=advance,
            show=console.show if console else None,
            on_resume=console.resume if console else None,
            settings={**about, "images": None, "model": repr(sorted(node.items()))},
        )
    if console is None:
        return
    if trainer.skipped == trainer.iterations:
        raise UserError(
            "no step could be made: no batch had log-likelihoods and gradients that are finite; a lower "
            "likelihood.recipe.learning_rate or likelihood.recipe.clip_norm may help"
        )
    final = last_row(out)
    saved.save(model, out, node, **about, recipe=asdict(recipe), **final, genaudit=__version__)
    write_page(out, trainer, images, final, samples=samples, seed=settings.seed)
    if trainer.skipped:
        print(f"{trainer.skipped:,} of {trainer.iterations:,} steps were left out: values were not finite")
    console.end(
        fitted.seconds,
        ("model.safetensors", "model.json", "log.csv", *(["samples.png"] if samples else []), "train.html"),
        f"genaudit evaluate SAMPLES anomalies=A metric=[llr] density_model={out}",
    )


def _console(out: Path, trainer: Trainer, images: LikelihoodImages, ranks: int) -> Console:
    name, shape = type(trainer.model).__name__, "x".join(map(str, trainer.image_shape))
    return Console(
        out,
        trainer,
        f"{name} ({parameters(trainer.model)})",
        f"{len(images):,} images of {images.set.source} as {shape}",
        {label: (column,) for label, column in LABELS.items()},
        f", {ranks} processes" if ranks > 1 else "",
    )


def _model(cfg: Any) -> tuple[Any, dict[str, Any]]:
    """The network, from a trained one where `finetune` names it, and the YAML node that makes it."""

    node: Any = OmegaConf.to_container(cfg.likelihood.model, resolve=True)
    model = instantiate(cfg.likelihood.model)
    if not (hasattr(model, "image_shape") and hasattr(model, "contributions")):
        raise UserError("likelihood.model: its YAML must make a density model, such as genaudit.likelihood.glow.Glow")
    if cfg.finetune:
        there = saved.describe(cfg.finetune)["node"]
        begin, classes = saved.load(cfg.finetune), int(node.get("classes", 1))
        may_differ = {"recompute"}
        if classes > 1 and getattr(begin, "classes", None) == 1:  # each class begins with the prior of all (S7.2)
            begin = begin.with_classes(classes)
            may_differ.add("classes")
        other = [key for key in node if key in there and there[key] != node[key] and key not in may_differ]
        if other:
            listed = ", ".join(f"{key} (there {there[key]}, here {node[key]})" for key in other)
            raise UserError(f"finetune: {cfg.finetune} is another network: {listed}; give likelihood.model.{other[0]}")
        try:
            model.load_state_dict(begin.state_dict())
        except RuntimeError as error:
            text = " ".join(str(error).split())[:300]
            raise UserError(f"finetune: {cfg.finetune} is another network than likelihood.model: {text}") from None
    return model, node


def _general(cfg: Any, recipe: TrainingRecipe, outliers: LikelihoodImages | None, shape: tuple[int, int, int]) -> Any:
    """The general model of the outlier loss (Eq. S1), or None."""

    if cfg.general and (outliers is None or recipe.outliers == "margin"):
        raise UserError(
            "general= is for the outlier loss on the images of outliers=, with likelihood.recipe.outliers=outlier; to "
            "start from a general model: finetune="
        )
    if outliers is None or recipe.outliers == "margin":
        return None
    if not cfg.general:
        raise UserError(
            "the outlier loss on outliers= needs general=RUN, a density model trained on such images; the margin loss "
            "(likelihood.recipe.outliers=margin) does not"
        )
    general = saved.load(cfg.general)
    if tuple(general.image_shape) != tuple(shape):
        sizes = ["x".join(map(str, side)) for side in (general.image_shape, shape)]
        raise UserError(f"general: {cfg.general} is of {sizes[0]} images, and the model to train of {sizes[1]}")
    return general


def _record(step: Step, columns: list[str]) -> dict[str, float]:
    return {name: float(getattr(step, name)) for name in columns}
