"""Does a score follow the quality of generators? hwang2024, sections E.2 and F, Fig. G.1.

Hwang, Lee and Lee 2024, supplement: Pearson correlations of AS, of the mean AS-i and of FID with people's error rate
over generators, which dgm-eval measured (Stein et al. 2023): the more often people take an image for a real one, the
better its generator. A score of what is wrong should fall with it.

On a laptop there are no generators that people judged. Real images of Fashion-MNIST, spoiled a little more at each
grade by noise or by blur, stand for them, and minus the grade for people's judgement.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.anomaly_score import anomaly_score, judge_images
from genaudit.metrics.frechet import frechet_distance
from genaudit.metrics.result import Cloud
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.correlation import correlations, finite_pairs
from genaudit_papers.hwang2024.as_tables import REFERENCE, AnomalySets
from genaudit_papers.measuring import embedding, find_set, pixels_of, rows, weights_need
from genaudit_papers.published import compared

SPOILED = "demo:held_out"
NOISE = (0.0, 6.0, 12.0, 24.0, 48.0)  # standard deviation in grey levels of 255
BLUR = (0.0, 0.5, 0.8, 1.2, 2.0)  # radius in pixels of 28
SCORES = {"as": "AS", "as_i": "mean AS-i", "fid": "FID"}
COLUMN = "Pearson correlation"
POOLED = f"{COLUMN}: over all sets together, whose levels of a score differ."
SIGNS = "Signs: expected is that of most of the paper's correlations; 0 where the interval holds both signs."
DIFFERS = (
    "No generators that people judged: held-out images of Fashion-MNIST beside its reference images, spoiled by noise "
    f"(standard deviation {', '.join(f'{each:g}' for each in NOISE)} of 255) or blurred (radius "
    f"{', '.join(f'{each:g}' for each in BLUR)} pixels), and minus the grade (0 to 1) for people's error rate. "
    "EfficientNet-Lite0 on images of {size} pixels: for AS its second stage with genaudit's default settings (four "
    "directions, two attacks within a radius of 0.01) on {limit} images a set, for FID its features on 400."
)
# configs/anomaly/robust.yaml; docs/anomaly.md says why
LAPTOP_SETTINGS: dict[str, Any] = {
    "layer": "auto",
    "directions": 4,
    "alpha": 0.0025,
    "radius": 0.01,
    "start": 0.01,
    "starts": 2,
}


@dataclass(frozen=True)
class Generators:
    """Image sets whose quality is known, beside their reference.

    Attributes:
        reference: name of a set. quality: of each generator, higher is better.
        made: a generator's set by name => its images (N, H, W, 3) uint8, or None for those that lie under that name.
    """

    reference: str
    made: Mapping[str, np.ndarray | None]
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
        needed = [weights_need(label, model, f"table.models.{label}") for label, model in self.models.items()]
        for dataset, (name, reference) in self.sets.items():
            wanted = [reference, *(f"{name}/{generator}" for generator in human_error_rates(name))]
            found = {one: find_set(data, one) for one in wanted}
            missing = [one for one, path in found.items() if path is None]
            what = f"images of dgm-eval's {len(wanted) - 1} generators of {dataset}"
            how = f"under data=DIR are missing: {', '.join(missing)}" if missing else ""
            needed.append(Need(what, not missing, how, tuple(path for path in found.values() if path is not None)))
        return needed

    def run(self, context: Context) -> Table:
        """Scores every generator and correlates."""
        laptop = context.scale == "laptop"
        models = {"EfficientNet-Lite0": self.laptop_model} if laptop else self.models
        groups = self._graded() if laptop else self._judged()
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
            cells += [Cell(cell.row, f"sign of {cell.column}", _sign(cell), expected=sign) for cell in cells]
        return cells

    def _cell(self, context: Context, row: str, column: str, scores: Sequence[float], quality: Sequence[float]) -> Cell:
        correlation = correlations(scores, quality, kinds=("pearson",), seed=context.seed)["pearson"]
        note = f"over {len(finite_pairs(scores, quality)[0])} generators"
        if (row, column) in self.published.cells:
            return compared(
                self.published[row, column],
                correlation.value,
                lower=correlation.lower,
                upper=correlation.upper,
                note=note,
            )
        return Cell(row, column, correlation.value, None, correlation.lower, correlation.upper, note=note)

    def _judged(self) -> dict[str, Generators]:
        groups = {}
        for dataset, (name, reference) in self.sets.items():
            rates = human_error_rates(name)
            groups[dataset] = Generators(reference, {f"{name}/{each}": None for each in rates}, tuple(rates.values()))
        return groups

    def _graded(self) -> dict[str, Generators]:
        real = pixels_of(None, SPOILED)
        groups = {}
        for title, amounts, spoil in (("noise", NOISE, noisy), ("blur", BLUR, blurred)):
            spoiled = {f"{title} {each:g}": spoil(real, each) for each in amounts}
            quality = tuple(-step / (len(amounts) - 1) for step in range(len(amounts)))
            groups[f"Fashion-MNIST, {title}"] = Generators(REFERENCE, spoiled, quality)
        return groups

    def _scores(self, context: Context, score: str, model: Any, generators: Generators) -> list[float]:
        def read(name: str, pixels: np.ndarray | None = None) -> np.ndarray:
            if score == "fid":
                return rows(context, name, embedding(model), pixels=pixels)[0]
            more = LAPTOP_SETTINGS if context.scale == "laptop" else {}
            return self._rows(context, name, model, pixels=pixels, **more)

        made = (read(name, pixels) for name, pixels in generators.made.items())
        if score == "as_i":  # has no reference
            return [float(judge_images(generated=table, seed=context.seed).as_i_mean or np.nan) for table in made]
        reference = read(generators.reference)
        if score == "fid":
            return [frechet_distance(reference, table) for table in made]
        return [
            anomaly_score(*map(_finite, (reference, table)), permutations=1, seed=context.seed).statistic
            for table in made
        ]


def human_error_rates(dataset: str) -> dict[str, float]:
    """dgm-eval's human error rate by generator of a dataset ("cifar10", "ffhq256", "imagenet256")."""

    text = (files("genaudit.reports") / "human_error_rates.csv").read_text("utf-8")
    rates = {row["model"]: row for row in csv.DictReader(text.splitlines()) if row["dataset"] == dataset}
    return {model: float(row["error_rate"]) for model, row in rates.items()}


def _sign(cell: Cell) -> float:
    """Of the recomputed interval; 0 where it holds both signs."""
    assert cell.lower is not None
    assert cell.upper is not None
    return float(cell.lower > 0) - float(cell.upper < 0)


def _finite(table: np.ndarray) -> np.ndarray:
    """Complexity and vulnerability (N, 2) of the images that have both."""
    return table[np.isfinite(table[:, :2]).all(1), :2]


def noisy(images: np.ndarray, sd: float) -> np.ndarray:
    """Images (N, H, W, 3) uint8 with grey Gaussian noise, `sd` in grey levels of 255."""
    noise = np.random.default_rng(0).normal(0, sd, (*images.shape[:3], 1))
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    """Images (N, H, W, 3) uint8 after a Gaussian blur, `radius` in pixels."""
    from PIL import Image, ImageFilter

    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])
