"""What each part of PIAD adds: the reconstruction loss and the policy that weights it, one after the other.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", section 4.2, Table 3 (right) and Fig. 5. Each row trains
with its loss and is scored by the same loss. The paper runs it on CIFAR-10, its laptop version on Fashion-MNIST by
GPND's protocol: once a class at scale=laptop, which is no finding, and every verdict says so; with several seeds, each
with its own split, at scale=desk. N images.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.result import PictureRow, Pictures
from genaudit.piad import protocols
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers import datasets
from genaudit_papers.measuring import embedded_weights
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, published
from genaudit_papers.tuluptceva2019 import one_class, piad_runs
from genaudit_papers.tuluptceva2019.piad_fashion_mnist import CLASSES
from genaudit_papers.tuluptceva2019.piad_runs import PIADSettings, perceptual_network, vgg19_weights

COLUMN = "ROC AUC"
ITERATIONS = 100_000  # of the supplement, for CIFAR-10
FIXED = {"policy": "fixed"}
# row => (loss, what the recipe has besides); the losses that the paper calls "perc" and so on
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "baseline": ("mse", FIXED),
    "+ gr-norm w": ("mse", {}),
    "+ gr-norm w + perc": ("perceptual", {}),
    "+ gr-norm w + perc-L1": ("perceptual_l1", {}),
    "+ gr-norm w + rel-perc-L1": (piad_runs.LOSS, {}),
    "MSE": ("mse", {}),  # Fig. 5
    "perc": ("perceptual", {}),
    "rel-perc-L1": (piad_runs.LOSS, {}),
}
SEVERAL = "Means over {} seeds, each with its own training; intervals are the lowest and the highest of the seeds."
NOTES = (
    "AUROC, an anomaly being the positive; 0.5 is chance. Each row is trained and scored with its own loss.",
    "The paper's baseline has weights that its authors chose by looking at samples, and does not print them: here "
    "gamma is 1 in both places.",
)


class PIADAblation:
    """AUROC by loss and weighting, the mean over classes."""

    scales: tuple[Scale, ...] = ("laptop", "desk", "paper")

    def __init__(
        self,
        *,
        name: str,
        table: str,
        recipe: Mapping[str, Any],
        width: float,
        classes: Sequence[int],
        paper_classes: Sequence[int] = tuple(range(10)),
        pictures: bool = False,
        seeds: int = 3,
    ) -> None:
        """
        Args:
            name: of the YAML. table: of the published table.
            recipe: of `genaudit.piad.recipe.TrainingRecipe`, for scale=laptop. width: times the supplement's, likewise.
            classes: of Fashion-MNIST, at scale=laptop. paper_classes: of CIFAR-10, at scale=paper.
            pictures: whether the least and most anomalous images of the first class are shown, as in Fig. 5.
            seeds: of the trainings at scale=desk and scale=paper; scale=laptop trains once.
        """
        self.name, self.table, self.recipe, self.width = name, table, dict(recipe), width
        small = tuple(classes)
        self.classes: dict[Scale, tuple[int, ...]] = {"laptop": small, "desk": small, "paper": tuple(paper_classes)}
        self.several = seeds
        self.pictures = pictures

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Fashion-MNIST; at the paper's scale CIFAR-10 and VGG-19."""
        if scale == "paper":
            return [datasets.cifar10_need(data), vgg19_weights()]
        return [datasets.fashion_mnist_need(data), embedded_weights()]

    def run(self, context: Context) -> Table:
        """Trains and scores every row on every class with every seed; each is a step that is kept."""
        seeds = [context.seed + i for i in range(1 if context.scale == "laptop" else self.several)]
        runs = {
            (row, normal, seed): self.settings(row, context.scale)
            for row in published("tuluptceva2019", self.table).rows
            for normal in self.classes[context.scale]
            for seed in seeds
        }
        names = {run: f"piad-{settings.key}-class{run[1]}-seed{run[2]}" for run, settings in runs.items()}
        computes = {
            names[run]: functools.partial(self._scored, context, settings, *run[1:]) for run, settings in runs.items()
        }
        done = dict(zip(computes, context.steps(computes), strict=True))
        results: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for (row, normal, _), name in names.items():
            results.setdefault(row, {}).setdefault(normal, []).append(done[name])
        return self._table(context, results, len(seeds))

    def settings(self, row: str, scale: Scale) -> PIADSettings:
        """Those of a row's training."""
        loss, more = ROWS[row]
        if scale == "paper":
            return PIADSettings(1.0, {"iterations": ITERATIONS, **more}, self._network(scale), "cifar10", loss)
        return PIADSettings(self.width, self.recipe | dict(more), self._network(scale), "mnist", loss)

    @staticmethod
    def _network(scale: Scale) -> str:
        return "vgg19_relu42" if scale == "paper" else "efficientnet_lite0"

    def _scored(self, context: Context, settings: PIADSettings, normal: int, seed: int) -> Any:
        split, perceptual = _split(normal, seed, context), perceptual_network(settings.network, context.device)
        name = f"class{normal}-seed{seed}"
        scored = piad_runs.train_and_score(context, split, settings, perceptual, name=name, seed=seed)
        judged = one_class.judged(lambda: scored.scores, split.normal) | {"seconds": scored.seconds}
        order = np.argsort(scored.scores, kind="stable")
        ends = {"least": order[: piad_runs.SHOWN], "most": order[::-1][: piad_runs.SHOWN]}
        return judged | {end: piad_runs.shown(split.test[chosen]) for end, chosen in ends.items()}

    def _table(self, context: Context, found: dict[str, dict[int, list[dict[str, Any]]]], seeds: int) -> Table:
        paper = published("tuluptceva2019", self.table)
        classes = self.classes[context.scale]
        names = datasets.CIFAR10_CLASSES if context.scale == "paper" else CLASSES
        cells: list[Cell] = []
        for row, scored in found.items():
            areas = {normal: [one["auroc"] for one in of_class] for normal, of_class in scored.items()}
            means = np.mean(list(areas.values()), axis=0)  # of each seed
            cells.append(over_seeds_compared(paper[row, COLUMN], means.tolist()))
            if len(classes) > 1:
                cells += [
                    over_seeds_compared(PublishedCell(row, f"class {each} ({names[each]})", ""), values)
                    for each, values in areas.items()
                ]
            spent = float(np.mean([one["seconds"] for of_class in scored.values() for one in of_class]))
            cells.append(Cell(row, "CPU seconds a class", spent, unit="s"))
        figures: tuple[Pictures, ...] = ()
        if self.pictures:
            rows = (
                PictureRow(f"{row}, {end} anomalous", tuple(np.array(image, np.uint8) for image in images[end]))
                for row, scored in found.items()
                for images in scored[classes[0]][:1]
                for end in ("least", "most")
            )
            figures = (Pictures(f"Test images, normal: {names[classes[0]]}", ("",) * piad_runs.SHOWN, tuple(rows)),)
        budget = ", ".join(f"{name} {value}" for name, value in self.recipe.items())
        listed = ", ".join(f"{each} ({names[each]})" for each in classes)
        return Table(
            name=self.name,
            title=f"PIAD: {paper.title}",
            source=paper.source,
            cells=tuple(cells),
            scale=context.scale,
            differs=""
            if context.scale == "paper"
            else f"Fashion-MNIST, normal class {listed}, by GPND's protocol (the paper: CIFAR-10); widths {self.width} "
            f"times Table 1's; {budget} (the paper: 100,000 iterations); perceptual network EfficientNet-Lite0 instead "
            "of VGG-19.",
            figures=figures,
            notes=(*NOTES, SEVERAL.format(seeds)) if seeds > 1 else NOTES,
        )


def _split(normal: int, seed: int, context: Context) -> one_class.OneClassImages:
    read: Any = datasets.cifar10 if context.scale == "paper" else datasets.fashion_mnist
    (train, train_labels), (test, test_labels) = (read(split, context.data) for split in datasets.SPLITS)
    if context.scale == "paper":
        return one_class.OneClassImages(train, protocols.one_vs_all(train_labels, test_labels, normal), test)
    labels = np.concatenate([train_labels, test_labels])
    return one_class.OneClassImages(np.concatenate([train, test]), protocols.gpnd(labels, normal, seed=seed))
