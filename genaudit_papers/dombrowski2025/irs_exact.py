"""What dombrowski2025 states exactly: idealised scores, the rejection threshold, the expectation of Theorem 1.

Dombrowski et al. 2025. N training images, n samples, alpha = n / N, K images that a model can produce.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genaudit.metrics.result import Curve
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.occupancy import cdf, expected_distinct, pmf, rejection_threshold, target_support
from genaudit_papers.published import compared, published

PAPER = "dombrowski2025"


class Exact:
    """A recipe that needs nothing: it computes from formulas, alike at both scales."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing."""
        return []


class Idealised(Exact):
    """The score of a perfect model at each sampling rate that the paper prints one for.

    IRS_alpha = 1 - (1 - 1/N)^n, which tends to 1 - e^-alpha; in percent.
    """

    def run(self, context: Context) -> Table:
        """Recomputes the idealised value of Tables 4, 5 and 6 and of Fig. 13."""
        four, five, six = (published(PAPER, f"Table {number}") for number in (4, 5, 6))
        thirteen = published(PAPER, "Fig. 13")
        wrong_rate = "the value of IRS_7/2; the caption's 3,000 training and 7,000 test images are 7/3"
        cells = [
            compared(four["Idealized", "cosine alpha 2"], ideal(2), row="Table 4", column="alpha 2", unit="%"),
            compared(four["Idealized", "cosine alpha 6"], ideal(6), row="Table 4", column="alpha 6", unit="%"),
            compared(five["Idealized", "alpha 2"], ideal(2), row="Table 5", column="alpha 2", unit="%"),
            compared(
                five["Idealized", "alpha 16"],
                ideal(16),
                row="Table 5",
                column="alpha 16",
                unit="%",
                note="99.99999, cut off instead of rounded in the paper",
            ),
            compared(
                six["Idealized IRS_7/3", "ImageNet"],
                100 * expected_distinct(7000, 3000) / 3000,
                row="Table 6",
                column="alpha 7/3",
                unit="%",
                note=wrong_rate,
            ),
            compared(thirteen["Idealized IRS_7/2", "value"], ideal(3.5), row="Fig. 13", column="alpha 7/2", unit="%"),
        ]
        rates = np.linspace(0, 8, 161)
        curve = Curve(
            "Idealised IRS", "sampling rate alpha", "IRS_alpha in %", rates, {"1 - e^-alpha": -100 * np.expm1(-rates)}
        )
        return Table(
            "irs_idealised",
            "Idealised image retrieval scores",
            f"{four.source}; {five.where}; {six.where}; {thirteen.where}",
            tuple(cells),
            context.scale,
            figures=(curve,),
            notes=(*five.notes[:1], *six.notes[:1]),
        )


def ideal(alpha: float) -> float:
    """1 - e^-alpha in percent."""
    return -100 * math.expm1(-alpha)


class Section11(Exact):
    """The threshold below which the gate rejects ImageNet-512's checkpoint, and what the printed one amounts to."""

    def run(self, context: Context) -> Table:
        """Recomputes the threshold and its levels from the occupancy law."""
        table = published(PAPER, "Section 11")

        def printed(row: str) -> int:
            return int(table[row, "value"].value or 0)

        n, level = printed("samples"), printed("probability of error in percent") / 100
        target = printed("desired IRS in percent") / 100
        support = target_support(printed("training images of ImageNet-512"), target)
        threshold = rejection_threshold(n, support, level)
        below = printed("reject if fewer are learned than")
        # k <= threshold - 1 rejects, that is n - threshold + 1 duplicates or more
        cells = [
            compared(
                table["reject if fewer are learned than", "value"],
                threshold,
                tolerance=0.0,
                note="the smallest number that is not rejected; the printed one is a count conservative",
            ),
            compared(
                table["reject at more duplicates than", "value"],
                n - threshold,
                tolerance=0.0,
                note="with one duplicate more no continuation reaches the threshold",
            ),
            Cell("level of the exact threshold", "value", 100 * float(cdf(threshold - 1, n, support)), unit="%"),
            Cell("level of the printed threshold", "value", 100 * float(cdf(below - 1, n, support)), unit="%"),
            Cell("support at the target", "value", float(support), unit="images"),
        ]
        k = np.arange(below - 400, below + 900)
        law = Curve(
            "Distribution of the learned images at the target", "N_learned", "P(K <= k)", k, {"law": cdf(k, n, support)}
        )
        return Table(
            "irs_section11",
            "The rejection threshold for ImageNet-512",
            table.source,
            tuple(cells),
            context.scale,
            figures=(law,),
            notes=table.notes,
        )


