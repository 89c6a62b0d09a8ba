"""The names of the values that a metric's function may give, known before it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genaudit.metrics.declared import result_class
from genaudit.metrics.result import declared
from genaudit.tasks.run.rows import NoRows, judge_of


def value_names(fn: Callable[..., Any], metric: str) -> dict[str, str] | None:
    """Names of values and which end is better ("lower", "higher" or "none"), of the class that `fn` says it returns.

    None where it says nothing, or returns a dictionary: then any name may come.
    """
    result = result_class(fn)
    if result in (float, int):
        return {metric: "none"}
    return {name: said.better for name, said in declared(result).items()} or None


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


def metrics_with(value: str, folders: list[Path]) -> list[str]:
    """The metrics that have a value of this name, of those that the folders of configurations hold."""
    from hydra.utils import get_method
    from omegaconf import OmegaConf

    found = []
    for path in sorted(path for folder in folders for path in (folder / "metric").glob("*.yaml")):
        try:
            for metric, node in OmegaConf.create(path.read_text(encoding="utf-8")).items():
                if value in (value_names(get_method(node.fn._target_), str(metric)) or {}):
                    found.append(path.stem)
        except Exception:  # a stranger's file, which is not what the user asked for
            continue
    return found
