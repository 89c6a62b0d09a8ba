"""Which runs of a comparison differ from the best, which values can be ranked at all, and how far from real images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from genaudit.metrics.declared import result_class_of
from genaudit.metrics.result import Declared, base_name, declared
from genaudit.reports.networks import features_of
from genaudit.reports.values import Value

if TYPE_CHECKING:
    from genaudit.reports.comparison import Comparison, Run

INTERVALS = "standard errors of the intervals"  # the test where there are no rows
UNRANKABLE = {  # cautions that say that a value cannot be ranked
    "feature-model-not-validated": "its authors did not validate the feature model",
    "complexity-is-noise": "the complexity is rounding noise",
    "width-too-small": "the score is near its ceiling",
    "threshold-above-honest-images": "honest models are penalised too",
    "extrapolation-from-singular-subsets": "it is extrapolated from singular covariances",
}


def decide(comparison: Comparison, tested: Mapping[tuple[str, str, int], tuple[float, str]]) -> None:
    """Fills in every cell whether its run differs from the best, by Holm's correction over all rows and pairs of runs.

    Args:
        tested: (metric, value's name, the run's place) => the uncorrected p-value of its difference from the best run,
            and how it was tested. Cells that are not in it are tested by the intervals' standard errors.
    """
    places, pvalues, tests = [], [], []
    questions = 0
    for number, row in enumerate(comparison.rows):
        best = row.best
        ranked = [place for place, cell in enumerate(row.cells) if cell is not None and cell.rank]
        questions += len(ranked) * (len(ranked) - 1) // 2  # the best was chosen by the data: all pairs count
        for place in ranked:
            if best is None or place == best:
                continue
            known = tested.get((row.metric, row.name, place))
            values = [cell.value for cell in (row.cells[best], row.cells[place]) if cell is not None]
            confidences = [comparison.runs[each].confidence for each in (best, place)]
            pvalue, test = known if known is not None else (by_intervals(values, confidences), INTERVALS)
            places.append((number, place))
            pvalues.append(pvalue)
            tests.append(test)
    level = 1 - max((run.confidence for run in comparison.runs), default=0.95)
    for (number, place), corrected, test in zip(places, holm(pvalues, questions), tests, strict=True):
        row = comparison.rows[number]
        cell = row.cells[place]
        assert cell is not None
        known_p = corrected if math.isfinite(corrected) else None
        cell = replace(cell, p_value=known_p, differs=None if known_p is None else known_p <= level)
        cells = (*row.cells[:place], cell, *row.cells[place + 1 :])
        comparison.rows[number] = replace(row, cells=cells, test=test)


def by_intervals(values: Sequence[Value], confidences: Sequence[float]) -> float:
    """Two-sided p-value of a difference of estimates, taken as independent, whose intervals are normal."""
    variance = 0.0
    for value, confidence in zip(values, confidences, strict=True):
        if value.lower is None or value.upper is None:
            return float("nan")
        error = (value.upper - value.lower) / 2 / NormalDist().inv_cdf(0.5 + confidence / 2)
        variance += error * error  # infinite where it is too large for a float; error ** 2 would raise
    away = abs(values[0].value - values[1].value)
    if variance == 0:
        return 1.0 if away == 0 else 0.0
    return 2 * NormalDist().cdf(-away / math.sqrt(variance))


def why_unrankable(runs: Sequence[Run]) -> dict[str, str]:
    """Why the values of a metric cannot be ranked over these runs, by metric."""
    found: dict[str, str] = {}
    for run in runs:
        for each in run.report["warnings"]:
            if each["metric"] is not None and each["code"] in UNRANKABLE:
                found.setdefault(each["metric"], UNRANKABLE[each["code"]])
    for metric in dict.fromkeys(metric for run in runs for metric in run.report["metrics"]):
        entries = [(run, run.report["metrics"][metric]) for run in runs if metric in run.report["metrics"]]
        measured = {features_of(run.report, e["measure"]) or e["measure"] for run, e in entries}
        if len(measured) > 1:
            found[metric] = "it was measured differently"
        elif any(settings_of(run, metric) != settings_of(entries[0][0], metric) for run, _ in entries):
            found[metric] = "its own settings differ"
        for role in ("reference", "train", "anomalies"):
            digests = {
                run.report["images"][role]["digest"]
                for run, e in entries
                if role in e["n"] and role in run.report["images"]
            }
            if len(digests) > 1:
                found[metric] = f"the {role} images differ"
        unbiased = any(getattr(class_of(run, metric), "unbiased", False) for run, _ in entries)
        if not unbiased and len({entry["n"].get("generated") for _, entry in entries}) > 1:
            found[metric] = "it depends on the number of images, which differs (equal_n=true compares at equal numbers)"
    return found


def settings_of(run: Run, metric: str) -> Any:
    """What the metric's function was given; None where the report does not say."""
    node: Any = run.report
    for key in ("config", "metric", base_name(metric), "fn"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def class_of(run: Run, metric: str) -> Any:
    """The result class of a run's metric, where it is one of genaudit's own; else None."""
    given = settings_of(run, metric)
    return result_class_of(given.get("_target_")) if isinstance(given, Mapping) else None


def from_held_out(run: Run, metric: str, name: str, value: Value) -> float | None:
    """The distance of a value to that of held-out real images; None where that is not its better end, or not known."""
    held_out = declared(class_of(run, metric)).get(name, Declared()).held_out
    if isinstance(held_out, str):
        held_out = run.report["metrics"][metric]["details"].get(held_out)
    if value.value is None or not isinstance(held_out, (int, float)):
        return None
    return abs(value.value - held_out)


def holm(pvalues: Sequence[float], questions: int | None = None) -> list[float]:
    """P-values corrected for several questions (Holm 1979): the chance of any wrong "differs" is at most the level.

    Args:
        pvalues: NaN stays NaN and is no question.
        questions: how many there are in all, where the others are known to have larger p-values; None: those given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((value, at) for at, value in enumerate(pvalues) if not math.isnan(value))
    count = max(len(known), questions or 0)
    corrected = [math.nan] * len(pvalues)
    largest = 0.0
    for place, (value, at) in enumerate(known):
        largest = corrected[at] = max(largest, min(1.0, (count - place) * value))
    return corrected
