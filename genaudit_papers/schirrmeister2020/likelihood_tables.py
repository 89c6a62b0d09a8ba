"""Bits per dimension and anomaly detection of Glow on CIFAR and SVHN, at the paper's scale.

Schirrmeister et al. 2020, supplement: Tables S1 (bits per dimension), S2 and S3 (AUROC of the last scale and of
ratios). There is no laptop version of their own: `likelihood_laptop` shows the method on Fashion-MNIST.

The general model learns the general distribution's images. The in-distribution's model is a copy of it that continues
with the in-distribution's images (S7.2), for Tables S2 and S3 with the outlier loss on general images (Eq. S1). Diff is
its log-likelihood ratio to the general model, Diff† that to a general model that continued with the in-distribution's
images as its outliers. Supervised models learn their images with labels and are scored by the mixture of their classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.likelihood.losses import bits_per_dim, log_likelihood_ratio
from genaudit.metrics.result import Marks
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.auroc import auroc
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, published
from genaudit_papers.schirrmeister2020 import density_runs
from genaudit_papers.schirrmeister2020.density_runs import (
    SEEDS,
    GlowSettings,
    classes,
    general_model,
    images,
    over_seeds,
    own_recipe,
    trained,
)
from genaudit_papers.schirrmeister2020.likelihood_curves import look_at

MEAN = "Mean"
UNSUPERVISED, SUPERVISED = "unsupervised", "supervised"
GENERAL = "The general distribution is what lies under data=DIR as tiny_images; the paper's was withdrawn."
CLASSES = (
    "Supervised: every class begins with the general model's prior of the last scale, and only that prior knows the "
    "class; the supplement says neither where its classes begin nor what they condition."
)


class _GlowTable:
    """What the tables share: settings, needs, the head.

    Args:
        table: as the paper calls it. seeds: how many. settings: see `GlowSettings`.
    """

    def __init__(self, *, name: str, table: str, seeds: int = 3, **settings: Any) -> None:
        self.name, self.seeds, self.settings = name, seeds, GlowSettings(**settings)
        self.given = published("schirrmeister2020", table)

    def sets(self) -> list[str]:
        """The image sets by the table's names."""
        raise NotImplementedError

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The general images and the table's sets; a laptop's scale there is not."""
        if scale == "laptop":
            return [density_runs.NO_LAPTOP]
        return density_runs.needs(data, self.sets())

    def _table(self, context: Context, cells: list[Cell], *notes: str) -> Table:
        return self.given.recomputed(self.name, cells, context.scale, notes=(SEEDS, GENERAL, *notes))

    def _step(self, name: str) -> str:
        return f"{name}-{self.settings.key}"


class BitsPerDimension(_GlowTable):
    """Table S1: the general model, training from scratch and finetuning, on the test images, one draw of noise."""

    def sets(self) -> list[str]:
        return list(dict.fromkeys(["CIFAR10", *self.given.rows]))  # CIFAR10 sets the general model's updates

    def run(self, context: Context) -> Table:
        """Trains and judges each seed."""
        by_seed = over_seeds(context, self.seeds, self._step("bits"), functools.partial(self._seed, context))
        cells = [over_seeds_compared(cell, [one[cell.row][cell.column] for one in by_seed]) for cell in self.given]
        return self._table(context, cells)

    def _seed(self, context: Context, seed: int) -> dict[str, dict[str, float]]:
        from genaudit.likelihood.trainer import finetune_from

        settings, (general, _) = self.settings, general_model(context, self.settings, seed)
        bits: dict[str, dict[str, float]] = {}
        for name in self.given.rows:
            train, test = images(context, name, "train"), images(context, name, "test")
            recipe = own_recipe(settings, name, len(train), seed)
            # looked at while they train: `likelihood_finetuning` draws the curves of these models
            look = look_at(context, name, [other for other in self.given.rows if other != name], general)
            learn = functools.partial(trained, context, settings, look=look)
            models = {
                "Tiny": general,
                "Retr": learn(f"{name}-scratch", seed, settings.network(seed), train, recipe),
                "Finet": learn(f"{name}-finetuned", seed, finetune_from(general), train, recipe),
            }
            bits[name] = {column: _bits(model, test, seed) for column, model in models.items()}
        return bits


class AnomalyDetection(_GlowTable):
    """Tables S2 and S3: AUROC of the in-distribution's test images against another set's, in percent."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(in-distribution, other set) of every row that is no mean."""
        pairs = [tuple(row.split(" ", 1)) for row in self.given.rows if MEAN not in row]
        return [(inside, outside) for inside, outside in pairs]

    def sets(self) -> list[str]:
        return list(dict.fromkeys(["CIFAR10", *(name for pair in self.pairs for name in pair)]))

    def run(self, context: Context) -> Table:
        """Trains and judges each seed."""
        by_seed = over_seeds(context, self.seeds, self._step("auroc"), functools.partial(self._seed, context))
        cells = [self._cell(cell, by_seed) for cell in self.given]
        return replace(self._table(context, cells, CLASSES), figures=(self._drawn(by_seed),))

    def _drawn(self, found: list[dict[str, dict[str, float]]]) -> Marks:
        """Fig. S5: means over the seeds with their standard errors."""
        marks = {}
        for column in found[0][" ".join(self.pairs[0])]:
            setting, _, score = column.partition(" ")
            values = np.array([[100 * one[f"{a} {b}"][column] for a, b in self.pairs] for one in found])
            errors = values.std(0, ddof=1) / len(found) ** 0.5 if len(found) > 1 else np.full(len(self.pairs), np.nan)
            marks[f"{setting}, {score}"] = values.mean(0), errors
        rows = tuple(f"{a} against {b}" for a, b in self.pairs)
        title = "AUROC by pair of sets, recomputed (Fig. S5)"
        return Marks(title, "AUROC in percent, mean and its standard error", rows, marks)

    def _cell(self, cell: PublishedCell, found: list[dict[str, dict[str, float]]]) -> Cell:
        score = cell.column.replace("Raw [4x4]", "4x4")
        if MEAN not in cell.row:
            rows = [cell.row]
        else:  # of the rows of one in-distribution, or of all
            rows = [f"{a} {b}" for a, b in self.pairs if cell.row in (MEAN, f"{a} {MEAN}")]
        return over_seeds_compared(cell, [100 * float(np.mean([one[row][score] for row in rows])) for one in found])

    def _seed(self, context: Context, seed: int) -> dict[str, dict[str, float]]:
        """AUROCs by row and column."""
        general, of_all = general_model(context, self.settings, seed)
        aurocs: dict[str, dict[str, float]] = {f"{a} {b}": {} for a, b in self.pairs}
        for inside in dict.fromkeys(inside for inside, _ in self.pairs):
            for setting in (UNSUPERVISED, SUPERVISED):
                score = self._scores(context, seed, inside, general, of_all, supervised=setting == SUPERVISED)
                ours = score(images(context, inside, "test"))
                for outside in (b for a, b in self.pairs if a == inside):
                    theirs = score(images(context, outside, "test"))
                    aurocs[f"{inside} {outside}"] |= {
                        f"{setting} {name}": auroc(ours[name], theirs[name]) for name in ours
                    }
        return aurocs

    def _scores(
        self, context: Context, seed: int, inside: str, general: Any, of_all: np.ndarray, *, supervised: bool
    ) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Trains the models of an in-distribution; the function gives images' scores, higher where they belong."""
        from genaudit.likelihood.scoring import log_likelihoods
        from genaudit.likelihood.trainer import finetune_from

        train, name, start, labels = images(context, inside, "train"), inside, finetune_from(general), {}
        if supervised:
            of_class = classes(context, inside)
            name, labels = f"{inside}-{SUPERVISED}", {"labels": of_class}
            start = start.with_classes(int(of_class.max()) + 1)
        recipe = own_recipe(self.settings, inside, len(train), seed)
        learn = functools.partial(trained, context, self.settings)
        model = learn(f"{name}-outlier-loss", seed, start, train, recipe, outliers=of_all, general=general, **labels)
        pushed = learn(
            f"general-against-{name}", seed, finetune_from(general), of_all, recipe, outliers=train, general=model
        )

        def score(given: np.ndarray) -> dict[str, np.ndarray]:
            rows, plain, against = (log_likelihoods(each, given) for each in (model, general, pushed))
            return {
                "4x4": log_likelihood_ratio(rows[:, -1], 0 * rows[:, 0]),
                "Diff": log_likelihood_ratio(rows[:, 0], plain[:, 0]),
                "Diff†": log_likelihood_ratio(rows[:, 0], against[:, 0]),
            }

        return score


def _bits(model: Any, given: np.ndarray, seed: int) -> float:
    import torch

    from genaudit.likelihood.scoring import noisy_log_prob

    log_prob = noisy_log_prob(model, given, generator=torch.Generator().manual_seed(seed))
    return float(bits_per_dim(log_prob.mean(), given[0].size))
