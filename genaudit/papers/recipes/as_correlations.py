"""Does a score follow the quality of generators? Seed 000, sections E.2 and F, Fig. G.1.

Hwang, Lee and Lee 2024, supplement: Pearson correlations of AS, of the mean AS-i and of FID with people's error rate
over generators, which dgm-eval measured (Stein et al. 2023): the more often people take an image for a real one, the
better its generator. A score of what is wrong should fall with it.

On a laptop there are no generators that people judged. Real images of Fashion-MNIST, spoiled a little more at each
grade by noise or by blur, stand for them, and minus the grade for people's judgement.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.anomaly_score import anomaly_score, judge_images
from genaudit.metrics.frechet import frechet_distance
from genaudit.metrics.result import Cloud
from genaudit.papers.measuring import embedding, find_set, rows, weights_need
from genaudit.papers.published import compared
from genaudit.papers.recipe import Context, Need, Scale
from genaudit.papers.recipes.as_tables import REFERENCE, AnomalySets
from genaudit.papers.table import Cell, Table
from genaudit.stats.correlation import correlations

SPOILED = "demo:held_out"
NOISE = (0.0, 6.0, 12.0, 24.0, 48.0)  # standard deviation in grey levels of 255
BLUR = (0.0, 0.5, 0.8, 1.2, 2.0)  # radius in pixels of 28
SCORES = {"as": "AS", "as_i": "mean AS-i", "fid": "FID"}
COLUMN = "Pearson correlation"
POOLED = f"{COLUMN}: over all sets together, whose levels of a score differ."
SIGNS = "Signs: published is that of most of the paper's correlations; 0 where the interval holds both signs."
DIFFERS = (
    "No generators that people judged: held-out images of Fashion-MNIST beside its reference images, spoiled by noise "
    f"(standard deviation {', '.join(f'{each:g}' for each in NOISE)} of 255) or blurred (radius "
    f"{', '.join(f'{each:g}' for each in BLUR)} pixels), and minus the grade (0 to 1) for people's error rate. "
    "EfficientNet-Lite0 on images of {size} pixels, {limit} images a set for AS, 400 for FID."
)


@dataclass(frozen=True)
class Generators:
    """Image sets whose quality is known, beside their reference.

    Attributes:
        reference: as `rows` takes it. made: generator => its images. quality: of each, higher is better.
    """

    reference: str
    made: Mapping[str, str | Path]
    quality: tuple[float, ...]


class Correlations(AnomalySets):
    """Correlations of scores with dgm-eval's human error rates over generators.

    Args:
        scores: of "as", "as_i" (its mean over images) and "fid". pooled: over the generators of all sets together.
        sets: dataset => [the human study's name of it, reference]; generators are NAME/GENERATOR under the data root.
        more: see `AnomalySets`.
    """

    def __init__(self, *args: Any, scores: Sequence[str], pooled: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.scores, self.pooled = list(scores), pooled

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The generators' images, with the weights."""
        if scale == "laptop":
            return super().needs(scale, data)
        found = [weights_need(label, model, f"table.models.{label}") for label, model in self.models.items()]
        for dataset, (name, reference) in self.sets.items():
            wanted = [reference, *(f"{name}/{each}" for each in human_error_rates(name))]
            missing = [one for one in wanted if find_set(data, one) is None]
            what = f"images of dgm-eval's {len(wanted) - 1} generators of {dataset}"
            found.append(
                Need(what, not missing, f"under data=DIR are missing: {', '.join(missing)}" if missing else "")
            )
        return found

    def run(self, context: Context) -> Table:
        """Scores every generator and correlates."""
        laptop = context.scale == "laptop"
        models = {"EfficientNet-Lite0": self.laptop_model} if laptop else self.models
        groups = self._graded(context) if laptop else self._judged()
        cells, clouds = [], []
        for score in self.scores:
            for label, model in models.items():
                scores = {
                    group: context.step(f"{group}_{score}_{label}", partial(self._scores, context, score, model, each))
                    for group, each in groups.items()
                }
                cells += self._cells(context, f"{SCORES[score]} {label}", groups, scores)
                points = {group: np.column_stack([each.quality, scores[group]]) for group, each in groups.items()}
                x_label = "minus the grade" if laptop else "human error rate"
                clouds.append(Cloud(f"{SCORES[score]}, {label}", x_label, SCORES[score], points))
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=DIFFERS.format(size=self.laptop_model.recipe.size, limit=self.laptop_limit) if laptop else "",
            figures=tuple(clouds),
            notes=(
                "Pearson; 95 % bootstrap over generators: of so few, too narrow.",
                *([POOLED] if self.pooled else []),
                *([SIGNS] if laptop and self.published.cells else []),
                *self.published.notes,
            ),
        )

    def _cells(
        self, context: Context, name: str, groups: Mapping[str, Generators], scores: Mapping[str, list[float]]
    ) -> list[Cell]:
        """Of a score and feature model: a cell for each group, one for all together, at laptop scale their signs."""
        quality = {group: list(each.quality) for group, each in groups.items()}
        cells = [self._cell(context, group, name, scores[group], quality[group]) for group in groups]
        if self.pooled:
            values, judged = ([one for group in groups for one in of[group]] for of in (scores, quality))
            cells.append(self._cell(context, name, COLUMN, values, judged))
        sign = float(np.sign(sum(np.sign(cell.value or 0.0) for cell in self.published)))
        if context.scale == "laptop" and sign:
            cells += [Cell(cell.row, f"sign of {cell.column}", _sign(cell), sign) for cell in cells]
        return cells

    def _cell(self, context: Context, row: str, column: str, scores: Sequence[float], quality: Sequence[float]) -> Cell:
        found = correlations(scores, quality, kinds=("pearson",), seed=context.seed)["pearson"]
        note = f"over {found.n} generators"
        if (row, column) in self.published.cells:
            return compared(self.published[row, column], found.value, lower=found.lower, upper=found.upper, note=note)
        return Cell(row, column, found.value, None, found.lower, found.upper, note=note)

    def _judged(self) -> dict[str, Generators]:
        groups = {}
        for dataset, (name, reference) in self.sets.items():
            rates = human_error_rates(name)
            groups[dataset] = Generators(reference, {each: f"{name}/{each}" for each in rates}, tuple(rates.values()))
        return groups

    def _graded(self, context: Context) -> dict[str, Generators]:
        real = _pixels(SPOILED)
        groups = {}
        for title, amounts, spoil in (("noise", NOISE, _noisy), ("blur", BLUR, _blurred)):
            made = {f"{title} {each:g}": _written(context, title, each, spoil, real) for each in amounts}
            quality = tuple(-step / (len(amounts) - 1) for step in range(len(amounts)))
            groups[f"Fashion-MNIST, {title}"] = Generators(REFERENCE, made, quality)
        return groups

    def _scores(self, context: Context, score: str, model: Any, generators: Generators) -> list[float]:
        of = {"as": self._anomaly_score, "as_i": self._mean_of_images, "fid": self._frechet}[score]
        return [of(context, model, generators.reference, each) for each in generators.made.values()]

    def _anomaly_score(self, context: Context, model: Any, reference: str, generated: str | Path) -> float:
        tables = [self._rows(context, one, model) for one in (reference, generated)]
        points = [table[np.isfinite(table[:, :2]).all(1), :2] for table in tables]
        return anomaly_score(*points, permutations=1, seed=context.seed).statistic

    def _mean_of_images(self, context: Context, model: Any, reference: str, generated: str | Path) -> float:
        made = self._rows(context, generated, model)
        return float(judge_images(generated=made, seed=context.seed).as_i_mean or np.nan)

    def _frechet(self, context: Context, model: Any, reference: str, generated: str | Path) -> float:
        return frechet_distance(*(rows(context, one, embedding(model))[0] for one in (reference, generated)))


