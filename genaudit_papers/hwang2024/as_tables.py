"""Complexity and vulnerability of hwang2024: by settings (Table B.1), with tests (C.1, E.1).

Hwang, Lee and Lee 2024, supplement. C: complexity, V: vulnerability; eps, K of the path, alpha, J of the attack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.measures.anomaly import Anomaly
from genaudit.metrics.anomaly_rows import COMPLEXITY, VULNERABILITY
from genaudit.metrics.anomaly_score import anomaly_score, judge
from genaudit.metrics.result import Cloud
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.estimate import bootstrap_mean
from genaudit_papers.measuring import rows, set_need, weights_need
from genaudit_papers.published import PublishedTable, compared, published

REFERENCE, GENERATED = "demo:reference", "demo:vae"
QUANTITIES = {"complexity": COMPLEXITY, "vulnerability": VULNERABILITY}
CHANCE = "0 where the difference is within chance (95 %)"
DIFFERS = (
    "Fashion-MNIST and samples of a small VAE, which ship with genaudit, in place of the paper's sets; "
    "EfficientNet-Lite0 on images of {size} pixels in place of its feature models; {limit} images a set. The values "
    "depend on all of these: what can be compared is their order and their ratios."
)


class AnomalySets:
    """Feature models and pairs of image sets, at either scale.

    Args:
        name: of the recipe. table: as `published` calls it.
        models: the paper's feature models by column. laptop_model: the one of the laptop's scale.
        sets: dataset => [reference, generated], under the data root.
        limit: images a set at the paper's scale, None for all. laptop_limit: at the laptop's.
    """

    def __init__(
        self,
        name: str,
        table: str,
        *,
        models: Mapping[str, Any],
        laptop_model: Any,
        sets: Mapping[str, Sequence[str]],
        limit: int | None = None,
        laptop_limit: int = 400,
    ) -> None:
        self.name, self.published = name, published("hwang2024", table)
        self.models, self.laptop_model = dict(models), laptop_model
        self.sets = {dataset: tuple(pair) for dataset, pair in sets.items()}
        self.limit, self.laptop_limit = limit, laptop_limit

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Image sets and weights."""
        if scale == "laptop":
            return [weights_need("EfficientNet-Lite0", self.laptop_model, "table.laptop_model")]
        needed = [weights_need(label, model, f"table.models.{label}") for label, model in self.models.items()]
        return needed + [set_need(data, one, f"images of {one}") for pair in self.sets.values() for one in pair]

    def _differs(self, context: Context) -> str:
        if context.scale == "paper":
            return ""
        return DIFFERS.format(size=self.laptop_model.recipe.size, limit=self.laptop_limit)

    def _rows(
        self, context: Context, source: str, model: Any, *, pixels: np.ndarray | None = None, **settings: Any
    ) -> np.ndarray:
        limit = self.laptop_limit if context.scale == "laptop" else self.limit
        measure = Anomaly(model, seed=context.seed, **settings)
        table, _ = rows(context, source, measure, pixels=pixels, sample=limit)
        return table


