"""The baseline without a density: a Wide-ResNet that tells the in-distribution from general images.

Schirrmeister et al. 2020, supplement S9 and Table S4. Its logit is the score of an image; no image of the other set is
seen in training. At laptop size the in-distribution is Fashion-MNIST, the general one cut-outs of photographs, and the
others are MNIST and Fashion-MNIST rotated by 90 degrees, as in `likelihood_laptop`, whose ratio to the general model is
the score to compare with.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Table
from genaudit.stats.auroc import auroc
from genaudit.training import fit
from genaudit_papers import datasets
from genaudit_papers.cutouts import cutouts
from genaudit_papers.measuring import digest_of
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, published
from genaudit_papers.schirrmeister2020 import density_runs
from genaudit_papers.schirrmeister2020.density_runs import SEEDS, over_seeds

LOG = ("loss", "accuracy", "learning_rate")
TEST = "Fashion-MNIST"
DIFFERS = (
    "Everything but the method: a Wide-ResNet-{depth}-{width} and {iterations:,} updates instead of WRN-28-10 and 200 "
    "epochs; Fashion-MNIST instead of CIFAR and SVHN; cut-outs of six photographs instead of 80 Million Tiny Images. "
    "The supplement prints no number for Fashion-MNIST, so no cell has a published value."
)


class DiscriminativeBaseline:
    """Table S4: AUROC of the classifier's logit, in percent.

    Args:
        seeds: how many. laptop, paper: `depth`, `width` of the network, `iterations` and `batch_size` of the training
            (half of each batch is general images) at either scale.
        cutouts, images: at laptop scale: general images, and Fashion-MNIST's test images to judge by.
    """

    def __init__(
        self,
        *,
        seeds: int,
        laptop: dict[str, int],
        paper: dict[str, int],
        cutouts: int = 30_000,
        images: int = 2000,
    ) -> None:
        self.seeds, self.cutouts, self.images = seeds, cutouts, images
        self.settings = {"laptop": dict(laptop), "paper": dict(paper)}
        self.given = published("schirrmeister2020", "Table S4")

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The sets of the scale."""
        if scale == "paper":
            return density_runs.needs(data, list(dict.fromkeys(name for pair in self._pairs() for name in pair)))
        return [datasets.fashion_mnist_need(data), datasets.mnist_need(), datasets.photographs_need()]

    def run(self, context: Context) -> Table:
        """Trains a classifier for each in-distribution and seed, and judges it."""
        laptop = context.scale == "laptop"
        settings = self.settings[context.scale]
        key = hashlib.blake2b(json.dumps([settings, self.cutouts, self.images]).encode(), digest_size=4).hexdigest()
        one = self._laptop if laptop else self._paper
        by_seed = over_seeds(context, self.seeds, f"auroc-{key}", functools.partial(one, context, key))
        printed = [PublishedCell(row, "AUC", "") for row in by_seed[0]] if laptop else self.given
        cells = [over_seeds_compared(cell, [100 * each[cell.row] for each in by_seed], unit="%") for cell in printed]
        return self.given.recomputed(
            "likelihood_table_s4",
            cells,
            context.scale,
            differs=DIFFERS.format(**settings) if laptop else "",
            notes=(SEEDS, "The images of the in-distribution's test set are the positive class."),
        )

    def _pairs(self) -> list[tuple[str, str]]:
        return [(inside, outside) for inside, outside in (row.split(" ", 1) for row in self.given.rows)]

    def _laptop(self, context: Context, key: str, seed: int) -> dict[str, float]:
        train, test = (datasets.fashion_mnist(split, context.data)[0] for split in datasets.SPLITS)
        general = cutouts(datasets.photographs(), self.cutouts)
        score = self._classifier(context, key, "fashion-mnist", seed, train, general, flip=False)
        test = test[: self.images]
        inside = score(test)
        others = {"MNIST": datasets.mnist()[0], "rotated 90 degrees": np.rot90(test, axes=(1, 2)).copy()}
        return {f"{TEST} against {name}": auroc(inside, score(each)) for name, each in others.items()}

    def _paper(self, context: Context, key: str, seed: int) -> dict[str, float]:
        general = density_runs.images(context, density_runs.GENERAL, "train")
        scores: dict[str, float] = {}
        for inside in dict.fromkeys(inside for inside, _ in self._pairs()):
            train, test = (density_runs.images(context, inside, split) for split in datasets.SPLITS)
            flip = density_runs.plain(inside).startswith("CIFAR")
            score = self._classifier(context, key, inside, seed, train, general, flip=flip)
            own = score(test)
            for outside in (b for a, b in self._pairs() if a == inside):
                scores[f"{inside} {outside}"] = auroc(own, score(density_runs.images(context, outside, "test")))
        return scores

    def _classifier(
        self, context: Context, key: str, name: str, seed: int, inside: Any, outside: Any, *, flip: bool
    ) -> Any:
        """Trained, or read back; a function that gives images their logits."""
        import torch

        from genaudit.likelihood.wide_resnet import ClassifierRecipe, ClassifierTrainer, WideResNet, logits

        settings = self.settings[context.scale]
        recipe = ClassifierRecipe(settings["iterations"], settings["batch_size"], flip=flip, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            channels = 1 if inside[:1].ndim == 3 else 3
            model = WideResNet(channels, 32, depth=settings["depth"], width=settings["width"])
        context.report(f"seed {seed}: classifier of {name}, {recipe.iterations} iterations")
        trainer = ClassifierTrainer(model, inside, outside, recipe, device=context.device)
        content = {"images": digest_of(inside), "general": digest_of(outside)}
        about = {"settings": settings, "recipe": asdict(recipe), "channels": channels, **content}
        folder = context.training_folder(f"classifier-{name}-seed{seed}", about)
        fit(
            trainer,
            folder,
            record=lambda step: {column: getattr(step, column) for column in LOG},
            log=LOG,
            every=100,
            checkpoint_seconds=context.checkpoint_seconds,
        )
        return lambda given: logits(model, given)
