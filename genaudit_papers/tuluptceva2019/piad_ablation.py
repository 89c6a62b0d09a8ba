"""What each part of PIAD adds: the reconstruction loss and the policy that weights it, one after the other.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", section 4.2, Table 3 (right) and Fig. 5. Each row trains
with its loss and is scored by the same loss. The paper runs it on CIFAR-10, its laptop version on Fashion-MNIST by
GPND's protocol. N images.
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
from genaudit_papers.published import compared, published
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
NOTES = (
    "AUROC, an anomaly being the positive; 0.5 is chance. Each row is trained and scored with its own loss.",
    "Intervals are DeLong's for the draw of test images; they do not know how far another training would come out.",
    "The paper's baseline has weights that its authors chose by looking at samples, and does not print them: here "
    "gamma is 1 in both places.",
)


class PIADAblation:
    """AUROC by loss and weighting, the mean over classes."""

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
    ) -> None:
        """
        Args:
            name: of the YAML. table: of the published table.
            recipe: of `genaudit.piad.recipe.TrainingRecipe`, for scale=laptop. width: times the supplement's, likewise.
            classes: of Fashion-MNIST, at scale=laptop. paper_classes: of CIFAR-10, at scale=paper.
            pictures: whether the least and most anomalous images of the first class are shown, as in Fig. 5.
        """
        self.name, self.table, self.recipe, self.width = name, table, dict(recipe), width
        self.classes: dict[Scale, tuple[int, ...]] = {"laptop": tuple(classes), "paper": tuple(paper_classes)}
        self.pictures = pictures

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Fashion-MNIST; at the paper's scale CIFAR-10 and VGG-19."""
        if scale == "laptop":
            return [datasets.fashion_mnist_need(data), embedded_weights()]
        return [datasets.cifar10_need(data), vgg19_weights()]

    def run(self, context: Context) -> Table:
        """Trains and scores every row on every class; each is a step that is kept."""
        runs = {
            (row, normal): self.settings(row, context.scale)
            for row in published("tuluptceva2019", self.table).rows
            for normal in self.classes[context.scale]
        }
        names = {run: f"piad-{settings.key}-class{run[1]}-seed{context.seed}" for run, settings in runs.items()}
        computes = {
            names[row, normal]: functools.partial(self._scored, context, settings, normal)
            for (row, normal), settings in runs.items()
        }
        done = dict(zip(computes, context.steps(computes), strict=True))
        results: dict[str, list[dict[str, Any]]] = {}
        for (row, _), name in names.items():
            results.setdefault(row, []).append(done[name])
        return self._table(context, results)

    def settings(self, row: str, scale: Scale) -> PIADSettings:
        """Those of a row's training."""
        loss, more = ROWS[row]
        if scale == "laptop":
            return PIADSettings(self.width, self.recipe | dict(more), self._network(scale), "mnist", loss)
        return PIADSettings(1.0, {"iterations": ITERATIONS, **more}, self._network(scale), "cifar10", loss)

    @staticmethod
    def _network(scale: Scale) -> str:
        return "vgg19_relu42" if scale == "paper" else "efficientnet_lite0"

    def _scored(self, context: Context, settings: PIADSettings, normal: int) -> Any:
        split, perceptual = _split(normal, context), perceptual_network(settings.network, context.device)
        name = f"class{normal}-seed{context.seed}"
        scored = piad_runs.train_and_score(context, split, settings, perceptual, name=name, seed=context.seed)
        judged = one_class.judged(lambda: scored.scores, split.normal) | {"seconds": scored.seconds}
        order = np.argsort(scored.scores, kind="stable")
        ends = {"least": order[: piad_runs.SHOWN], "most": order[::-1][: piad_runs.SHOWN]}
        return judged | {end: piad_runs.shown(split.test[chosen]) for end, chosen in ends.items()}

    def _table(self, context: Context, found: dict[str, list[dict[str, Any]]]) -> Table:
        paper = published("tuluptceva2019", self.table)
        classes = self.classes[context.scale]
        names = CLASSES if context.scale == "laptop" else datasets.CIFAR10_CLASSES
        cells: list[Cell] = []
        for row, scored in found.items():
            values, errors = ([each[what] for each in scored] for what in ("auroc", "error"))
            mean, around = float(np.mean(values)), 1.96 * float(np.linalg.norm(errors)) / len(errors)
            cells.append(compared(paper[row, COLUMN], mean, lower=mean - around, upper=mean + around))
            if len(classes) > 1:
                cells += [
                    Cell(row, f"class {each} ({names[each]})", value, lower=value - 1.96 * e, upper=value + 1.96 * e)
                    for each, value, e in zip(classes, values, errors, strict=True)
                ]
            spent = float(np.mean([each["seconds"] for each in scored]))
            cells.append(Cell(row, "CPU seconds a class", spent, unit="s"))
        figures: tuple[Pictures, ...] = ()
        if self.pictures:
            rows = (
                PictureRow(f"{row}, {end} anomalous", tuple(np.array(image, np.uint8) for image in scored[0][end]))
                for row, scored in found.items()
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
            notes=NOTES,
        )


def _split(normal: int, context: Context) -> one_class.OneClassImages:
    read: Any = datasets.cifar10 if context.scale == "paper" else datasets.fashion_mnist
    (train, train_labels), (test, test_labels) = (read(split, context.data) for split in datasets.SPLITS)
    if context.scale == "paper":
        return one_class.OneClassImages(train, protocols.one_vs_all(train_labels, test_labels, normal), test)
    labels = np.concatenate([train_labels, test_labels])
    return one_class.OneClassImages(np.concatenate([train, test]), protocols.gpnd(labels, normal, seed=context.seed))
