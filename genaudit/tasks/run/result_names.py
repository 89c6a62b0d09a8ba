"""The names of the values that a metric's function may give, known before it is called."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any

from genaudit.metrics.result import KIND
from genaudit.tasks.run.rows import NoRows, judge_of


def value_names(fn: Callable[..., Any], metric: str) -> dict[str, str] | None:
    """Names of values and which end is better ("lower", "higher" or "none"), of the class that `fn` says it returns.

    None where it says nothing, or returns a dictionary: then any name may come.
    """
    function = fn.func if isinstance(fn, functools.partial) else fn
    try:
        result = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None
    if result in (float, int):
        return {metric: "none"}
    if not dataclasses.is_dataclass(result):
        return None
    marked = {
        str(field.metadata.get("name") or field.name): str(field.metadata["better"])
        for field in dataclasses.fields(result)
        if field.metadata.get(KIND) == "value"
    }
    return marked or None


def values_of_run(report: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What the metrics of a finished run may give, by metric, computed or not; only genaudit's own are known."""
    known = {}
    for metric in (*report["metrics"], *report["skipped_metrics"]):
        try:
            names = value_names(judge_of(report, metric)[0], metric)
        except NoRows:
            continue
        if names is not None:
            known[metric] = tuple(names)
    return known
