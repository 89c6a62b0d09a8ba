"""Measured image retrieval scores of seed 002: real images only (Tables 4 to 6, Figs. 11 and 13), classes removed (14).

Dombrowski et al. 2025, sections 9, 10, 13, 14. Real images are split in a training part of N and a test part of
n = alpha·N; IRS_alpha is the share of the training part that the test part retrieves. It stays below the idealised
1 - e^-alpha: the measurement gap of the feature model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.result import Curve
from genaudit.papers.measuring import DEMO, embedding, rows, set_need, weights_need
from genaudit.papers.published import PublishedTable, compared, published
from genaudit.papers.recipe import Context, Need, Scale
from genaudit.papers.table import Cell, Table
from genaudit.stats.neighbours import nearest
from genaudit.stats.occupancy import estimate_support, expected_distinct

DEMO_REAL = ("demo:train", "demo:reference", "demo:held_out")
DEMO_NAME = "Fashion-MNIST (demo)"
RANDOM = "Random"
DIFFERS = (
    "1,500 real images of Fashion-MNIST that ship with genaudit in place of the paper's datasets, at its ratios "
    "of test to training images; of its feature models only Random (smaller images), and two of ours."
)


class Measured:
    """Real image sets and feature models, at either scale.

    Args:
        name: of the recipe. table: "Table 6". models: label => feature model at the paper's scale; laptop_models alike.
        sets: column of the paper => image set under the data root. total: images of each, None for all.
    """

    def __init__(
        self,
        name: str,
        table: str,
        *,
        models: Mapping[str, Any],
        laptop_models: Mapping[str, Any],
        sets: Mapping[str, str],
        total: int | None = None,
        folds: int = 5,
    ) -> None:
        self.name, self.published, self.folds = name, published("002", table), folds
        self.models, self.laptop_models = dict(models), dict(laptop_models)
        self.sets, self.total = dict(sets), total

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Image sets and weights."""
        key = "table.models" if scale == "paper" else "table.laptop_models"
        found = [weights_need(label, model, f"{key}.{label}") for label, model in self._models(scale).items()]
        if scale == "paper":
            found += [set_need(data, source, f"real images of {label}") for label, source in self.sets.items()]
        return found

    def _models(self, scale: Scale) -> dict[str, Any]:
        return self.models if scale == "paper" else self.laptop_models

    def _sets(self, scale: Scale) -> dict[str, tuple[str, ...]]:
        if scale == "laptop":
            return {DEMO_NAME: DEMO_REAL}
        return {label: (source,) for label, source in self.sets.items()}

    def _features(self, context: Context, model: Any, sources: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Features of the images of a set, and their names."""
        sample = None if sources[0].startswith(DEMO) else self.total
        parts = [rows(context, source, embedding(model), sample=sample) for source in sources]
        return np.concatenate([part for part, _ in parts]), [name for _, names in parts for name in names]


class RealRetrieval(Measured):
    """IRS_alpha of real images by feature model, in percent, over seeded folds (Tables 4, 5 and 6).

    Args:
        rates: alpha by the words that name it in the paper's column; "" where a column is a dataset.
        distances: "euclidean" or "cosine", by the words that name them in the column.
    """

    def __init__(
        self, *args: Any, rates: Mapping[str, float], distances: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.rates, self.distances = dict(rates), dict(distances or {"": "euclidean"})

    def run(self, context: Context) -> Table:
        """Measures, splits, retrieves."""
        cells, gaps = [], []
        for dataset, sources in self._sets(context.scale).items():
            for label, model in self._models(context.scale).items():
                found = context.step(
                    f"{dataset}_{label}".replace(" ", "_"),
                    partial(self._scores, context, model, sources),
                )
                for key, scores in found["scores"].items():
                    cells.append(self._cell(context, label, key, dataset, scores))
                    gaps.append((key, label, float(np.mean(scores)), found["ideal"][key]))
        cells += _effects(gaps)
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=DIFFERS if context.scale == "laptop" else "",
            notes=(
                f"Mean over {self.folds} seeded splits, the interval from the lowest to the highest.",
                *self.published.notes,
                "The paper's BYOL, data2vec and SwAV are not among genaudit's feature models.",
            ),
        )

    def _scores(self, context: Context, model: Any, sources: Sequence[str]) -> dict[str, dict[str, Any]]:
        features, _ = self._features(context, model, sources)
        scores: dict[str, list[float]] = {}
        ideal: dict[str, float] = {}
        for words, alpha in self.rates.items():
            n_train = int(len(features) / (1 + alpha))
            n = round(alpha * n_train)
            for distance_words, distance in self.distances.items():
                key = " ".join(filter(None, (distance_words, words)))
                ideal[key] = 100 * expected_distinct(n, n_train) / n_train
                for fold in range(self.folds):
                    order = np.random.default_rng([context.seed, fold]).permutation(len(features))
                    train, test = features[order[:n_train]], features[order[n_train : n_train + n]]
                    found = nearest(test, train, metric=distance, device=context.device).indices[:, 0]  # type: ignore[arg-type]
                    scores.setdefault(key, []).append(100 * len(np.unique(found)) / n_train)
        return {"scores": scores, "ideal": ideal}

    def _cell(self, context: Context, label: str, key: str, dataset: str, scores: list[float]) -> Cell:
        column = key or dataset
        table: PublishedTable = self.published
        mean, low, high = float(np.mean(scores)), min(scores), max(scores)
        if context.scale == "paper" and (label, column) in table.cells:
            return compared(table[label, column], mean, lower=low, upper=high, unit="%")
        note = ""
        if context.scale == "laptop" and label in table.rows:
            printed = [table[label, each].printed for each in table.columns if key in (each, "")]
            note = f"the paper's images: {', '.join(printed)}"
        return Cell(label, column, mean, None, low, high, unit="%", note=note)


def _effects(gaps: list[tuple[str, str, float, float]]) -> list[Cell]:
    """What the tables show, as yes-or-no cells: every feature model has a gap, and Random has the smallest."""
    cells = []
    for key in dict.fromkeys(key for key, *_ in gaps):
        here = {label: (score, ideal) for each, label, score, ideal in gaps if each == key}
        column = key or "all"
        below = float(all(score < ideal for score, ideal in here.values()))
        ideal = next(iter(here.values()))[1]
        cells.append(
            Cell(
                "every feature model stays below the idealised value",
                column,
                below,
                1.0,
                note=f"idealised {ideal:.2f} %",
            )
        )
    return cells


class Agreement(Measured):
    """On how many queries feature models retrieve the same image (Fig. 11)."""

    def run(self, context: Context) -> Table:
        """Shares of queries by the size of the largest group of models that agree, and agreement in pairs."""
        (dataset, sources), *_ = self._sets(context.scale).items()
        models = self._models(context.scale)
        found = context.step("retrieved", partial(self._retrieved, context, models, sources))
        retrieved = np.array([found[label] for label in models])  # (models, queries)
        counts = np.array([np.unique(column, return_counts=True)[1].max() for column in retrieved.T])
        shares = {size: 100 * float((counts == size).mean()) for size in range(1, len(models) + 1)}
        cells = [
            compared(
                self.published["all models disagree", "share"],
                shares[1],
                column=dataset,
                tolerance=5,
                unit="%",
                note=f"{len(models)} models here, nine in the paper, 'almost 40 %'; tolerance 5 points",
            )
        ]
        for size in range(2, len(models) + 1):
            cells.append(Cell(f"{size} models agree", dataset, shares[size], unit="%"))
        labels = list(models)
        for place, label in enumerate(labels):
            for other in range(place + 1, len(labels)):
                agreement = 100 * float((retrieved[place] == retrieved[other]).mean())
                cells.append(Cell(f"{label} and {labels[other]}", dataset, agreement, unit="%"))
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=DIFFERS if context.scale == "laptop" else "Without BYOL, data2vec and SwAV, which genaudit lacks.",
            notes=self.published.notes,
        )

    def _retrieved(self, context: Context, models: Mapping[str, Any], sources: Sequence[str]) -> dict[str, list[int]]:
        found = {}
        for label, model in models.items():
            features, _ = self._features(context, model, sources)
            order = np.random.default_rng(context.seed).permutation(len(features))
            train, test = np.array_split(order, 2)
            found[label] = nearest(features[test], features[train], device=context.device).indices[:, 0].tolist()
        return found


class RemovedClasses(Measured):
    """IRS_inf,a, recall and coverage when classes are taken from real test images (Fig. 14).

    Image names carry the class after their last hyphen, as the demo's do (0440-tshirt.png), or are CLASS/NAME.
    """

    def run(self, context: Context) -> Table:
        """For each number of classes kept: the scores of the test images of these classes."""
        (_, sources), *_ = self._sets(context.scale).items()
        model = next(iter(self._models(context.scale).values()))
        found = context.step("scores", partial(self._scores, context, model, sources))
        shares = [each["share"] for each in found]
        cells = []
        for each in found:
            row = f"{each['kept']} of {found[-1]['kept']} classes"
            full = each["share"] == 1
            note = "real images of all classes: diversity 1" if full else f"share of the classes: {each['share']:g}"
            published_value = 1.0 if full else None
            interval = each["lower"], each["upper"]
            cells.append(Cell(row, "IRS_inf,a", each["irs"], published_value, *interval, tolerance=0.05, note=note))
            for name in ("recall, k = 1", "coverage, k = 1", "recall, k = 5", "coverage, k = 5"):
                cells.append(Cell(row, name, each[name]))
        everything = found[-1]
        for name in ("recall, k = 1", "coverage, k = 1"):
            note = "1: real test images of all classes stay well below 1 (0.9) with one neighbour"
            cells.append(Cell("low even for real images", name, float(everything[name] < 0.9), 1.0, note=note))
        lines = {name: np.array([each[name] for each in found]) for name in everything if "k =" in name}
        lines = {"IRS_inf,a": np.array([each["irs"] for each in found]), "the real share": np.array(shares), **lines}
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=DIFFERS if context.scale == "laptop" else "",
            figures=(Curve("Diversity by classes kept", "share of classes", "score", np.array(shares), lines),),
            notes=(
                "Interval of IRS_inf,a: 95 % over random choices of the classes. Tolerance: 0.05. Recall and coverage "
                "count images, so that their value for a share of the classes need not be that share.",
            ),
        )

    def _scores(self, context: Context, model: Any, sources: Sequence[str]) -> list[dict[str, Any]]:
        from genaudit.metrics.prdc import prdc

        features, names = self._features(context, model, sources)
        labels = np.array([_label(name) for name in names])
        classes = np.unique(labels)
        rng = np.random.default_rng(context.seed)
        third = np.array_split(rng.permutation(len(features)), 3)
        train, reference, pool = (features[part] for part in third)
        pool_labels = labels[third[2]]
        found = []
        for kept in range(2, len(classes) + 1, 2):
            scores = []
            numbers: dict[str, list[float]] = {}
            for _ in range(self.folds):
                some = pool[np.isin(pool_labels, rng.choice(classes, kept, replace=False))]
                real = reference[rng.choice(len(reference), min(len(some), len(reference)), replace=False)]
                supports = []
                for test in (some, real):
                    k = len(np.unique(nearest(test, train, device=context.device).indices[:, 0]))
                    supports.append(estimate_support(k, len(test), upper=len(train)).value)
                scores.append(supports[0] / supports[1])
                for neighbours in (1, 5):
                    result = prdc(reference, some, k=neighbours)
                    numbers.setdefault(f"recall, k = {neighbours}", []).append(float(result.recall))
                    numbers.setdefault(f"coverage, k = {neighbours}", []).append(float(result.coverage))
            low, high = (float(np.quantile(scores, q)) for q in (0.025, 0.975))
            means = {name: float(np.mean(values)) for name, values in numbers.items()}
            share = kept / len(classes)
            found.append(
                {"kept": kept, "share": share, "irs": float(np.mean(scores)), "lower": low, "upper": high, **means}
            )
        return found


def _label(name: str) -> str:
    """An image's class: its folder, or what follows the last hyphen of its name."""
    path = Path(name)
    return path.parent.name or path.stem.rpartition("-")[2]
