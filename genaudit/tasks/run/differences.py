"""Which runs differ, from one another and from a baseline: generated images are relabelled against the rows they share.

Two runs that were judged with one measure on the same reference and training images differ in their generated images
alone. Under equality any relabelling of these is as likely as the one at hand (`stats.two_sets`), whatever the
metric. Where rows cannot be had, the comparison falls back to the standard errors of the intervals and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.metrics.result import Unavailable, base_name
from genaudit.reports.comparison import make_row
from genaudit.reports.comparison_runs import Difference
from genaudit.reports.decisions import INTERVALS, by_intervals, decide, holm, why_unrankable
from genaudit.reports.report import ReportWarning
from genaudit.reports.values import Value, describe
from genaudit.stats.two_sets import REPEATS, relabelling_pvalues
from genaudit.tasks.run.finished import NoRows, RunRows, judge_of
from genaudit.tasks.run.judging import parameters_of, values_of
from genaudit.tasks.run.progress import Progress

if TYPE_CHECKING:
    from genaudit.reports.comparison import Comparison, Row, Run

RELABELLING = "relabelling of the generated images"
_BY_NUMBERS = ("it depends on the number of images", "there is no interval")


def tell_apart(
    comparison: Comparison, rows: RunRows, progress: Progress, *, repeats: int = REPEATS, seed: int = 0
) -> None:
    """Decides again which runs differ from the best, from the rows where they can be had; warns where they cannot.

    Args:
        repeats: relabellings of a pair of runs; 0: none, differences by the intervals.
    """

    wanted = dict.fromkeys(
        (row.metric, row.best, place)
        for row in comparison.rows
        for place, cell in enumerate(row.cells)
        if row.best is not None and cell is not None and cell.rank and place != row.best
    )
    tested: dict[tuple[str, str, int], tuple[float, str]] = {}
    lacking: dict[str, list[str]] = {}
    with progress.bar("test", len(wanted) if repeats else 0) as advance:
        for metric, best, place in wanted if repeats else ():
            try:
                found = pvalues(comparison.runs[best], comparison.runs[place], metric, rows, repeats, seed)
            except NoRows as reason:
                lacking.setdefault(str(reason), []).append(metric)
            else:
                for row in comparison.rows:
                    if row.metric == metric and row.best == best and row.name in found:
                        tested[metric, row.name, place] = found[row.name], f"{RELABELLING}, {repeats} times"
            advance(1)
    for why, metrics in lacking.items():
        message = (
            f"{', '.join(dict.fromkeys(metrics))}: no test on rows, because {why}. Whether runs differ is decided by "
            "the difference of their values over the standard errors that their intervals imply."
        )
        comparison.warnings.append(ReportWarning("no-rows", None, message))
    decide(comparison, tested)


def pvalues(first: Run, second: Run, metric: str, rows: RunRows, repeats: int, seed: int) -> dict[str, float]:
    """The uncorrected p-values of a metric's values between two runs.

    Raises:
        NoRows: rows that cannot be had, or runs that were judged in different ways.
    """
    fn, options, roles = judge_of(first.report, metric)
    if judge_of(second.report, metric)[1] != options:
        raise NoRows("the runs have other settings")
    of_first, of_second = (rows.of(run.report, metric, roles) for run in (first, second))
    shared = {role: each for role, each in of_first.items() if role != "generated"}
    if any(role not in of_second or not np.array_equal(each, of_second[role]) for role, each in shared.items()):
        raise NoRows("the runs share no reference")
    seed_of_run = int(first.report.get("seed", 0))
    values = values_of(metric, fn, options, confidence=first.confidence, seed=seed_of_run)(**shared)
    try:
        return relabelling_pvalues(values, of_first["generated"], of_second["generated"], repeats=repeats, seed=seed)
    except (Unavailable, ValueError) as error:
        raise NoRows(f"it cannot be computed for a relabelling ({error})") from None


def equalise(comparison: Comparison, rows: RunRows, *, seed: int = 0) -> None:
    """Judges every run again on equally many images of each role: as many as the run with the fewest has.

    The images are drawn by seed. Metrics whose rows cannot be had are left out, with a warning that says why.
    """

    kept: list[Row] = []
    lacking: dict[str, list[str]] = {}
    again: dict[str, list[dict[str, Value] | None]] = {}
    counts: dict[str, int] = {}
    for metric in dict.fromkeys(row.metric for row in comparison.rows):
        try:
            again[metric], n = _at_equal_counts(comparison.runs, metric, rows, seed)
        except NoRows as reason:
            lacking.setdefault(str(reason), []).append(metric)
        else:
            counts |= n
    for row in comparison.rows:
        if row.metric in again:
            values = [None if each is None else each.get(row.name) for each in again[row.metric]]
            unrankable = "" if row.unranked.startswith(_BY_NUMBERS) else row.unranked
            kept.append(make_row(row.metric, row.name, row.better, values, comparison.runs, unrankable))
    comparison.rows[:] = kept
    comparison.warnings[:] = [each for each in comparison.warnings if each.code != "different-n"]
    for why, metrics in lacking.items():
        message = f"{', '.join(metrics)}: left out of the comparison at equal numbers, because {why}."
        comparison.warnings.append(ReportWarning("no-rows", None, message))
    told = ", ".join(f"{count:,} {role}" for role, count in sorted(counts.items()))
    if told:
        comparison.warnings.append(ReportWarning("equal-n", None, f"Judged again on equal numbers of images: {told}."))


def _at_equal_counts(
    runs: list[Run], metric: str, rows: RunRows, seed: int
) -> tuple[list[dict[str, Value] | None], dict[str, int]]:
    """The metric's values of every run that has it, and the counts by role."""
    found: list[tuple[Callable[..., Any], dict[str, Any], dict[str, np.ndarray]] | None] = []
    for run in runs:
        if metric not in run.report["metrics"]:
            found.append(None)
            continue
        fn, options, roles = judge_of(run.report, metric)
        found.append((fn, options, rows.of(run.report, metric, roles)))
    counts = {
        role: min(len(each[2][role]) for each in found if each is not None and role in each[2])
        for role in dict.fromkeys(role for each in found if each is not None for role in each[2])
    }
    values: list[dict[str, Value] | None] = []
    for run, each in zip(runs, found, strict=True):
        if each is None:
            values.append(None)
            continue
        fn, options, given = each
        drawn = {role: _drawn(own, counts[role], seed) for role, own in given.items()}
        common = {"confidence": run.confidence, "seed": int(run.report.get("seed", 0))}
        taken = {key: number for key, number in common.items() if key in parameters_of(fn)}
        try:
            values.append(describe(fn(**drawn, **{**taken, **options}), base_name(metric)).values)
        except (Unavailable, ValueError) as error:
            raise NoRows(f"{run.label}: {error}") from None
    return values, counts


def _drawn(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` rows by seed, in order; all where there are no more. Equal sets give equal draws."""
    if len(rows) == count:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), size=count, replace=False))]


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
