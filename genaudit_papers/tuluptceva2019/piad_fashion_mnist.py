"""PIAD on Fashion-MNIST by GPND's protocol, beside shallow baselines that are scored alike.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", Table 3 (left). One class is normal: PIAD trains on 80 %
of its images, and is asked to tell the other 20 % from as many images of other classes. At scale=laptop one class runs
with several seeds, each with its own split, all classes with the first, which the verdicts call one training; at
scale=desk and scale=paper every class runs with every seed, at scale=desk for as long as training images alone ask for.
Baselines see the same images: principal components and the class mean by their reconstructions, under PIAD's own score
and under the squared error, then OC-SVM, KDE and nearest neighbours. `scripts/choose_piad_recipe.py` chooses the
settings of scale=desk, on training images alone.
N images, S side in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.result import Curve, PictureRow, Pictures
from genaudit.piad import protocols
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers import datasets
from genaudit_papers.measuring import embedded_weights
from genaudit_papers.over_seeds import over_seeds_compared, seeds_note
from genaudit_papers.published import PublishedCell, compared, published
from genaudit_papers.tuluptceva2019 import one_class, piad_runs
from genaudit_papers.tuluptceva2019.piad_runs import (
    PIADSettings,
    key,
    perceptual_network,
    vgg19_weights,
)

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PIAD, SQUARED = "PIAD", "PIAD, its reconstructions scored by MSE"
NOTES = (
    "AUROC, an anomaly being the positive; 0.5 is chance.",
    "A single class's interval is DeLong's for the draw of test images, the mean's follows from those; neither knows "
    "how far another training would come out: those of PIAD are of one training each, no finding, and get no verdict. "
    "The column of several seeds gives their lowest and highest value.",
    "Classes 1 and 7 prove little: the class mean's image alone tells them.",
    "OC-SVM (nu 0.1, scikit-learn's gamma=scale) and KDE (bandwidth by five-fold likelihood of training images) see "
    "the principal components that keep 95 % of the training variance.",
    "CPU seconds are of one thread on a loaded machine, fitting and scoring together.",
)

NOTES_OVER_SEEDS = (
    NOTES[0],
    "Means over the seeds, each with its own split; intervals are the lowest and the highest of the seeds.",
    *NOTES[2:],
)


class PIADFashionMNIST:
    """AUROC of PIAD and of shallow baselines, class by class."""

    scales: tuple[Scale, ...] = ("laptop", "desk", "paper")

    def __init__(
        self,
        *,
        recipe: Mapping[str, Any],
        width: float,
        focus: int = 8,
        seeds: int = 3,
        classes: Sequence[int] = tuple(range(10)),
        components: Sequence[int] = (8, 32),
        variants: Mapping[str, Mapping[str, Any]] | None = None,
        desk: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """
        Args:
            recipe: of `genaudit.piad.recipe.TrainingRecipe`, for scale=laptop.
            width: of the networks, times Table 1's, for scale=laptop.
            focus: the class that several seeds train; `seeds` count up from the run's.
            classes: those that the first seed trains.
            components: of the PCA reconstructions.
            variants: other settings of PIAD by name, `width` and `recipe` each, for scale=laptop; the focus class
                alone is trained with them.
            desk: `width` and `recipe` for scale=desk.
            note: goes below the laptop's table.
        """
        self.recipe, self.width, self.focus, self.seeds = dict(recipe), width, focus, seeds
        self.note, self.desk = note, dict(desk or {"width": width, "recipe": recipe})
        self.classes, self.components = tuple(classes), tuple(components)
        self.variants = {name: (knobs["width"], dict(knobs["recipe"])) for name, knobs in (variants or {}).items()}
        self._perceptuals: dict[str, Any] = {}

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Fashion-MNIST; at the paper's scale VGG-19's weights too."""
        return [datasets.fashion_mnist_need(data), vgg19_weights() if scale == "paper" else embedded_weights()]

    def run(self, context: Context) -> Table:
        """Scores the baselines, then trains and scores PIAD; each class and seed is a step that is kept."""
        data = _Data(context.data)
        seeds = [context.seed + i for i in range(self.seeds)]
        many = [(self.focus, seed) for seed in seeds]
        runs = list(dict.fromkeys([*many, *((each, context.seed) for each in self.classes)]))
        if context.scale != "laptop":
            runs = [(each, seed) for seed in seeds for each in self.classes]
        settings, of_baselines = self.settings(context.scale)
        tag = f"shallow-{key(of_baselines)}"
        computes: dict[str, Any] = {
            f"{tag}-class{c}-seed{s}": functools.partial(self._shallow, context, data, c, s) for c, s in runs
        }
        trainings = [(settings, run) for run in runs]
        if context.scale == "laptop":
            variants = [PIADSettings(width, recipe, settings.network) for width, recipe in self.variants.values()]
            trainings += [(variant, run) for variant in variants for run in many]
        for each, (c, s) in trainings:
            computes[_step(each, (c, s))] = functools.partial(self._piad, context, data, each, c, s)
        done = dict(zip(computes, context.steps(computes), strict=True))

        results = {(c, s): _merged(done[_step(settings, (c, s))], done[f"{tag}-class{c}-seed{s}"]) for c, s in runs}
        if context.scale == "laptop":
            for name, variant in zip(self.variants, variants, strict=True):
                for run in many:
                    results[run]["methods"][f"{PIAD}, {name}"] = done[_step(variant, run)]["methods"][PIAD]
        if context.scale != "laptop":
            return self._table_over_seeds(context, results, seeds)
        return self._table(context, results, many)

    def settings(self, scale: Scale) -> tuple[PIADSettings, tuple[Any, ...]]:
        """Those of PIAD's training, and those that the baselines depend on."""
        if scale == "laptop":
            network = "efficientnet_lite0"
            return PIADSettings(self.width, self.recipe, network), (self.components, network)
        if scale == "desk":
            network = "efficientnet_lite0"
            return PIADSettings(self.desk["width"], dict(self.desk["recipe"]), network), (self.components, network)
        # the other defaults of TrainingRecipe are the supplement's
        return PIADSettings(1.0, {"iterations": 50_000}, "vgg19_relu42"), (self.components, "vgg19_relu42")

    def _shallow(self, context: Context, data: _Data, normal: int, seed: int) -> dict[str, Any]:
        """Scores one class's baselines."""
        perceptual = self._perceptual(context)
        split = data.split(normal, seed)
        return one_class.shallow(split, perceptual, components=self.components, seed=seed, device=context.device)

    def _piad(self, context: Context, data: _Data, settings: PIADSettings, normal: int, seed: int) -> dict[str, Any]:
        """Trains one class, resuming where a run was cut off, and scores its test images."""
        perceptual, split = self._perceptual(context), data.split(normal, seed)
        name = f"class{normal}-seed{seed}"
        scores = piad_runs.train_and_score(context, split, settings, perceptual, name=name, seed=seed)
        errors = one_class.squared(one_class.unit(split.test), scores.reconstructions)
        return {
            "methods": {
                PIAD: one_class.judged(lambda: scores.scores, split.normal) | {"seconds": scores.seconds},
                SQUARED: one_class.judged(lambda: errors, split.normal) | {"seconds": scores.seconds},
            },
            "curve": {"x": scores.log["iteration"].tolist(), "y": scores.log["reconstruction"].tolist()},
            "pictures": piad_runs.extremes(scores, split) if normal == self.focus else None,
            "reached": asdict(scores.reached),
        }

    def _perceptual(self, context: Context) -> Any:
        name = self.settings(context.scale)[0].network
        if name not in self._perceptuals:
            self._perceptuals[name] = perceptual_network(name, context.device)
        return self._perceptuals[name]

    def _table(self, context: Context, found: dict[tuple[int, int], Any], many: list[tuple[int, int]]) -> Table:
        paper = published("tuluptceva2019", "Table 3 (left)")
        column = f"class {self.focus}, mean of {len(many)} seeds"
        mean = f"mean of {len(self.classes)} classes"
        singles = [(each, context.seed) for each in self.classes]
        cells = []
        for method in found[many[0]]["methods"]:
            rows = {run: of["methods"][method] for run, of in found.items() if method in of["methods"]}
            values = [rows[run]["auroc"] for run in many]
            note = seeds_note(values)
            ends, trainings = (min(values), max(values)), len(many) if method.startswith(PIAD) else None
            cells.append(Cell(method, column, float(np.mean(values)), None, *ends, note=note, trainings=trainings))
            spent = float(np.mean([row["seconds"] for row in rows.values()]))
            cells.append(Cell(method, "CPU seconds a class", spent, unit="s"))
            if not set(singles) <= set(rows):  # a variant
                continue
            trained: dict[str, Any] = {"trainings": 1} if method.startswith(PIAD) else {}
            errors = [1.96 * rows[run]["error"] for run in singles]
            values = [rows[run]["auroc"] for run in singles]
            whole = float(np.mean(values))
            around = float(np.linalg.norm(errors)) / len(errors)
            if method == PIAD and len(singles) == len(CLASSES):
                printed = paper[PIAD, "fMNIST"]
                cell = compared(printed, whole, column=mean, lower=whole - around, upper=whole + around)
            else:
                cell = Cell(method, mean, whole, lower=whole - around, upper=whole + around)
            cells.append(replace(cell, **trained))
            cells += [
                Cell(method, f"class {each} ({CLASSES[each]})", value, None, value - error, value + error, **trained)
                for (each, _), value, error in zip(singles, values, errors, strict=True)
            ]
        for method in ("GPND", "OCGAN"):
            cells.append(compared(paper[method, "fMNIST"], None, column=mean, note="as PIAD's paper quotes it"))
        return self._made(context, cells, found, self._figures(found, many, singles))

    def _table_over_seeds(self, context: Context, found: dict[tuple[int, int], Any], seeds: list[int]) -> Table:
        """Means over the seeds with the lowest and highest of them: a single training is no finding."""
        paper = published("tuluptceva2019", "Table 3 (left)")
        cells = []
        for method in found[self.classes[0], seeds[0]]["methods"]:
            of = {run: each["methods"][method] for run, each in found.items()}
            means = [float(np.mean([of[c, seed]["auroc"] for c in self.classes])) for seed in seeds]
            whole = PublishedCell(method, f"mean of {len(self.classes)} classes", "")
            if method == PIAD and len(self.classes) == len(CLASSES):
                whole = replace(paper[PIAD, "fMNIST"], column=whole.column)
            cells.append(over_seeds_compared(whole, means))
            for each in self.classes:
                cell = PublishedCell(method, f"class {each} ({CLASSES[each]})", "")
                cells.append(over_seeds_compared(cell, [of[each, seed]["auroc"] for seed in seeds]))
            spent = float(np.mean([row["seconds"] for row in of.values()]))
            cells.append(Cell(method, "CPU seconds a class", spent, unit="s"))
        for method in ("GPND", "OCGAN"):
            cells.append(compared(paper[method, "fMNIST"], None, note="as PIAD's paper quotes it"))
        singles, many = [(each, seeds[0]) for each in self.classes], [(self.focus, seed) for seed in seeds]
        figures = self._figures(found, many, singles) if self.focus in self.classes else ()
        return self._made(context, cells, found, figures)

    def _made(self, context: Context, cells: list[Cell], found: dict[tuple[int, int], Any], figures: Any) -> Table:
        paper = published("tuluptceva2019", "Table 3 (left)")
        settings = self.settings(context.scale)[0]
        notes = [*(NOTES if context.scale == "laptop" else NOTES_OVER_SEEDS), _reached(found)]
        if self.note and context.scale == "laptop":
            notes.append(self.note)
        width = settings.width
        budget = ", ".join(f"{name} {value}" for name, value in settings.recipe.items())
        return Table(
            name="piad_fashion_mnist",
            title="Fashion-MNIST: AUROC of one class against the others, GPND's protocol",
            source=paper.source,
            cells=tuple(cells),
            scale=context.scale,
            differs=""
            if context.scale == "paper"
            else f"Widths {width} times Table 1's; {budget} (the paper: 50,000 iterations, a gamma update every "
            "100); perceptual network EfficientNet-Lite0 instead of VGG-19.",
            figures=figures,
            notes=(f"PIAD: widths {width}, {budget}; perceptual network {settings.network}.", *notes),
        )

    def _figures(
        self, found: dict[tuple[int, int], Any], many: list[tuple[int, int]], singles: list[tuple[int, int]]
    ) -> tuple[Curve | Pictures, ...]:
        first = found[many[0]]
        name = f"class {self.focus} ({CLASSES[self.focus]})"
        training = Curve(
            f"Training on {name}: reconstruction loss",
            "iteration",
            f"{one_class.RELATIVE} of a batch",
            np.array(first["curve"]["x"]),
            {f"seed {run[1]}": np.array(found[run]["curve"]["y"]) for run in many},
        )
        best = f"PCA-{max(self.components)}, {one_class.RELATIVE}"
        by_class = Curve(
            "AUROC by normal class",
            "class",
            "AUROC",
            np.array([each for each, _ in singles]),
            {m: np.array([found[run]["methods"][m]["auroc"] for run in singles]) for m in (PIAD, best, "OC-SVM")},
        )
        rows = tuple(
            PictureRow(caption, tuple(np.array(image, np.uint8) for image in images))
            for caption, images in first["pictures"].items()
        )
        grid = Pictures(f"Normal: {name}; images above their reconstructions", ("",) * len(rows[0].cells), rows)
        return (by_class, training, grid)