class Theorem1(Exact):
    """E[IRS_alpha] = (K/N)(1 - (1 - 1/K)^n) (Eq. 14), its bound 1 - e^-alpha (Eq. 15) and its limit K/N (Eq. 16).

    The expected value of a cell is the paper's formula; the recomputed ones are the mean of the exact law, and the
    mean of simulated models with its interval, neither of which uses the formula.

    Args:
        n_train: N. shares: K/N. rates: alpha. repeats: simulated models a cell.
    """

    def __init__(
        self,
        n_train: int = 1000,
        shares: Sequence[float] = (1.0, 0.8, 0.5, 0.1, 0.01),
        rates: Sequence[float] = (0.5, 2.0),
        repeats: int = 2000,
    ) -> None:
        self.n_train, self.shares, self.rates, self.repeats = n_train, list(shares), list(rates), repeats

    def run(self, context: Context) -> Table:
        """Compares formula, law and simulation."""
        cells = []
        for alpha in self.rates:
            n = round(alpha * self.n_train)
            for share in self.shares:
                support = round(share * self.n_train)
                formula = share * (1 - (1 - 1 / support) ** n)
                row = f"K/N = {share:g}, alpha = {alpha:g}"
                k = np.arange(1, min(n, support) + 1)
                law = float(k @ pmf(k, n, support)) / self.n_train
                # probabilities carry relative errors up to 1e-9
                cells.append(Cell(row, "mean of the law", law, expected=formula, tolerance=1e-8))
                cells.append(self._simulated(context, row, n, support, formula))
                if share < 1:
                    # Eq. 15: a yes-or-no claim, 1 where it holds
                    note = f"{law:.4f} < {-math.expm1(-alpha):.4f}"
                    holds = float(law < -math.expm1(-alpha))
                    cells.append(Cell(row, "below 1 - e^-alpha", holds, expected=1.0, note=note))
        x = np.linspace(0.01, 3, 120)
        lines = {
            f"K/N = {share:g}": np.array(
                [share * (1 - (1 - 1 / (share * self.n_train)) ** (a * self.n_train)) for a in x]
            )
            for share in self.shares
        }
        figure = Curve("Expected IRS of a model that knows K of N images", "alpha", "E[IRS_alpha]", x, lines)
        return Table(
            "irs_theorem1",
            "Theorem 1: expected IRS",
            published(PAPER, "Theorem 1").source,
            tuple(cells),
            context.scale,
            figures=(figure,),
            notes=(
                "Expected: the paper's formula (Eq. 14), which it gives without numbers. Recomputed: the exact "
                f"occupancy law's mean, and {self.repeats:,} simulated models with a 99 % interval of their mean.",
                "Eq. 15 compares with 1 - e^-alpha, the limit of large N.",
                *published(PAPER, "Theorem 1").notes[1:],
            ),
        )

    def _simulated(self, context: Context, row: str, n: int, known: int, formula: float) -> Cell:
        rng = np.random.default_rng([context.seed, n, known])
        counts = [len(np.unique(rng.integers(0, known, n))) for _ in range(self.repeats)]
        scores = np.array(counts) / self.n_train
        # 2.576: the normal law's two-sided 99 % point
        half = 2.576 * scores.std(ddof=1) / math.sqrt(self.repeats)
        mean = float(scores.mean())
        # what one image in one simulation amounts to: where all simulations agree there is no interval to speak of
        step = 1 / (self.n_train * self.repeats)
        return Cell(row, "simulated", mean, None, mean - half, mean + half, step, expected=formula)
