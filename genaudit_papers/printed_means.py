"""Do the means that a table prints follow from its rows, and a text's quotations from its tables?

What can be recomputed of a table without its data. A mean of rounded numbers may differ from the rounded mean by half a
unit of the rows plus half a unit of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from genaudit.metrics.result import Marks
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers.published import PublishedCell, PublishedTable, compared, published

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
    """schirrmeister2020: the mean rows of Table S2, and what section S9 quotes of Tables S2 and S4."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing but the printed table."""
        return []

    def run(self, context: Context) -> Table:
        """Recomputes means and quotations."""
        two, four, nine = (published("schirrmeister2020", name) for name in ("Table S2", "Table S4", "Section S9"))
        cells: list[Cell] = []
        pairs = [row for row in two.rows if not row.endswith("Mean")]
        for row, prefix in (("CIFAR10 Mean", "CIFAR10 "), ("CIFAR100 Mean", "CIFAR100 "), ("Mean", "")):
            cells += means(two, row, [each for each in pairs if each.startswith(prefix)])
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
            figures=(printed_areas(two, pairs),),
            notes=("Recomputed from the printed rows: no image was measured.", *two.notes[:1], *nine.notes),
        )


class PIADMeans:
    """tuluptceva2019: the averages of Table 2 over classes."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing but the printed table."""
        return []

    def run(self, context: Context) -> Table:
        """Recomputes the averages."""
        table = published("tuluptceva2019", "Table 2")
        cells: list[Cell] = []
        classes = [row for row in table.rows if not row.endswith("avg")]
        for dataset in ("MNIST", "CIFAR-10"):
            cells += means(table, f"{dataset} avg", [row for row in classes if row.startswith(f"{dataset} ")])
        return Table(
            "piad_means",
            "Averages of Table 2 over the classes",
            table.source,
            tuple(cells),
            context.scale,
            notes=("Recomputed from the printed rows: no image was measured.", *table.notes[:1]),
        )


def printed_areas(table: PublishedTable, pairs: Sequence[str], seeds: int = 3) -> Marks:
    """Fig. S5: Table S2's printed means over the seeds with the standard errors of these means."""
    marks = {}
    for column in table.columns:
        setting, _, score = column.partition(" ")
        cells = [table[pair, column] for pair in pairs]
        values = np.array([np.nan if cell.value is None else cell.value for cell in cells])
        errors = np.array([np.nan if cell.spread is None else cell.spread for cell in cells]) / math.sqrt(seeds)
        marks[f"{setting}, {score}"] = values, errors
    rows = tuple(pair.replace(" ", " against ") for pair in pairs)
    return Marks("Table S2 drawn, as printed (Fig. S5)", "AUROC in percent, mean and its standard error", rows, marks)


def means(table: PublishedTable, row: str, rows: Sequence[str]) -> Iterator[Cell]:
    """The mean of `rows` beside the printed one in `row`, for every column where they are all numbers."""
    for column in table.columns:
        parts = [table[each, column] for each in rows]
        values = [part.value for part in parts if part.value is not None]
        if len(values) < len(parts):
            continue
        cell = table[row, column]
        mean = float(np.mean(values))
        yield compared(cell, mean, tolerance=cell.half_unit + parts[0].half_unit, note=f"mean of {len(parts)} rows")


def _quoted(cell: PublishedCell, source: PublishedCell) -> Cell:
    # rounding of a rounded number: half a unit of each
    tolerance = cell.half_unit + (source.half_unit if source.half_unit < cell.half_unit else 0.0)
    return compared(cell, source.value, tolerance=tolerance, unit="%", note=f"{source.row}, {source.column}")
