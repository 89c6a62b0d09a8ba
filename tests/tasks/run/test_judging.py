"""How a metric's function is called: with which rows, counts and settings, and why it is not."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genaudit.data import FeatureSet, Moments
from genaudit.metrics.result import Estimate, value
from genaudit.tasks.run.judging import SOLE, MetricSpec, judge, values_of, why_not
from genaudit.tasks.run.measuring import Measurements, WorkPlan

SETTINGS: Any = SimpleNamespace(confidence=0.9, seed=3, engine=SimpleNamespace(device="cpu"))
ROWS = np.arange(12.0).reshape(6, 2)


@dataclass(frozen=True)
class Told:
    """What the function was called with."""

    told: Estimate = value("lower")
    seed: int = 0
    confidence: float = 0.0
    repeats: int = 0
    reference: Any = None


def told(*, generated: Any, reference: Any, train: Any = None, seed: int = 0, confidence: float = 0.95,
         bootstraps: int = 50) -> Told:  # fmt: skip
    return Told(Estimate(seed + 10 * bootstraps), seed, confidence, bootstraps, reference)


def _spec(fn: Any = told, **keys: Any) -> MetricSpec:
    return MetricSpec("told", fn, {SOLE: "network"}, True, keys.pop("moments", "features"), **keys)


def _features(rows: np.ndarray) -> FeatureSet:
    digests = np.arange(16 * len(rows), dtype=np.uint8).reshape(-1, 16)
    return FeatureSet("here", [f"here[{i}]" for i in range(len(rows))], rows, digests)


def _moments(n: int | None, mean: float = 0.0, **keys: Any) -> Moments:
    return Moments("a file", np.full(2, mean), np.eye(2), n, "00", {}, **keys)


def _entry(spec: MetricSpec, reference: Any) -> Any:
    rows = {"generated": ROWS} | ({"reference": reference} if isinstance(reference, np.ndarray) else {})
    role = _features(reference) if isinstance(reference, np.ndarray) else reference
    return judge(spec, Measurements({"generated": _features(ROWS), "reference": role}, {"network": rows}), SETTINGS)


def test_moments_count_as_many_images_as_their_file_says_and_none_where_it_says_nothing() -> None:
    assert [_entry(_spec(), _moments(n)).n["reference"] for n in (None, 1, 50)] == [0, 1, 50]
    assert _entry(_spec(), ROWS[:4]).n == {"generated": 6, "reference": 4}


def test_of_moments_of_several_networks_a_metric_takes_those_of_its_own() -> None:
    each = {"a": _moments(7, 1.0), "b": _moments(8, 2.0)}
    stored = _moments(9, by_network=each)
    entry = _entry(_spec(network="b"), stored)
    assert (entry.result.reference, entry.n["reference"]) == (each["b"], 8)
    roles = {"generated": _features(ROWS), "reference": stored}
    assert why_not(_spec(network="b"), roles) is None
    assert why_not(_spec(network="c"), roles) == "needs moments of its own network; reference holds those of a and b"


def test_only_a_role_that_the_function_requires_keeps_it_from_being_called() -> None:
    assert why_not(_spec(), {"generated": _features(ROWS), "reference": _features(ROWS)}) is None
    assert why_not(_spec(), {"generated": _features(ROWS)}) == "needs reference= (real images)"
    either = _spec(functools.partial(told, reference=None), one_of=("train", "anomalies"))
    assert why_not(either, {"generated": _features(ROWS)}) == "needs train= or anomalies="


def test_settings_of_the_metric_win_over_those_of_the_run() -> None:
    run, own = (_entry(_spec(fn), ROWS).result for fn in (told, functools.partial(told, seed=8, confidence=0.5)))
    assert (run.seed, run.confidence, run.repeats) == (3, 0.9, 50)
    assert (own.seed, own.confidence, own.repeats) == (8, 0.5, 50)


@pytest.mark.parametrize(("fn", "seed"), [(told, 3), (functools.partial(told, seed=8), 8)])
def test_values_alone_are_the_functions_with_one_repeat(fn: Any, seed: int) -> None:
    of_reference = values_of("told", fn, {}, confidence=0.9, seed=3)(reference=ROWS, nobody=None)
    assert of_reference(ROWS) == {"told": seed + 10}


def test_the_plan_counts_what_is_lacking_times_the_passes_of_each_measure() -> None:
    plan = WorkPlan.of({}, {}, {}, None, None)  # type: ignore[arg-type]
    assert (plan.of_roles(), plan.lines()) == ({}, [])
    part = SimpleNamespace
    parts = (
        part(measure="a", role="generated", lacking=30, count=100, passes=1.0),
        part(measure="b", role="generated", lacking=5, count=100, passes=41.0),
        part(measure="b", role="reference", lacking=0, count=200, passes=41.0),
    )
    plan = WorkPlan(parts)  # type: ignore[arg-type]
    assert plan.of_roles() == {"generated": 30 + 5 * 41, "reference": 0}
    assert plan.lines() == [
        "measures a of 100 generated (70 in the store) images",
        "measures b of 100 generated (95 in the store), 200 reference (200 in the store) images, about 41 passes of "
        "the network an image",
    ]
