"""Räisä et al. 2025: which metrics pass which sanity checks, genaudit's beside the published ones.

Real and synthetic samples are simulated (`simulations`), standardised by the real ones as the authors do, and judged by
every metric of genaudit that speaks of features and of fidelity, diversity or both. The curve of each over the
simulated failure, a mean over repeats, is put to the authors' criteria (`checks`).

Fidelity and diversity metrics are in [0, 1] by definition. A distance d says both at once and has no upper end: it is
put to the checks that do not depend on the kind, as min(f / d, 1), f the largest distance of three fresh real sets. The
effective numbers of `vendi` and `fkea` are divided by those of the real samples. `irs_relative` is the number of real
samples that the synthetic ones retrieve, over that of fresh real ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics import fkea
from genaudit.metrics.cdc import clipped
from genaudit.metrics.cmmd import cmmd
from genaudit.metrics.frechet import frechet_distance
from genaudit.metrics.kernel import kernel_distance
from genaudit.metrics.mind import mind
from genaudit.metrics.prdc import prdc
from genaudit.metrics.realism import realism
from genaudit.metrics.result import Unavailable
from genaudit.metrics.swd import swd
from genaudit.metrics.vendi import vendi_score
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.neighbours import nearest
from genaudit_papers.published import published
from genaudit_papers.raisa2025.checks import CHECKS, Check, Kind, Outcome, applies, desiderata, rules_of, together
from genaudit_papers.raisa2025.simulations import Draw, Grid

PAPER = "raisa2025"
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("precision", "density", "clipped_density", "realistic"), "fidelity"),
    **dict.fromkeys(("recall", "coverage", "clipped_coverage", "irs_relative", "vendi", "fkea"), "diversity"),
    **dict.fromkeys(("fd", "kd", "cmmd", "swd", "mind"), "both"),
}
# genaudit's value => column of the published table
PUBLISHED = {"precision": "I-Prec", "density": "Density", "recall": "I-Rec", "coverage": "Coverage"}
DESIDERATA = {
    "property": "D1b (purpose)",
    "hyperparameters": "D2 (hyperparameters)",
    "real_data_size": "D3 (data)",
    "bounds": "D4 (bounds)",
    "transformations": "D5 (invariance)",
}
K = 3  # of precision and recall, the authors'; density and coverage take the least k that Naeem et al. recommend
FRESH, FREQUENCIES = 3, 200

Curves = dict[str, dict[str, Any]]  # index => {"x": degrees, "values": {metric: values}}


class MetricSanity:
    """Table 3 (fidelity) and Table 4 (diversity) of Räisä et al. 2025, with genaudit's metrics.

    Args:
        repeats, points, sizes, largest, extra: at the laptop's scale, see `Grid`; the paper's are Grid's own and 10.
        only: names of checks, all where there are none.
    """

    def __init__(
        self,
        repeats: int = 2,
        points: int = 7,
        sizes: int = 4,
        largest: int = 3000,
        extra: int = 300,
        n: int = 1000,
        only: tuple[str, ...] | list[str] = (),
    ) -> None:
        self.repeats, self.grid = repeats, Grid(points, sizes, largest, extra, n)
        self.checks = tuple(check for check in CHECKS if not only or check.name in only)

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing: all sets are simulated."""
        return []

    def run(self, context: Context) -> Table:
        """Simulates, judges, and puts every metric to every check."""
        grid, repeats = (self.grid, self.repeats) if context.scale == "laptop" else (Grid(), 10)
        steps = {
            f"{check.name}, repeat {repeat + 1}": functools.partial(curves, check.name, grid, (context.seed, repeat))
            for check in self.checks
            for repeat in range(repeats)
        }
        found = context.steps(steps)
        cells: list[Cell] = []
        for place, check in enumerate(self.checks):
            cells += _cells(check, mean_curves(found[place * repeats : (place + 1) * repeats]))
        three, four = published(PAPER, "Table 3"), published(PAPER, "Table 4")
        return Table(
            "metric_sanity",
            "Sanity checks of fidelity and diversity metrics: 1 passed, 0 failed",
            f"{three.source}; {four.where}",
            (*_totals(cells), *cells),
            context.scale,
            differs=f"{grid.points} degrees of each failure in place of 51, up to {grid.largest:,} samples and "
            f"{grid.extra} dimensions in place of 10,000 and 1,000, {repeats} repeats in place of 10"
            if context.scale == "laptop"
            else "",
            notes=(
                *three.notes,
                "precision and recall with k = 3, density and coverage with the least k whose expected coverage is "
                "above 0.95, as the authors take them; all others with genaudit's defaults.",
                "Distances are put to the checks that are the same for both kinds, as min(f / d, 1) with f the largest "
                "distance of three fresh real sets; vendi and fkea are relative to the real samples. This is ours.",
                "Not put through: what needs images, a network's classes or a density model, what speaks of "
                "memorisation or single images, and fd_infinity, fdr and fld, which rest on fd or on a fit.",
            ),
        )


def curves(name: str, grid: Grid, seed: tuple[int, int]) -> Curves:
    """One repeat of a check: the values of all metrics at every degree, by curve."""
    check = next(each for each in CHECKS if each.name == name)
    rng = np.random.default_rng([*seed, CHECKS.index(check)])
    found: Curves = {}
    floors: dict[tuple[int, int], dict[str, float]] = {}
    kept: list[np.ndarray] = []  # so that ids stay those of the real sets
    for point in check.simulate(rng, grid):
        key = (id(point.real), len(point.synthetic))
        mean, deviation = point.real.mean(axis=0), point.real.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        real, synthetic = ((each - mean) / scale for each in (point.real, point.synthetic))
        if key not in floors:
            kept.append(point.real)
            floors[key] = _floor(point.draw, len(synthetic), real, mean, scale)
        at = found.setdefault(point.index, {"x": [], "values": {metric: [] for metric in KINDS}})
        at["x"].append(float(point.x))
        for metric, score in scores(real, synthetic, floors[key]).items():
            at["values"][metric].append(score)
    return found