class MeansBySettings(AnomalySets):
    """Table B.1: mean C and V of real and generated images by eps, alpha, K and J, and AS, which it doesn't print.

    Args:
        settings: row of the table => keys of the anomaly measure.
        laptop_attack: the laptop's attack steps in parts of the paper's. At the paper's, EfficientNet-Lite0's features
            are moved as far as they go whatever alpha and J are.
    """

    def __init__(
        self, *args: Any, settings: Mapping[str, Mapping[str, Any]], laptop_attack: float = 0.01, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.settings = {row: dict(keys) for row, keys in settings.items()}
        self.laptop_attack = laptop_attack

    def run(self, context: Context) -> Table:
        """Measures both sets at every setting."""
        ((reference, generated),) = self.sets.values() if context.scale == "paper" else [(REFERENCE, GENERATED)]
        model = next(iter(self.models.values())) if context.scale == "paper" else self.laptop_model
        measured = {
            row: context.step(row.replace(" ", "_"), partial(self._means, context, model, reference, generated, keys))
            for row, keys in self.settings.items()
        }
        cells = []
        for row, numbers in measured.items():
            for column in self.published.columns:
                mean, low, high = numbers[column]
                cells.append(compared(self.published[row, column], mean, lower=low, upper=high))
            cells.append(Cell(row, "AS", numbers["AS"], note="not in the paper's table"))
        cells += self._effects(measured)
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=self._differs(context) + (self._weaker_attack() if context.scale == "laptop" else ""),
            notes=("Intervals: 95 % bootstrap over images.", *self.published.notes),
        )

    def _weaker_attack(self) -> str:
        return (
            f" The attack's steps are {self.laptop_attack:g} times the paper's: there this network's features are "
            "moved as far as they go, whatever alpha and J are."
        )

    def _means(
        self, context: Context, model: Any, reference: str, generated: str, keys: Mapping[str, Any]
    ) -> dict[str, Any]:
        if context.scale == "laptop":
            keys = {**keys, "alpha": keys.get("alpha", 0.01) * self.laptop_attack}
        sets = {
            kind: self._rows(context, one, model, **keys)
            for kind, one in (("real", reference), ("generated", generated))
        }
        means: dict[str, Any] = {}
        for kind, table in sets.items():
            for quantity, column in QUANTITIES.items():
                values = table[:, column][np.isfinite(table[:, column])]
                ends = bootstrap_mean(values, seed=context.seed)
                means[f"{quantity} {kind}"] = [float(values.mean()), ends.lower, ends.upper]
        points = {kind: table[np.isfinite(table[:, :2]).all(1), :2] for kind, table in sets.items()}
        means["AS"] = anomaly_score(points["real"], points["generated"], permutations=99, seed=context.seed).statistic
        return means

    def _effects(self, found: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
        """What the table shows: ratios of V to that of the middle setting, and the order of real and generated."""
        cells = []
        middle = "eps and alpha 0.01"
        for row in found:
            if row == middle:
                continue
            for column in self.published.columns[2:]:
                paper = self.published[row, column].value, self.published[middle, column].value
                ratio = found[row][column][0] / found[middle][column][0]
                printed = paper[0] / paper[1] if paper[0] and paper[1] else None
                # a fifth: the paper's own two columns differ by up to 0.08 of their ratio
                tolerance = 0.2 * printed if printed else None
                note = "ratio of the printed means; tolerance a fifth"
                place = f"{row}, relative to 0.01", column
                cells.append(Cell(*place, ratio, expected=printed, tolerance=tolerance, note=note))
        for row, numbers in found.items():
            for quantity, sign in (("complexity", -1.0), ("vulnerability", 1.0)):
                order = _order(numbers[f"{quantity} real"], numbers[f"{quantity} generated"])
                note = f"sign of generated minus real, {CHANCE}"
                cells.append(Cell(row, f"order of {quantity}", order, expected=sign, note=note))
        return cells


def _order(real: Sequence[float | None], generated: Sequence[float | None]) -> float:
    """The sign of the difference of two means (mean, lower, upper); 0 where its interval holds both or is not there."""
    (mean, *ends), (other, *others) = real, generated
    if mean is None or other is None or None in [*ends, *others]:
        return 0.0
    half = math.hypot(*((upper - lower) / 2 for lower, upper in (ends, others)))  # type: ignore[operator]
    return float(np.sign(other - mean)) if abs(other - mean) > half else 0.0


class Means(AnomalySets):
    """Tables C.1 and E.1: means of C and V with Welch's t-test, two-tailed or one-tailed.

    Args:
        tails: 2 (Table C.1) or 1 (Table E.1).
    """

    def __init__(self, *args: Any, tails: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.tails = tails

    def run(self, context: Context) -> Table:
        """Measures and tests every dataset with every feature model."""
        laptop = context.scale == "laptop"
        models = {"EfficientNet-Lite0": self.laptop_model} if laptop else self.models
        sets = {"Fashion-MNIST": (REFERENCE, GENERATED)} if laptop else self.sets
        cells, clouds = [], []
        for dataset, pair in sets.items():
            for label, model in models.items():
                contrast = context.step(f"{dataset}_{label}", partial(self._contrast, context, model, *pair))
                clouds.append(
                    Cloud(
                        f"{dataset}, {label}",
                        "complexity (rad)",
                        "vulnerability (feature units)",
                        {role: np.array(points) for role, points in contrast["points"].items()},
                    )
                )
                for quantity in QUANTITIES:
                    cells += self._cells(context, dataset, label, quantity, contrast[quantity])
        return self.published.recomputed(
            self.name,
            cells,
            context.scale,
            differs=self._differs(context),
            figures=tuple(clouds),
            notes=(
                f"p: Welch's t-test, {'two-tailed' if self.tails == 2 else 'one-tailed, for the expected order'}.",
                "AS depends on the feature model: EfficientNet-Lite0 is not one that the authors validated.",
                *self.published.notes,
            ),
        )

    def _contrast(self, context: Context, model: Any, reference: str, generated: str) -> dict[str, Any]:
        sets = {
            role: self._rows(context, one, model) for role, one in (("reference", reference), ("generated", generated))
        }
        result = judge(
            reference=sets["reference"], generated=sets["generated"], permutations=199, bootstraps=1, seed=context.seed
        )
        contrasts: dict[str, Any] = {"points": {role: table[:500, :2].tolist() for role, table in sets.items()}}
        for quantity, contrast in (("complexity", result.complexity), ("vulnerability", result.vulnerability)):
            contrasts[quantity] = {
                "reference": contrast.mean_reference,
                "generated": contrast.mean_generated,
                "p": contrast.p_two_sided if self.tails == 2 else contrast.p_one_sided,
            }
        return contrasts

    def _cells(
        self, context: Context, dataset: str, label: str, quantity: str, found: Mapping[str, float]
    ) -> list[Cell]:
        cells = []
        for what, number in found.items():
            # Table C.1: quantities in rows, models in columns; E.1: datasets in rows, quantities and models in columns
            place = (f"{quantity} {what}", label) if self.tails == 2 else (f"{dataset} {what}", f"{quantity} {label}")
            if place in self.published.cells:
                cells.append(compared(self.published[place], number))
            else:
                cells.append(Cell(*place, number))
        if context.scale == "laptop":
            for expected in _expected_order(self.published, quantity):
                sign = _sign(found["generated"] - found["reference"], found["p"], self.tails)
                where = f"{quantity}: sign of generated minus reference"
                note = f"expected: the sign in most of the paper's columns; {CHANCE}"
                cells.append(Cell(where, label, sign, expected=expected, note=note))
        return cells


def _sign(difference: float, p: float, tails: int) -> float:
    """The sign of a difference of means; 0 where its two-tailed test finds none. `p` is of that test or of one tail."""
    two_tailed = p if tails == 2 else 2 * min(p, 1 - p)
    return float(np.sign(difference)) if two_tailed < 0.05 else 0.0


def _expected_order(table: PublishedTable, quantity: str) -> list[float]:
    """The sign of generated minus reference that most of the paper's columns have."""
    signs = []
    for cell in table:
        words = f"{cell.row} {cell.column}"
        if quantity not in words or "reference" not in words or cell.value is None:
            continue
        other = table[cell.row.replace("reference", "generated"), cell.column]
        signs.append(np.sign((other.value or 0.0) - cell.value))
    return [float(np.sign(sum(signs)))]