class _Data:
    """Both of Fashion-MNIST's splits merged, read when first needed."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.read: tuple[np.ndarray, ...] | None = None

    def split(self, normal: int, seed: int) -> one_class.OneClassImages:
        if self.read is None:
            parts = [datasets.fashion_mnist(split, self.root) for split in ("train", "test")]
            self.read = tuple(np.concatenate(both) for both in zip(*parts, strict=True))
        images, labels = self.read
        return one_class.OneClassImages(images, protocols.gpnd(labels, normal, seed=seed))


def _reached(found: Mapping[tuple[int, int], Any]) -> str:
    """Which trainings reconstruct their class better than detectors that need no training."""
    from genaudit.piad.convergence import Convergence  # imports torch

    reached = {run: Convergence(**each["reached"]) for run, each in found.items()}
    short = [f"class {c} seed {seed}" for (c, seed), each in reached.items() if not each.converged]
    mean = {
        what: np.mean([getattr(each, what) for each in reached.values()])
        for what in ("piad", "class_mean", "components")
    }
    losses = (
        f"Mean loss of held-out normal images: PIAD {mean['piad']:.3f}, the class mean {mean['class_mean']:.3f}, PCA-8 "
        f"{mean['components']:.3f}."
    )
    if not short:
        return f"{losses} Every training ended below both."
    return f"{losses} Not converged, no better than one of these: {', '.join(short)}."


def _step(settings: PIADSettings, run: tuple[int, int]) -> str:
    return f"piad-{settings.key}-class{run[0]}-seed{run[1]}"


def _merged(piad: dict[str, Any], shallow: dict[str, Any]) -> dict[str, Any]:
    return {**shallow, **piad, "methods": {**piad["methods"], **shallow["methods"]}}
