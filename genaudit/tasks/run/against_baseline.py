"""Differences of runs from a baseline: each value's, with a p-value of the test that its rows allow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genaudit.reports.comparison_runs import Difference
from genaudit.reports.decisions import INTERVALS, by_intervals, holm, why_unrankable
from genaudit.reports.entries import ReportWarning
from genaudit.stats.permutation import REPEATS
from genaudit.tasks.run.differences import RELABELLING, pvalues
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.rows import NoRows, RunRows

if TYPE_CHECKING:
    from genaudit.reports.comparison import Comparison, Run


def against_baseline(
    comparison: Comparison, place: int, rows: RunRows, progress: Progress, *, repeats: int = REPEATS, seed: int = 0
) -> None:
    """Fills in the differences of all runs from that at `place`, corrected together for their number (Holm).

    A value is tested by relabelling the generated images of the two runs, where the rows can be had; else by the
    standard errors that the intervals imply; not where the runs were judged in different ways.

    Args:
        repeats: relabellings of a pair of runs; 0: none, differences by the intervals.
    """
    baseline = comparison.runs[place]
    others = [(at, run) for at, run in enumerate(comparison.runs) if at != place]
    metrics = list(dict.fromkeys(row.metric for row in comparison.rows))
    found: list[Difference] = []
    raw: list[float] = []
    lacking: dict[str, set[str]] = {}
    with progress.bar("test", len(others) * len(metrics)) as advance:
        for at, run in others:
            apart = why_unrankable([baseline, run])
            for metric in metrics:
                tested, why = _tested(baseline, run, metric, rows, repeats, seed) if metric not in apart else ({}, "")
                if why:
                    lacking.setdefault(why, set()).add(metric)
                for row in (row for row in comparison.rows if row.metric == metric):
                    cells = row.cells[place], row.cells[at]
                    if any(cell is None or cell.value.value is None for cell in cells):
                        continue
                    ours, theirs = (cell.value for cell in cells if cell is not None)
                    reason = apart.get(metric, "") or next((c.unranked for c in cells if c and c.unranked), "")
                    pvalue, test = math.nan, ""
                    if not reason:
                        by_rows = tested.get(row.name, math.nan)
                        confidences = [baseline.confidence, run.confidence]
                        pvalue = by_rows if math.isfinite(by_rows) else by_intervals([ours, theirs], confidences)
                        test = f"{RELABELLING}, {repeats} times" if math.isfinite(by_rows) else INTERVALS
                        if not math.isfinite(pvalue):
                            test, reason = "", "there is no interval, and no test on rows"
                    names = row.metric, row.name, row.better, run.label, baseline.label
                    raw.append(pvalue)
                    found.append(Difference(*names, theirs.value, ours.value, test=test, reason=reason))
                advance(1)
    level = 1 - max(run.confidence for run in comparison.runs)
    comparison.view.baseline = baseline.label
    comparison.view.differences = [_decided(each, p, level) for each, p in zip(found, holm(raw), strict=True)]
    for why, concerned in lacking.items():
        message = (
            f"{', '.join(sorted(concerned))}: no test against {baseline.label} on rows, because {why}. Differences are "
            "decided by the standard errors that the intervals imply."
        )
        comparison.warnings.append(ReportWarning("no-rows", None, message))


def _tested(
    baseline: Run, run: Run, metric: str, rows: RunRows, repeats: int, seed: int
) -> tuple[dict[str, float], str]:
    """The p-values of a metric's values, or why there are none."""
    if not repeats or not all(metric in each.report["metrics"] for each in (baseline, run)):
        return {}, ""
    try:
        return pvalues(baseline, run, metric, rows, repeats, seed), ""
    except NoRows as reason:
        return {}, str(reason)


def _decided(each: Difference, pvalue: float, level: float) -> Difference:
    from dataclasses import replace

    return replace(each, p_value=pvalue, differs=pvalue <= level) if math.isfinite(pvalue) else each
