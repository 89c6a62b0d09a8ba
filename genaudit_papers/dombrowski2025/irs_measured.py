"""Measured image retrieval scores of dombrowski2025: real images only (Tables 4 to 6, Fig. 13), classes removed (14).

Dombrowski et al. 2025, sections 10, 13, 14, 15; `irs_agreement` has section 9. Real images are split in a training part
of N and a test part of n = alpha·N; IRS_alpha is the share of the training part that the test part retrieves. It stays
below the idealised 1 - e^-alpha: the measurement gap of the feature model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.errors import UserError
from genaudit.metrics.prdc import prdc
from genaudit.metrics.result import Curve
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.neighbours import nearest
from genaudit.stats.occupancy import estimate_support, expected_distinct
from genaudit_papers.measuring import DEMO, embedding, rows, set_need, weights_need
from genaudit_papers.published import PublishedTable, compared, published

DEMO_REAL = ("demo:train", "demo:reference", "demo:held_out")
DEMO_NAME = "Fashion-MNIST (demo)"
RANDOM = "Random"
DIFFERS = (
    "1,500 real images of Fashion-MNIST that ship with genaudit in place of the paper's datasets, at its ratios "
    "of test to training images; feature models of ours, the random Inception among them nearest to the paper's Random."
)
PAPER_DIFFERS = (
    "The networks are the authors' (BeyondFID, their code), from the files that you gave. Images are resized by Pillow "
    "in 8 bits where their code resizes tensors of the same filter, and CLIP runs in single precision, not half."
)
DATA2VEC = (
    "The authors' code hands data2vec's processor images in [0, 1], which it divides by 255 once more; here they enter "
    "as data2vec's authors scale them. mean=[127.5,127.5,127.5] and std=[127.5,127.5,127.5] under the model's key "
    "repeat the authors' scaling."
)
REIDENTIFICATION = (
    "Re-identification networks: each frame is stretched to [-1, 1] by its own extremes, the authors take those of a "
    "video; latents are the mean of the VAE's posterior, the authors draw a sample."
)


class MeasuredTable:
    """Real image sets and feature models, at either scale.

    Args:
        name: of the recipe. table: "Table 6". models: label => feature model at the paper's scale; laptop_models alike.
        sets: column of the paper => image set under the data root. total: images of each, None for all.
        optional: labels of feature models that are left out where this machine lacks their weights.
        without: labels of feature models to leave out, for those who lack their files; the table says so.

    An underscore in a label stands for a space, which Hydra's packages cannot have.
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
        optional: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        self.name, self.published, self.folds = name, published("dombrowski2025", table), folds
        self.models, self.laptop_models = _spaced(models), _spaced(laptop_models)
        self.sets, self.total = dict(sets), total
        self.optional = [label.replace("_", " ") for label in optional]
        self.without = [label.replace("_", " ") for label in without]
        labels = [*self.models, *self.laptop_models]
        unknown = [label for label in self.without if label not in labels]
        if unknown:
            raise UserError(f"table.without: {unknown[0]} is none of {', '.join(labels)}")

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Image sets and weights."""
        key = "table.models" if scale == "paper" else "table.laptop_models"
        models = self._models(scale)
        needed = [weights_need(label, model, f"{key}.{label.replace(' ', '_')}") for label, model in models.items()]
        if scale == "paper":
            needed += [set_need(data, source, f"real images of {label}") for label, source in self.sets.items()]
        return needed

    def _models(self, scale: Scale) -> dict[str, Any]:
        every = self._every(scale)
        left_out = [label for label in self.optional if label in every and every[label].find_weights() is None]
        chosen = {label: each for label, each in every.items() if label not in (*self.without, *left_out)}
        if not chosen:
            raise UserError("table.without leaves no feature model")
        return chosen

    def _every(self, scale: Scale) -> dict[str, Any]:
        return self.models if scale == "paper" else self.laptop_models

    def _differs(self, scale: Scale) -> str:
        """What differs from the paper at this scale, for the head of the table."""
        without = [label for label in self.without if label in self._every(scale)]
        return (DIFFERS if scale == "laptop" else PAPER_DIFFERS) + (
            f" Without {', '.join(without)}." if without else ""
        )

    def _notes(self, scale: Scale) -> tuple[str, ...]:
        """Of the published table, of networks used otherwise than in the paper, of those that are not there."""
        models = self._models(scale)
        notes = list(self.published.notes)
        if scale == "paper":
            notes += [DATA2VEC] if "data2vec" in models else []
            notes += [REIDENTIFICATION] if any(label.startswith("Re-identification") for label in models) else []
        every = self._every(scale)
        missing = [label for label in self.optional if label in every and label not in (*models, *self.without)]
        if missing:
            notes.append(f"Without {', '.join(missing)}, whose weights are not on this machine.")
        return tuple(notes)

    def _sets(self, scale: Scale) -> dict[str, tuple[str, ...]]:
        if scale == "laptop":
            return {DEMO_NAME: DEMO_REAL}
        return {label: (source,) for label, source in self.sets.items()}

    def _features(self, context: Context, model: Any, sources: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Features of the images of a set, and their names."""
        sample = None if sources[0].startswith(DEMO) else self.total
        parts = [rows(context, source, embedding(model), sample=sample) for source in sources]
        return np.concatenate([part for part, _ in parts]), [name for _, names in parts for name in names]


