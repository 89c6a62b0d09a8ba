"""Modalities of magnetic resonance images as each other's outliers, at the paper's scale.

Schirrmeister et al. 2020, supplement S5.2: a Glow of one modality of BRATS tells it from the others by its raw
likelihood and by the last scale of it. The section says neither which modality is learned nor how volumes become
images, so each modality is learned in its turn, from slices that the user has written as images, and the published
numbers stand beside the mean over all pairs. Training is plain maximum likelihood from scratch: no general images.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.likelihood.losses import log_likelihood_ratio
from genaudit.measures.piad import PreparedPixels
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Table
from genaudit.stats.auroc import auroc
from genaudit_papers.datasets import SPLITS, Split
from genaudit_papers.measuring import resized, set_need
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, published
from genaudit_papers.schirrmeister2020.density_runs import (
    NO_LAPTOP,
    SEEDS,
    GlowSettings,
    over_seeds,
    own_recipe,
    trained,
)

RAW, LAST = "raw likelihood", "last-scale likelihood"
NOTES = (
    SEEDS,
    "The paper does not say which modality is learned: each is, and the published numbers stand beside the mean over "
    "all pairs. It says neither which slices of the volumes it takes nor whether its Glow is finetuned.",
)


class ModalitiesAsOutliers:
    """AUROC, in percent, of one modality's test slices against another's.

    Args:
        modalities: folders under data=DIR/brats, each with train and test. seeds: how many. settings: see
            `GlowSettings`.
    """

    def __init__(self, *, modalities: Sequence[str], seeds: int = 3, **settings: Any) -> None:
        self.modalities, self.seeds, self.settings = list(modalities), seeds, GlowSettings(**settings)
        self.given = published("schirrmeister2020", "Section S5.2")

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The slices of each modality and split; a laptop's scale there is not."""
        if scale == "laptop":
            return [NO_LAPTOP]
        return [
            set_need(data, _name(modality, split), f"BRATS: {split} slices of {modality}")
            for modality in self.modalities
            for split in SPLITS
        ]

    def run(self, context: Context) -> Table:
        """Trains and judges each seed."""
        by_seed = over_seeds(context, self.seeds, f"auroc-{self.settings.key}", functools.partial(self._seed, context))
        cells = [
            over_seeds_compared(cell, [100 * float(np.mean(list(one[cell.row].values()))) for one in by_seed], unit="%")
            for cell in self.given
        ]
        for pair in by_seed[0][RAW]:
            for score in (LAST, RAW):
                cell = PublishedCell(f"{pair}, {score}", self.given.columns[0], "")
                cells.append(over_seeds_compared(cell, [100 * one[score][pair] for one in by_seed], unit="%"))
        return self.given.recomputed("likelihood_mri", cells, context.scale, notes=NOTES)

    def _seed(self, context: Context, seed: int) -> dict[str, dict[str, float]]:
        """AUROCs by score and pair."""
        from genaudit.likelihood.scoring import log_likelihoods

        test = {modality: _slices(context, modality, "test") for modality in self.modalities}
        scores: dict[str, dict[str, np.ndarray]] = {}  # of the model of a modality, by the set that it judges
        for inside in self.modalities:
            train = _slices(context, inside, "train")
            recipe = own_recipe(self.settings, inside, len(train), seed)
            network = self.settings.network(seed, channels=1)
            model = trained(context, self.settings, f"brats-{inside}", seed, network, train, recipe)
            scores[inside] = {modality: log_likelihoods(model, slices) for modality, slices in test.items()}
        aurocs: dict[str, dict[str, float]] = {LAST: {}, RAW: {}}
        for inside, outside in permutations(self.modalities, 2):
            ours, theirs = scores[inside][inside], scores[inside][outside]
            for score, column in ((LAST, -1), (RAW, 0)):
                clipped = [log_likelihood_ratio(rows[:, column], 0 * rows[:, 0]) for rows in (ours, theirs)]
                aurocs[score][f"{inside} against {outside}"] = auroc(*clipped)
        return aurocs


def _name(modality: str, split: Split) -> str:
    return f"brats/{modality}/{split}"


def _slices(context: Context, modality: str, split: Split) -> np.ndarray:
    """Grey slices (N, 32, 32, 1) uint8, on disk."""

    pixels, _ = resized(context, _name(modality, split), PreparedPixels(32, 1))
    return pixels.transpose(0, 2, 3, 1)[..., :1]
