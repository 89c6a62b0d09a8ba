"""Every metric of a run judged, and its real floor, from the same rows (`genaudit.verdict.real_floor`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.digest import originals, shared_mask
from genaudit.measures.measure import Measure
from genaudit.metrics.result import RealFloor, Unavailable
from genaudit.reports.report import MetricEntry
from genaudit.store import Store
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.judging import MetricSpec, judge, parameters_of, rows_of, values_of
from genaudit.tasks.run.measuring import Measurements, measure_roles
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.run.specs import judge_composed
from genaudit.verdict.real_floor import distinct, pairing, real_floor


def judge_all(
    specs: Mapping[str, MetricSpec],
    measurements: Measurements,
    measures: Mapping[str, Any],
    settings: Settings,
    reasons: dict[str, str],
    progress: Progress,
) -> dict[str, MetricEntry]:
    """Each metric's entry with what real images score; `reasons` takes why one could not be computed."""
    entries: dict[str, MetricEntry] = {}
    with progress.bar("judge", len(specs), unit="metrics") as advance:
        for name, spec in sorted(specs.items(), key=lambda item: bool(item[1].of)):  # parts first
            composed = judge_composed(spec, entries, reasons, measures) if spec.of else None
            entry = judge(spec, measurements, settings) if composed is None else composed
            if isinstance(entry, str):
                reasons[name] = entry
            else:
                entry.real = {} if spec.of else floor_of(spec, measurements, settings)
                entries[name] = entry
            advance(1)
    return entries


def floor_of(spec: MetricSpec, measurements: Measurements, settings: Settings, **options: Any) -> dict[str, RealFloor]:
    """What real images score in the place of the generated ones, by the names of the metric's values.

    Args:
        options: settings of the metric's `prepared`, where it takes them.
    """
    rows, roles = rows_of(spec, measurements), dict(measurements.roles)
    if isinstance(rows.get("generated"), Mapping):  # rows of several measures
        return {}
    if "train" not in rows and (fresh := measurements.fresh.get(spec.measure)) is not None:
        roles["train"], rows = fresh[0], rows | {"train": fresh[1]}
    if spec.moments_of(roles.get("reference")) is not None:
        return {}  # no real images of the kind that the moments are of
    pair = pairing(spec.role_parameters, rows.keys(), spec.real)
    if pair is None or "generated" not in rows:
        return {}
    players = roles[pair.plays]
    against = [roles[role] for role in ("reference", "train") if role in pair.keeps and role != pair.plays]
    if not isinstance(players, (ImageSet, FeatureSet)):
        return {}
    common = {"device": settings.engine.device} if "device" in parameters_of(spec.fn) else {}
    values = values_of(spec.name, spec.fn, common | options, confidence=settings.confidence, seed=settings.seed)
    try:
        return real_floor(
            values,
            rows,
            pair,
            distinct(originals(players.digests), _in_any(players, against)),
            confidence=settings.confidence,
            seed=settings.seed,
        )
    except (Unavailable, ValueError):  # a part is too small for the metric
        return {}


def measure_fresh(
    measurements: Measurements,
    specs: Iterable[MetricSpec],
    measures: Mapping[str, Measure],
    store: Store,
    settings: Settings,
    ranks: Ranks,
    progress: Progress,
) -> None:
    """Embeds training images that no metric takes, as many as are generated, to play generated against the reference.

    Where a metric takes the training images their rows are there and nothing is measured.
    """
    train, generated = measurements.roles.get("train"), measurements.roles["generated"]
    if not isinstance(train, ImageSet) or isinstance(generated, Moments):
        return
    lacking: dict[str, Measure] = {}
    for spec in specs:
        name, takes = spec.measure, spec.role_parameters
        there = name in measurements.fresh or "train" in measurements.rows.get(name, {})
        if there or not spec.of_features or not takes.get("reference") or "train" in takes or spec.real != "auto":
            continue
        lacking[name] = measures[name]
    if not lacking:
        return
    sample, needed = train.limited(len(generated), settings.seed), {name: {"train"} for name in lacking}
    done = measure_roles({"train": sample}, lacking, needed, store, settings.engine, ranks, progress)
    measurements.warnings += done.warnings
    for name in lacking:
        measurements.fresh[name] = (done.roles["train"], done.rows[name]["train"])
        use, more = measurements.uses[name], done.uses[name]
        use.computed, use.reused = use.computed + more.computed, use.reused + more.reused
        use.seconds += more.seconds


def _in_any(players: ImageSet | FeatureSet, others: list[Role]) -> np.ndarray:
    mask = np.zeros(len(players), bool)
    for other in others:
        if isinstance(other, (ImageSet, FeatureSet)):
            mask |= shared_mask(players.digests, other.digests)
    return mask