def _floor(draw: Draw, count: int, real: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """What fresh real samples reach: the largest distance, the mean number of retrieved samples, effective numbers."""
    fresh = [(draw(count) - mean) / scale for _ in range(FRESH)]
    drawn = [distances(real, each) for each in fresh]
    modes = fkea.judge(generated=real, frequencies=FREQUENCIES)
    return {
        **{name: max(each[name] for each in drawn) for name in drawn[0]},
        "retrieved": float(np.mean([_retrieved(real, each) for each in fresh])),
        "vendi": vendi_score(real),
        **{"sigma": modes.sigma, "fkea": modes.fkea_vendi.value},
    }


def scores(real: np.ndarray, synthetic: np.ndarray, floors: Mapping[str, float]) -> dict[str, float | None]:
    """Every metric's score of synthetic samples, 1 as real ones; None where it has no value."""
    shares = _no_worse(lambda: vars(prdc(real, synthetic, k=K)))
    balls = _no_worse(lambda: vars(prdc(real, synthetic, k=k_of_coverage(len(real)))))
    calibrated = _no_worse(lambda: vars(clipped(real, synthetic)))
    modes = _no_worse(lambda: {"fkea": fkea.fkea(synthetic, sigma=floors["sigma"], frequencies=FREQUENCIES)})
    found: dict[str, float | None] = {
        **{name: shares.get(name) for name in ("precision", "recall")},
        **{name: balls.get(name) for name in ("density", "coverage")},
        **{name: calibrated.get(name) for name in ("clipped_density", "clipped_coverage")},
        **_no_worse(lambda: {"realistic": float((realism(real, synthetic) >= 1).mean())}),
        "irs_relative": _retrieved(real, synthetic) / floors["retrieved"],
        "vendi": vendi_score(synthetic) / floors["vendi"],
        "fkea": modes["fkea"] / floors["fkea"] if modes else None,
    }
    for name, distance in distances(real, synthetic).items():
        floor = floors[name]
        found[name] = 1.0 if distance <= floor else max(floor, 0.0) / distance if np.isfinite(distance) else None
    return {name: found.get(name) for name in KINDS}


def distances(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """The distances between two sets."""
    return {
        "fd": frechet_distance(synthetic, real),
        "kd": kernel_distance(synthetic, real),
        "cmmd": cmmd(synthetic, real, unbiased=True),
        "swd": swd(synthetic, real, directions=100),
        "mind": mind(synthetic, real, directions=100),
    }


def k_of_coverage(n: int) -> int:
    """The least k at which sets of n samples of one law have an expected coverage above 0.95, Naeem et al. 2020."""
    empty, k = 1.0, 0
    while empty >= 0.05:
        k += 1
        empty *= (n - k) / (2 * n - k)
    return k


def _retrieved(real: np.ndarray, synthetic: np.ndarray) -> int:
    """How many different real samples the synthetic ones retrieve: what IRS counts."""
    return len(np.unique(nearest(synthetic, real).indices))


def _no_worse(compute: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """The values; none where a metric says that these samples have none."""
    try:
        return dict(compute())
    except (Unavailable, ValueError):
        return {}


def mean_curves(repeats: list[Curves]) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The mean over repeats by curve and metric, NaN where a repeat has no value."""
    means = {}
    for index, first in repeats[0].items():
        values = {
            metric: np.mean([np.array(each[index]["values"][metric], float) for each in repeats], axis=0)
            for metric in first["values"]
        }
        means[index] = np.array(first["x"]), values
    return means


def outcome(
    check: Check, desideratum: str, metric: str, means: Mapping[str, tuple[np.ndarray, dict[str, np.ndarray]]]
) -> Outcome:
    """Whether a metric passes a desideratum of a check on all its curves."""
    found: list[Outcome] = []
    for rule in rules_of(check, desideratum, KINDS[metric]):
        for index, (x, values) in means.items():
            if rule.index in ("", index):
                y = values[metric]
                found.append(bool(np.isfinite(y).all()) and rule.criterion(x, y))
    return together(found)


def _cells(check: Check, means: Mapping[str, tuple[np.ndarray, dict[str, np.ndarray]]]) -> list[Cell]:
    cells = []
    for desideratum in desiderata(check):
        row = f"{check.name}: {DESIDERATA[desideratum]}"
        for metric, kind in KINDS.items():
            if not applies(check, desideratum, kind):
                continue
            passed = outcome(check, desideratum, metric, means)
            printed = ""
            if metric in PUBLISHED:
                table = published(PAPER, "Table 3" if kind == "fidelity" else "Table 4")
                printed = table[row, PUBLISHED[metric]].printed
            cells.append(
                Cell(
                    row,
                    metric,
                    float(passed is not False),
                    {"T": 1.0, "H": 1.0, "L": 1.0, "F": 0.0}.get(printed),
                    tolerance=0.0,
                    note=passed if isinstance(passed, str) else "",
                )
            )
    return cells


def _totals(cells: list[Cell]) -> list[Cell]:
    """By metric how many desiderata it passes, of how many it was put to."""
    totals = []
    for metric in KINDS:
        own = [cell for cell in cells if cell.column == metric]
        passed = sum(cell.recomputed or 0.0 for cell in own)
        known = [cell.published for cell in own if cell.published is not None]
        complete = len(known) == len(own)
        totals.append(
            Cell("passed", metric, passed, sum(known) if complete else None, tolerance=0.0, note=f"of {len(own)}")
        )
    return totals
