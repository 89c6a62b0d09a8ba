"""Do the means that a table prints follow from its rows, and a text's quotations from its tables?

What can be recomputed of a table without its data. A mean of rounded numbers may differ from the rounded mean by half a
unit of the rows plus half a unit of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from genaudit.papers.published import PublishedCell, PublishedTable, compared, published
from genaudit.papers.recipe import Context, Need, Scale
from genaudit.papers.table import Cell, Table

# quoted pair => rows of Table S4 and S2
QUOTED = {
    "CIFAR10 against CIFAR100": ("CIFAR-10 CIFAR-100", "CIFAR10 CIFAR100"),
    "CIFAR100 against CIFAR10": ("CIFAR-100 CIFAR-10", "CIFAR100 CIFAR10"),
    "CIFAR10 against LSUN": ("CIFAR-10 LSUN", "CIFAR10 LSUN"),
    "CIFAR100 against LSUN": ("CIFAR-100 LSUN", "CIFAR100 LSUN"),
    "CIFAR10 against SVHN": ("CIFAR-10 SVHN", "CIFAR10 SVHN"),
    "CIFAR100 against SVHN": ("CIFAR-100 SVHN", "CIFAR100 SVHN"),
}
METHOD = "unsupervised Diff†"


class LikelihoodMeans:
    """Seed 001: the mean rows of Table S2, and what section S9 quotes of Tables S2 and S4."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing but the printed table."""
        return []

    def run(self, context: Context) -> Table:
        """Recomputes means and quotations."""
        two, four, nine = (published("001", name) for name in ("Table S2", "Table S4", "Section S9"))
        cells = []
        for row, belongs in (
            ("CIFAR10 Mean", lambda row: row.startswith("CIFAR10 ")),
            ("CIFAR100 Mean", lambda row: row.startswith("CIFAR100 ")),
            ("Mean", lambda row: " " in row),
        ):
            cells += means(two, row, lambda each, belongs=belongs: belongs(each) and not each.endswith("Mean"))
        for pair, (classifier, ours) in QUOTED.items():
            source = two[ours, METHOD]
            cells.append(_quoted(nine[pair, "classifier"], four[classifier, "AUC"]))
            cells.append(_quoted(nine[pair, "generative"], source))
        return Table(
            "likelihood_means",
            "Means of Table S2 and the quotations of section S9",
            f"{two.source}; {nine.where}",
            tuple(cells),
            context.scale,
            notes=("Recomputed from the printed rows: no image was measured.", *two.notes[:1], *nine.notes),
        )


class PIADMeans:
    """Seed 004: the averages of Table 2 over classes."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing but the printed table."""
        return []

    def run(self, context: Context) -> Table:
        """Recomputes the averages."""
        table = published("004", "Table 2")
        cells = []
        for dataset in ("MNIST", "CIFAR-10"):
            prefix = f"{dataset} "
            cells += means(
                table, f"{dataset} avg", lambda row, prefix=prefix: row.startswith(prefix) and "avg" not in row
            )
        return Table(
            "piad_means",
            "Averages of Table 2 over the classes",
            table.source,
            tuple(cells),
            context.scale,
            notes=("Recomputed from the printed rows: no image was measured.", *table.notes[:1]),
        )


def means(table: PublishedTable, row: str, belongs: Callable[[str], bool]) -> Iterable[Cell]:
    """The mean of the rows that belong to a printed mean, for every column where they are all numbers."""
    for column in table.columns:
        parts = [table[each, column] for each in table.rows if belongs(each)]
        if any(part.value is None for part in parts):
            continue
        cell = table[row, column]
        mean = float(np.mean([part.value for part in parts]))
        yield compared(cell, mean, tolerance=cell.half_unit + parts[0].half_unit, note=f"mean of {len(parts)} rows")


def _quoted(cell: PublishedCell, source: PublishedCell) -> Cell:
    # rounding of a rounded number: half a unit of each
    tolerance = cell.half_unit + (source.half_unit if source.half_unit < cell.half_unit else 0.0)
    return compared(cell, source.value, tolerance=tolerance, unit="%", note=f"{source.row}, {source.column}")