def human_error_rates(dataset: str) -> dict[str, float]:
    """dgm-eval's human error rate by generator of a dataset ("cifar10", "ffhq256", "imagenet256")."""
    import csv
    from importlib.resources import files

    text = (files("genaudit.papers") / "human_error_rates.csv").read_text("utf-8")
    rates = {row["model"]: row for row in csv.DictReader(text.splitlines()) if row["dataset"] == dataset}
    return {model: float(row["error_rate"]) for model, row in rates.items()}


def _sign(cell: Cell) -> float:
    """Of the recomputed interval; 0 where it holds both signs."""
    assert cell.lower is not None
    assert cell.upper is not None
    return float(cell.lower > 0) - float(cell.upper < 0)


def _pixels(name: str) -> np.ndarray:
    """(N, H, W, 3) uint8 of a set that ships with genaudit."""
    from genaudit.data import ImageSet, open_images

    images = open_images(str(find_set(None, name)))
    assert isinstance(images, ImageSet)
    return np.stack([images.read(index) for index in range(len(images))])


def _noisy(images: np.ndarray, sd: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sd, (*images.shape[:3], 1))  # grey, as the images are
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def _blurred(images: np.ndarray, radius: float) -> np.ndarray:
    from PIL import Image, ImageFilter

    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def _written(
    context: Context, title: str, amount: float, spoil: Callable[[np.ndarray, float], np.ndarray], real: np.ndarray
) -> Path:
    """The spoiled images as a file in the recipe's folder; the store knows them by their pixels."""
    file = context.folder / "graded" / f"{title}-{amount:g}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial_file = file.with_suffix(".partial.npy")
        np.save(partial_file, spoil(real, amount))
        os.replace(partial_file, file)
    return file