class RealRetrieval(MeasuredTable):
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
                measured = context.step(
                    f"{dataset}_{label}".replace(" ", "_"),
                    partial(self._scores, context, model, sources),
                )
                for key, scores in measured["scores"].items():
                    cells.append(self._cell(context, label, key, dataset, scores))
                    gaps.append((key, label, float(np.mean(scores)), measured["ideal"][key]))
        cells += _effects(gaps, smallest=self.published.table == "Table 6")
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=self._differs(context.scale),
            notes=(
                f"Mean over {self.folds} seeded splits, the interval from the lowest to the highest.",
                *self._notes(context.scale),
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
                    retrieved = nearest(test, train, metric=distance, device=context.device).indices[:, 0]  # type: ignore[arg-type]
                    scores.setdefault(key, []).append(100 * len(np.unique(retrieved)) / n_train)
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


def _effects(gaps: list[tuple[str, str, float, float]], *, smallest: bool) -> list[Cell]:
    """What the paper says of its tables, as yes-or-no cells, printed whether they hold or not.

    Every feature model has a gap; `smallest`: that of the network with random weights is the smallest (section 13, of
    Table 6: "the best performing model across all datasets").
    """
    cells = []
    for key in dict.fromkeys(key for key, *_ in gaps):
        here = {label: (score, ideal) for group, label, score, ideal in gaps if group == key}
        column = key or "all"
        below = float(all(score < ideal for score, ideal in here.values()))
        ideal = next(iter(here.values()))[1]
        cells.append(
            Cell(
                "every feature model stays below the idealised value",
                column,
                below,
                expected=1.0,
                note=f"idealised {ideal:.2f} %",
            )
        )
        random = [label for label in here if label.split()[0] == "Random"]
        if random and len(here) > len(random) and smallest:
            best = max(here, key=lambda label: here[label][0])
            row = "a network with random weights has the smallest gap"
            cells.append(Cell(row, column, float(best in random), expected=1.0, note=f"here {best}"))
    return cells


NEIGHBOURS = (1, 5)
PRDC = ("precision", "recall", "density", "coverage")


class RemovedClasses(MeasuredTable):
    """IRS_inf,a, precision, recall, density and coverage when classes are taken from real test images (Fig. 14).

    Section 15.2 says that with one neighbour all four "converge to very low diversity values" for real data. Precision,
    recall and coverage do; density does not: its expectation is 1 for equal laws, whatever the number of neighbours.

    Image names carry the class after their last hyphen, as the demo's do (0440-tshirt.png), or are CLASS/NAME.
    """

    def run(self, context: Context) -> Table:
        """For each number of classes kept: the scores of the test images of these classes."""
        (_, sources), *_ = self._sets(context.scale).items()
        model = next(iter(self._models(context.scale).values()))
        scored = context.step("scores", partial(self._scores, context, model, sources))
        shares = [each["share"] for each in scored]
        cells = []
        for each in scored:
            row = f"{each['kept']} of {scored[-1]['kept']} classes"
            full = each["share"] == 1
            note = "real images of all classes: diversity 1" if full else f"share of the classes: {each['share']:g}"
            truth = 1.0 if full else None
            interval = each["lower"], each["upper"]
            cells.append(Cell(row, "IRS_inf,a", each["irs"], None, *interval, 0.05, note=note, expected=truth))
            cells += [Cell(row, name, each[name]) for name in each if "k =" in name]
        everything = scored[-1]
        for name in (f"{each}, k = 1" for each in PRDC):
            note = "1: real test images of all classes stay well below 1 (0.9) with one neighbour, as the text says"
            if name.startswith("density"):
                note += "; density is 1 in expectation for equal laws, at any number of neighbours"
            low = float(everything[name] < 0.9)
            cells.append(Cell("low even for real images", name, low, expected=1.0, note=note))
        lines = {name: np.array([each[name] for each in scored]) for name in everything if "k =" in name}
        lines = {"IRS_inf,a": np.array([each["irs"] for each in scored]), "the real share": np.array(shares), **lines}
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=self._differs(context.scale),
            figures=(Curve("Diversity by classes kept", "share of classes", "score", np.array(shares), lines),),
            notes=(
                "Interval of IRS_inf,a: 95 % over random choices of the classes. Tolerance: 0.05. Recall and coverage "
                "count images, so that their value for a share of the classes need not be that share; precision and "
                "density ask whether images are realistic, which those of fewer classes are too.",
                *self._notes(context.scale),
            ),
        )

    def _scores(self, context: Context, model: Any, sources: Sequence[str]) -> list[dict[str, Any]]:

        features, names = self._features(context, model, sources)
        labels = np.array([_label(name) for name in names])
        classes = np.unique(labels)
        rng = np.random.default_rng(context.seed)
        third = np.array_split(rng.permutation(len(features)), 3)
        train, reference, pool = (features[part] for part in third)
        pool_labels = labels[third[2]]
        scored = []
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
                for neighbours in NEIGHBOURS:
                    result = prdc(reference, some, k=neighbours)
                    for name in PRDC:
                        numbers.setdefault(f"{name}, k = {neighbours}", []).append(float(getattr(result, name)))
            low, high = (float(np.quantile(scores, q)) for q in (0.025, 0.975))
            means = {name: float(np.mean(values)) for name, values in numbers.items()}
            share = kept / len(classes)
            scored.append(
                {"kept": kept, "share": share, "irs": float(np.mean(scores)), "lower": low, "upper": high, **means}
            )
        return scored


def _spaced(models: Mapping[str, Any]) -> dict[str, Any]:
    return {label.replace("_", " "): model for label, model in models.items()}


def _label(name: str) -> str:
    """An image's class: its folder, or what follows the last hyphen of its name."""
    path = Path(name)
    return path.parent.name or path.stem.rpartition("-")[2]
