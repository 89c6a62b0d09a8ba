"""`genaudit train likelihood=wide_resnet train=T outliers=G`: the discriminative baseline to density models.

Schirrmeister et al. 2020, supplement S9: a classifier of training images against general ones, whose logit is the
score. The run's folder holds, next to checkpoint and log (`genaudit.training`), model.safetensors and model.json
(`genaudit.likelihood.saved`, kind "classifier"), scores.csv with the logit of every reference image and anomaly, and
train.html. Under torchrun the ranks share each batch, and rank 0 writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from genaudit import __version__
from genaudit.errors import DONE, UserError
from genaudit.likelihood import saved
from genaudit.likelihood.wide_resnet import ClassifierTrainer, WideResNet, logits
from genaudit.reports.files import write_csv
from genaudit.stats.auroc import auroc_interval
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.folder import run_folder
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.training.likelihood_images import LikelihoodImages, likelihood_images
from genaudit.tasks.training.together import agreed
from genaudit.tasks.training.watching import Console, Page, parameters
from genaudit.training import fit

if TYPE_CHECKING:
    from genaudit.likelihood.wide_resnet import ClassifierRecipe

BLOCK = 1024  # images whose logits are computed at a time


def run(
    cfg: Any, settings: Settings, recipe: ClassifierRecipe, every: int, checkpoint_seconds: float, ranks: Ranks
) -> int:
    """Trains, from the run folder's checkpoint on where there is one; scores reference images and anomalies."""

    for key in ("general", "finetune", "labels"):
        if cfg[key]:
            raise UserError(f"{key}= is for density models; the classifier takes train= and outliers=")
    model = instantiate(cfg.likelihood.model)
    if not isinstance(model, WideResNet):
        raise UserError("likelihood.model: this recipe trains a genaudit.likelihood.wide_resnet.WideResNet")
    images, outliers, reference, anomalies = (
        likelihood_images(cfg, role, model.image_shape, settings)
        for role in ("train", "outliers", "reference", "anomalies")
    )
    if images is None or outliers is None:
        raise UserError(
            "train=T and outliers=G are needed: the images to know, and general images to distinguish them from"
        )
    out = agreed(run_folder(cfg, "train"), ranks)
    trainer = ClassifierTrainer(
        model,
        images,
        outliers,
        recipe,
        device=settings.engine.device,
        precision=settings.engine.precision,
        compiled=settings.compile,
    )
    about = {
        "images_digest": images.set.digest,
        "outliers_digest": outliers.set.digest,
        "precision": None if trainer.precision == "float32" else trainer.precision,
    }
    node: Any = OmegaConf.to_container(cfg.likelihood.model, resolve=True)
    console = _console(out, trainer, images, outliers, ranks.count) if ranks.judges else None
    with Progress(settings.progress and ranks.judges).bar("training", trainer.iterations) as advance:
        fitted = fit(
            trainer,
            out,
            record=lambda step: {name: float(getattr(step, name)) for name in ("loss", "accuracy", "learning_rate")},
            log=["loss", "accuracy", "learning_rate"],
            every=every,
            checkpoint_seconds=checkpoint_seconds,
            advance=advance,
            show=console.show if console else None,
            on_resume=console.resume if console else None,
            settings={**about, "model": repr(sorted(node.items()))},
        )
    if console is None:
        return DONE
    saved.save(model, out, node, kind=saved.CLASSIFIER, **about, recipe=asdict(recipe), genaudit=__version__)
    scores = {role: _scores(model, held) for role, held in (("reference", reference), ("anomalies", anomalies)) if held}
    facts = [("images", f"{len(images):,}"), ("iterations", f"{trainer.iterations:,}"), ("seed", str(settings.seed))]
    if scores:
        _write_scores(out, {"reference": reference, "anomalies": anomalies}, scores)
    if anomalies is not None:
        side = "reference" if reference is not None else "train"
        ours = scores["reference"] if reference is not None else _scores(model, images)
        area = auroc_interval(ours, scores["anomalies"], confidence=settings.confidence, seed=settings.seed)
        some = area.lower is not None and area.upper is not None
        text = f"{area:.4f} ({area.lower:.4f} to {area.upper:.4f})" if some else f"{area:.4f} (too few for an interval)"
        facts.append((f"AUROC of {side} against anomalies", text))
        print(f"AUROC of {side} images against anomalies: {text}, {settings.confidence:.0%} bootstrap interval")
    page = Page(out)
    page.curve("Cross-entropy", "nats", one_batch="loss")
    page.curve("Right side", "share of the batch", one_batch="accuracy")
    page.write(f"WideResNet of {images.set.source}", facts)
    table = ("scores.csv",) if scores else ()
    console.end(fitted.seconds, ("model.safetensors", "model.json", "log.csv", *table, "train.html"))
    return DONE


def _console(
    out: Path, trainer: ClassifierTrainer, images: LikelihoodImages, outliers: LikelihoodImages, ranks: int
) -> Console:
    return Console(
        out,
        trainer,
        f"WideResNet ({parameters(trainer.model)})",
        f"{len(images):,} images of {images.set.source} against {len(outliers):,} of {outliers.set.source}",
        {name: (name,) for name in ("loss", "accuracy")},
        f", {ranks} processes" if ranks > 1 else "",
    )


def _scores(model: WideResNet, images: LikelihoodImages) -> np.ndarray:

    starts = range(0, len(images), BLOCK)
    blocks = (images[np.arange(start, min(start + BLOCK, len(images)))] for start in starts)
    return np.concatenate([logits(model, block) for block in blocks])


def _write_scores(out: Path, sets: Mapping[str, LikelihoodImages | None], scores: Mapping[str, np.ndarray]) -> None:
    """Name, role, logit and probability of being in-distribution of every scored image."""

    rows = []
    for role, of_role in scores.items():
        held = sets[role]
        assert held is not None
        rows += [[role, name, logit, 1 / (1 + math.exp(-max(-700.0, logit)))]
                 for name, logit in zip(held.set.names, of_role.tolist(), strict=True)]  # fmt: skip
    with open(out / "scores.csv", "w", encoding="utf-8", newline="") as stream:
        write_csv(["role", "name", "logit", "probability"], rows, stream)
