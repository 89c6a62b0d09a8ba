"""Which general images a model finds likeliest: by raw likelihood, by the ratio, by the last scale.

Schirrmeister et al. 2020, supplement S8, Figs. S7 (without the outlier loss) and S8 (with it): the twelve general
images with the highest scores, three rows. Numbers beside them say how far the twelve vary within themselves: a
constant image has a contrast of 0, and the paper finds constant images at the top of the raw likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.likelihood.losses import log_likelihood_ratio
from genaudit.metrics.result import PictureRow, Pictures
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, published
from genaudit_papers.schirrmeister2020 import density_runs
from genaudit_papers.schirrmeister2020.density_runs import (
    SEEDS,
    GlowSettings,
    general_model,
    images,
    over_seeds,
    own_recipe,
    trained,
)
from genaudit_papers.schirrmeister2020.likelihood_curves import look_at
from genaudit_papers.schirrmeister2020.likelihood_laptop import LikelihoodLaptop

if TYPE_CHECKING:
    from genaudit.likelihood.glow import Glow

SHOWN = 12
INSIDE, OTHERS = "CIFAR10", ("CIFAR100", "SVHN")  # the others as in Table S1, whose model this is
WITHOUT, WITH = "without the outlier loss", "with the outlier loss"
FIGURES = {WITHOUT: "Fig. S7", WITH: "Fig. S8"}
RAW, RATIO, LAST = "raw likelihood", "ratio to the general model", "last scale"
CONTRAST = "mean contrast"


class Likeliest:
    """Figs. S7 and S8.

    Args:
        seeds: how many; they count up from the run's. images: general ones that are scored, the paper's 120,000.
        laptop: keys of `LikelihoodLaptop`, whose models this takes. laptop_images: of its cut-outs.
        settings: of the paper's scale, see `GlowSettings`.
    """

    def __init__(
        self,
        *,
        seeds: int = 3,
        images: int = 120_000,
        laptop_images: int = 6000,
        laptop: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.seeds, self.settings = seeds, GlowSettings(**settings)
        self.images: dict[Scale, int] = {"laptop": laptop_images, "paper": images}
        self.laptop = LikelihoodLaptop(seeds=seeds, **(laptop or {}))

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """What `likelihood_laptop` needs; at the paper's scale the general images, CIFAR10 and Table S1's others."""
        return self.laptop.needs(scale, data) if scale == "laptop" else density_runs.needs(data, [INSIDE, *OTHERS])

    def run(self, context: Context) -> Table:
        """Trains or reads the models of each seed and scores the general images."""
        key = f"likeliest-{self.images[context.scale]}-{self.settings.key}"
        by_seed = over_seeds(context, self.seeds, key, partial(self._seed, context))
        cells = [
            _over(f"{score}, {kind}", [one[kind][score]["contrast"] for one in by_seed])
            for kind in FIGURES
            for score in (RAW, RATIO, LAST)
        ]
        cells.append(_over("all of them", [one["contrast"] for one in by_seed]))
        lower = [one[WITHOUT][RAW]["contrast"] < one[WITHOUT][RATIO]["contrast"] for one in by_seed]
        note = "the paper: constant images attain the highest raw likelihood, the ratio's show some structure"
        place = "raw likelihood below the ratio in every seed (1: yes)"
        cells.append(Cell(place, CONTRAST, float(all(lower)), expected=1.0, note=note, trainings=len(lower)))
        return published("schirrmeister2020", "Fig. S7").recomputed(
            "likelihood_likeliest",
            cells,
            context.scale,
            differs=self._differs() if context.scale == "laptop" else "",
            figures=tuple(_pictures(by_seed[0][kind], kind) for kind in FIGURES),
            notes=(
                SEEDS,
                "Contrast: standard deviation of an image's grey values, of 255; 0 is a constant image. Pictures: the "
                "first seed, the highest score first.",
            ),
        )

    def _differs(self) -> str:
        return (
            f"Fashion-MNIST by small Glows and {self.images['laptop']:,} cut-outs of photographs, on which the general "
            "model was trained, instead of CIFAR10 and 120,000 of 80 Million Tiny Images."
        )

    def _seed(self, context: Context, seed: int) -> dict[str, Any]:
        from genaudit.likelihood.scoring import log_likelihoods

        general, models, given = (
            self._laptop(context, seed) if context.scale == "laptop" else self._paper(context, seed)
        )
        chosen = np.sort(np.random.default_rng(seed).permutation(len(given))[: self.images[context.scale]])
        given = given[chosen]
        of_general = log_likelihoods(general, given)[:, 0]
        found: dict[str, Any] = {"contrast": float(_contrast(given).mean())}
        for kind, model in models.items():
            rows = log_likelihoods(model, given)
            zero = 0 * of_general
            scores = {
                RAW: log_likelihood_ratio(rows[:, 0], zero),
                RATIO: log_likelihood_ratio(rows[:, 0], of_general),
                LAST: log_likelihood_ratio(rows[:, -1], zero),
            }
            found[kind] = {}
            for name, values in scores.items():
                best = given[np.argsort(-values, kind="stable")[:SHOWN]]
                found[kind][name] = {"contrast": float(_contrast(best).mean()), "images": best.tolist()}
        return found

    def _laptop(self, context: Context, seed: int) -> tuple[Glow, dict[str, Glow], np.ndarray]:
        """The general model, those of the in-distribution, the general images."""
        models = self.laptop.models(context, seed)
        return models.general, {WITHOUT: models.images, WITH: models.outlier}, self.laptop.training_images(context)[1]

    def _paper(self, context: Context, seed: int) -> tuple[Glow, dict[str, Glow], np.ndarray]:
        from genaudit.likelihood.trainer import finetune_from

        general, outliers = general_model(context, self.settings, seed)
        train = images(context, INSIDE, "train")
        recipe = own_recipe(self.settings, INSIDE, len(train), seed)
        learn = partial(trained, context, self.settings)
        look = look_at(context, INSIDE, OTHERS, general)  # which names Table S1's model
        plain = learn(f"{INSIDE}-finetuned", seed, finetune_from(general), train, recipe, look=look)
        start = finetune_from(general)
        pushed = learn(f"{INSIDE}-outlier-loss", seed, start, train, recipe, outliers=outliers, general=general)
        return general, {WITHOUT: plain, WITH: pushed}, outliers


def _over(row: str, values: list[float]) -> Cell:
    return over_seeds_compared(PublishedCell(row, CONTRAST, ""), values)


def _contrast(given: np.ndarray) -> np.ndarray:
    """Standard deviation of each image's grey values, (N,), in grey levels."""
    grey = given.astype(np.float32).mean(-1) if given.ndim == 4 else given.astype(np.float32)
    contrast: np.ndarray = grey.reshape(len(grey), -1).std(1)
    return contrast


def _pictures(found: dict[str, Any], kind: str) -> Pictures:
    rows = tuple(
        PictureRow(score, tuple(np.array(image, np.uint8) for image in found[score]["images"]))
        for score in (RAW, RATIO, LAST)
    )
    title = f"The twelve likeliest general images, {kind} ({FIGURES[kind]})"
    return Pictures(title, ("",) * SHOWN, rows)
