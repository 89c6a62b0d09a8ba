"""PIAD's networks against the supplement: parameters that were built, and those that the printed rows add up to.

Tuluptceva et al. 2019, supplement, Tables 1 to 4. The paper prints no totals, so the expected value of a cell is what
its rows give: a convolution of k x k filters has k·k·C_in·C_out weights and C_out biases; a block has two 3x3
convolutions, and a 1x1 on its skip connection where it changes the number of filters; the conv-act-conv block always
has one.
"""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers.published import PublishedTable, published

NETWORKS = {
    "generator": "generator",
    "encoder": "encoder",
    "image critic": "image_critic",
    "latent critic": "latent_critic",
}
# name of the networks, channels, table
BUILT = (
    ("mnist", 1, "Supplement Table 1"),
    ("mnist", 3, "Supplement Table 1"),
    ("cifar10", 3, "Supplement Table 2"),
    ("lsun", 3, "Supplement Table 3"),
    ("celeba", 3, "Supplement Table 4"),
)
FILTERS, KERNEL, OUTPUT = "filters or units", "kernel", "output"
# What the printed rows leave unreadable, or have left over from Table 1: (table, row, column) => reading and reason.
READINGS = {
    ("Supplement Table 2", "latent critic 0 Input", OUTPUT): ("256 × 1 × 1", "the encoder's output, printed 32"),
    ("Supplement Table 3", "encoder 6 Pre-act Block", FILTERS): ("64", "its output's"),
    ("Supplement Table 4", "encoder 7 Convolution", KERNEL): ("4 × 4 (pad 0)", "as in Tables 1 and 2"),
    ("Supplement Table 4", "encoder 9 Convolution", FILTERS): ("64", "the generator's input"),
    ("Supplement Table 4", "encoder 9 Convolution", KERNEL): ("1 × 1 (pad 0)", "as in Tables 1 and 2"),
    ("Supplement Table 4", "latent critic 0 Input", OUTPUT): ("64 × 1 × 1", "the generator's input, printed 32"),
}


class PIADParameters:
    """Parameter counts of the four networks of each table."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing."""
        return []

    def run(self, context: Context) -> Table:
        """Builds every network and counts."""
        cells = []
        for name, channels, table in BUILT:
            rows = published("tuluptceva2019", table)
            row = f"{name}, {channels} channel{'s' * (channels > 1)}"
            built = context.step(f"{name}-{channels}", partial(parameters, name, channels))
            for network in NETWORKS:
                expected = counted(rows, network, channels)  # a sum over printed rows: the paper prints no number
                cells.append(Cell(row, network, built[network], expected=expected, note=table))
        return Table(
            name="piad_parameters",
            title="PIAD's networks: numbers of parameters",
            source="Tuluptceva et al. 2019, supplement, Tables 1 to 4, rows added up",
            cells=tuple(cells),
            scale=context.scale,
            notes=(
                "The paper prints the layers, not these sums.",
                *(
                    f"{table}, {row}: {column} read as {what} ({why})"
                    for (table, row, column), (what, why) in READINGS.items()
                ),
            ),
        )


def parameters(name: str, channels: int) -> dict[str, int]:
    """Numbers of parameters of the networks that genaudit builds."""
    from genaudit.piad.networks import build

    networks = build(name, channels, seed=0)
    return {
        network: sum(p.numel() for p in getattr(networks, attribute).parameters())
        for network, attribute in NETWORKS.items()
    }


def counted(table: PublishedTable, network: str, channels: int) -> int:
    """What the printed rows of one network add up to, biases included."""
    shape: list[int] = []
    total = 0
    for row in table.rows:
        if not row.startswith(f"{network} "):
            continue
        kind = row.split(maxsplit=len(network.split()) + 1)[-1]

        def printed(column: str, row: str = row) -> list[int]:
            text = READINGS.get((table.table, row, column), (table[row, column].printed,))[0]
            text = re.sub(r"\{.*?\}", str(channels), text)  # {1, 3}: grey or colour
            return [int(number) for number in re.findall(r"\d+", text)]

        before = shape[0] if shape else 0
        if kind == "Input":
            shape = printed(OUTPUT)
        elif kind == "Reshape":
            shape = [math.prod(shape)]
        elif kind == "Minibatch stdev":
            shape = [before + 1, *shape[1:]]
        elif kind == "Dense":
            total += (before + 1) * printed(FILTERS)[0]
            shape = printed(FILTERS)
        elif kind != "Leaky ReLU":
            after = printed(FILTERS)[0]
            if kind == "Convolution":
                total += convolution(before, after, printed(KERNEL)[0])
            else:
                total += convolution(before, after, 3) + convolution(after, after, 3)
                total += convolution(before, after, 1) if before != after or kind == "Residual Block" else 0
            shape = [after, *printed(OUTPUT)[1:]]
    return total


def convolution(before: int, after: int, kernel: int) -> int:
    """Weights and biases of a convolution."""
    return (kernel**2 * before + 1) * after
