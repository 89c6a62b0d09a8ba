"""The criteria of Räisä et al. 2025: what a metric's curve over a simulated failure must look like.

Values near 1 and near 0 are within 0.05, shapes have the authors' tolerances. A check has criteria of several
desiderata (bounds, purpose, sample sizes, invariance), some of which differ between fidelity and diversity. A diversity
metric may say "high" or "low" where a synthetic law that is too wide may count as covering all or as missing detail; it
passes if it says the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from genaudit_papers.raisa2025 import simulations
from genaudit_papers.raisa2025.simulations import Simulation

Kind = Literal["fidelity", "diversity", "both"]
Outcome = bool | Literal["high", "low"]
Criterion = Callable[[np.ndarray, np.ndarray], Outcome]  # degrees (P,) in ascending order and values (P,)


def near(target: float, at: float) -> Criterion:
    """The value at a degree (of an end: -inf, inf) is within 0.05 of a target."""
    return lambda x, y: bool(abs(_at(x, y, at) - target) <= 0.05)


def near_either(at: float) -> Criterion:
    """High at 1, low at 0."""

    def outcome(x: np.ndarray, y: np.ndarray) -> Outcome:
        value = _at(x, y, at)
        return "high" if abs(value - 1) <= 0.05 else "low" if abs(value) <= 0.05 else False

    return outcome


def bell(middle: float) -> Criterion:
    """At least 0.2 above both ends in the middle, which is the maximum, and one end the minimum, to 0.1."""

    def outcome(x: np.ndarray, y: np.ndarray) -> bool:
        top, left, right = _at(x, y, middle), y[0], y[-1]
        low = min(left, right) - y.min() <= 0.1
        return bool(top - max(left, right) >= 0.2 and y.max() - top <= 0.1 and low)

    return outcome


def falls(by: float | None = None) -> Criterion:
    """From the maximum at the left end by 0.2 to the minimum at the right one; already by 0.1 at a degree `by`."""

    def outcome(x: np.ndarray, y: np.ndarray) -> bool:
        fallen = y[0] - y[-1] >= 0.2 and y.max() - y[0] <= 0.1 and y[-1] - y.min() <= 0.1
        return bool(fallen and (by is None or y[0] - _at(x, y, by) >= 0.1))

    return outcome


def rises(x: np.ndarray, y: np.ndarray) -> bool:
    """The same from right to left."""
    return bool(falls()(x, y[::-1]))


def flat(x: np.ndarray, y: np.ndarray) -> bool:
    """All values within 0.05."""
    return bool(y.max() - y.min() <= 0.05)


def settles(x: np.ndarray, y: np.ndarray) -> bool:
    """All values within 0.05 from the middle degree on."""
    return flat(x, y[x >= np.quantile(x, 0.5)])


def low_or_high(low: Criterion, high: Criterion) -> Criterion:
    """Which of two shapes it is."""
    return lambda x, y: "low" if low(x, y) else "high" if high(x, y) else False


def _at(x: np.ndarray, y: np.ndarray, degree: float) -> float:
    return float(y[0 if degree == -np.inf else -1 if degree == np.inf else int(np.argmin(np.abs(x - degree)))])


@dataclass(frozen=True)
class Rule:
    """A criterion of a desideratum: for one kind of metric ("both": for all), for one curve ("": for all)."""

    desideratum: str
    criterion: Criterion
    kind: Kind = "both"
    index: str = ""


@dataclass(frozen=True)
class Check:
    """A sanity check: `name` as the published tables have it."""

    name: str
    simulate: Simulation
    rules: tuple[Rule, ...]


LEFT, RIGHT = -np.inf, np.inf
_AROUND_0 = (
    *(Rule("bounds", near(1, 0)), Rule("bounds", near(0, LEFT)), Rule("bounds", near(0, RIGHT))),
    Rule("property", bell(0)),
)
_DROPPED = (
    Rule("bounds", near(1, LEFT)),
    Rule("bounds", near(1, RIGHT), "fidelity"),
    Rule("property", flat, "fidelity"),
)


def _coarse_and_fine(at: float) -> tuple[Rule, ...]:
    real_discrete, real_continuous = "real is discrete", "real is continuous"
    return (
        Rule("bounds", near(0, at), "fidelity", real_discrete),
        Rule("bounds", near_either(at), "diversity", real_discrete),
        Rule("bounds", near(1, at), "fidelity", real_continuous),
        Rule("bounds", near(0, at), "diversity", real_continuous),
    )


CHECKS = (
    Check("Gaussian Mean Difference", simulations.mean_difference, _AROUND_0),
    Check("Gaussian Mean Difference + Outlier", simulations.mean_difference_with_outlier, _AROUND_0),
    Check("Gaussian Mean Difference + Pareto", simulations.mean_difference_with_pareto, _AROUND_0),
    Check(
        "Gaussian Std. Deviation Difference",
        simulations.deviation_difference,
        (
            Rule("bounds", near(1, 1)),
            *(Rule("bounds", near(1, LEFT), "fidelity"), Rule("bounds", near(0, LEFT), "diversity")),
            *(Rule("bounds", near(0, RIGHT), "fidelity"), Rule("bounds", near_either(RIGHT), "diversity")),
            *(Rule("property", falls(), "fidelity"), Rule("property", low_or_high(bell(1), rises), "diversity")),
        ),
    ),
    Check(
        "Simultaneous Mode Dropping",
        simulations.simultaneous_dropping,
        (*_DROPPED, Rule("property", falls(by=0.96), "diversity")),
    ),
    Check(
        "Sequential Mode Dropping",
        simulations.sequential_dropping,
        (*_DROPPED, Rule("property", falls(by=4), "diversity")),
    ),
    Check(
        "Mode Dropping + Invention",
        simulations.dropping_and_invention,
        (
            Rule("bounds", near(1, 5)),
            *(Rule("bounds", near(1, LEFT), "fidelity"), Rule("bounds", near(1, RIGHT), "diversity")),
            *(Rule("property", falls(), "fidelity"), Rule("property", rises, "diversity")),
        ),
    ),
    Check(
        "Hypersphere Surface",
        simulations.hypersphere_surface,
        (
            *(Rule("bounds", near(1, 1)), Rule("bounds", near(0, LEFT)), Rule("bounds", near(0, RIGHT))),
            Rule("property", bell(1)),
        ),
    ),
    Check(
        "Hypercube, Varying Sample Size",
        simulations.hypercubes_by_size,
        (Rule("real_data_size", settles), Rule("property", near(simulations.OVERLAP, RIGHT))),
    ),
    Check(
        "Hypercube, Varying Syn. Size",
        simulations.hypercubes_by_synthetic_size,
        (Rule("hyperparameters", settles), Rule("property", near(simulations.OVERLAP, RIGHT))),
    ),
    Check(
        "Sphere vs. Torus",
        simulations.sphere_and_torus,
        (Rule("property", settles), Rule("bounds", near(0, RIGHT))),
    ),
    Check(
        "Mode Collapse",
        simulations.one_and_two_modes,
        (
            *(Rule("property", falls(), "fidelity"), Rule("property", low_or_high(falls(), flat), "diversity")),
            Rule("bounds", near(1, LEFT)),
        ),
    ),
    Check(
        "Scaling One Dimension",
        simulations.scaling_of_one_dimension,
        (Rule("transformations", flat), Rule("bounds", near(0, LEFT)), Rule("bounds", near(0, RIGHT))),
    ),
    Check(
        "One Disjoint Dim. + Many Identical Dim.",
        simulations.one_disjoint_dimension,
        (Rule("property", flat), Rule("bounds", near(0, LEFT)), Rule("bounds", near(0, RIGHT))),
    ),
    Check(
        "Discrete Num. vs. Continuous Num.",
        simulations.discrete_and_continuous,
        (Rule("property", flat), *_coarse_and_fine(LEFT), *_coarse_and_fine(RIGHT)),
    ),
)


def rules_of(check: Check, desideratum: str, kind: Kind) -> list[Rule]:
    """The rules that a metric of a kind is put to: one of both kinds only to what all metrics are, on all curves."""
    return [rule for rule in check.rules if rule.desideratum == desideratum and rule.kind in ("both", kind)]


def applies(check: Check, desideratum: str, kind: Kind) -> bool:
    """Whether a desideratum is defined for a kind of metric; for "both" where nothing of it depends on the kind."""
    alike = all(rule.kind == "both" for rule in check.rules if rule.desideratum == desideratum)
    return bool(rules_of(check, desideratum, kind)) and (kind != "both" or alike)


def desiderata(check: Check) -> list[str]:
    return list(dict.fromkeys(rule.desideratum for rule in check.rules))


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Passed where all are, and where "high" and "low" are not mixed."""
    found = list(outcomes)
    if False in found or {"high", "low"} <= set(found):
        return False
    return next((each for each in found if each in ("high", "low")), True)
