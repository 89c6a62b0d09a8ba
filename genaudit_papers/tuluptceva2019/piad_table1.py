"""Classes and images of the datasets in tuluptceva2019's Table 1, counted where they are on this machine.

Tuluptceva et al. 2019.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Table
from genaudit_papers import datasets
from genaudit_papers.measuring import find_set
from genaudit_papers.published import compared, published

# column of the table => image set under the data root; Fashion-MNIST is found as everywhere
SETS = {"COIL-100": "coil-100", "LSUN(bedr.)": "lsun/bedroom_train", "CelebA": "celeba/img_align_celeba"}
TORCHVISION = {"MNIST": "MNIST", "CIFAR-10": "CIFAR10"}


class DatasetCounts:
    """Counts what is here; the other datasets are not computed."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Fashion-MNIST; at the paper's scale the other datasets."""
        needs = [datasets.fashion_mnist_need(data)]
        if scale == "paper":
            for column in (*TORCHVISION, *SETS):
                here = self._count(column, data) is not None
                needs.append(Need(column, here, f"data=DIR with {TORCHVISION.get(column) or SETS[column]}"))
        return needs

    def run(self, context: Context) -> Table:
        """Counts."""
        table = published("tuluptceva2019", "Table 1")
        cells = []
        for column in table.columns:
            counted = self._count(column, context.data)
            for row, number in zip(("classes", "instances"), counted or (None, None), strict=True):
                if table[row, column].value is not None:
                    cells.append(compared(table[row, column], number, tolerance=0.0))
        return table.recomputed(
            "piad_table1",
            cells,
            context.scale,
            differs="Only the datasets that are on this machine are counted." if context.scale == "laptop" else "",
        )

    def _count(self, column: str, data: Path | None) -> tuple[int | None, int] | None:
        """Classes and images, None where the dataset is not here; classes None where its layout doesn't tell."""
        if column == "fMNIST":
            if datasets.find_fashion_mnist(data) is None:
                return None
            labels = np.concatenate([datasets.fashion_mnist(split, data)[1] for split in ("train", "test")])
            return len(np.unique(labels)), len(labels)
        if column in TORCHVISION:
            return _torchvision(TORCHVISION[column], data)
        path = find_set(data, SETS[column])
        if path is None or not path.is_dir():
            return None
        images = [image for image in path.rglob("*") if image.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
        # COIL-100's files are called obj12__35.png
        classes = len({image.name.partition("__")[0] for image in images}) if column == "COIL-100" else None
        return (1 if column.startswith("LSUN") else classes), len(images)


def _torchvision(name: str, data: Path | None) -> tuple[int, int] | None:
    """Classes and images of one of torchvision's datasets under `data`; None where its files are not there."""
    if data is None:
        return None
    import torchvision

    try:
        parts = [getattr(torchvision.datasets, name)(str(data), train=train) for train in (True, False)]
    except RuntimeError:
        return None
    labels = [int(label) for part in parts for label in part.targets]
    return len(set(labels)), len(labels)
