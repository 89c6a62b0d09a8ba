"""Finished runs: where they are, the names of their values, and their rows in the row store.

A run's rows are found again by the images' digests and the measure's fingerprint.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.errors import UserError
from genaudit.metrics.declared import result_class
from genaudit.metrics.result import ROLES, base_name, declared
from genaudit.store import Rows, Store
from genaudit.tasks.run.judging import SOLE, MetricSpec
from genaudit.tasks.run.measuring import GIVEN
from genaudit.tasks.run.sources import local

REPORT = "report.json"
SWEEP = "multirun.yaml"  # Hydra's, in the folder of a sweep
# What else stands beside the runs in a folder of them, which a shell's pattern names too.
BESIDE = frozenset(
    {
        "comparison.csv",
        "comparison.json",
        "comparison.html",
        "correlations.csv",
        "differences.csv",
        "runs.csv",
        "log.txt",
    }
)
MOST_BYTES = 1 << 30  # of the rows of a role that are held


def find_runs(paths: Sequence[str], baseline: str | None = None) -> list[str]:
    """The runs, in the order given; those of a folder in the natural order of their names, each once.

    Args:
        baseline: a run's folder, which is one of them too, or a label.

    Raises:
        UserError: fewer than two.
    """
    given = [path for each in paths for path in _matches(each)]
    if len(given) > 1:
        given = [path for path in given if Path(path).name not in BESIDE]
    found: list[str] = []
    for path in given:
        folder = Path(path).parent if Path(path).name == SWEEP else Path(path)
        if (folder / REPORT).exists() or not folder.is_dir():
            found.append(path)
            continue
        below = _below(folder)
        if not below and Path(path).name != SWEEP:
            raise UserError(
                f"{path} holds no {REPORT}, nor does a folder in it; genaudit evaluate writes it into a run's"
            )
        known = {Path(each).absolute() for each in found}
        found += [each for each in below if Path(each).absolute() not in known]
    if baseline is not None and (Path(baseline).expanduser() / REPORT).exists():
        place = Path(baseline).expanduser()
        if place.absolute() not in {Path(each).absolute() for each in found}:
            found.append(str(place))
    if len(found) < 2:
        one = f"; {', '.join(paths)} is one: {found[0]}" if found else ""
        raise UserError(
            f"compare needs at least two runs: genaudit compare runs/evaluate/first runs/evaluate/second, or a folder "
            f"of runs{one}"
        )
    return found


def natural(path: str) -> list[tuple[int, int, str]]:
    """A key under which step_9 comes before step_10."""
    parts = re.split(r"(\d+)", path)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def _matches(path: str) -> list[str]:
    path = os.path.expanduser(path)
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    return sorted(glob.glob(path), key=natural) or [path]


def _below(folder: Path) -> list[str]:
    """The folders below that hold a report; one that does is not looked into."""
    found = []
    for place, folders, files in os.walk(folder):
        if REPORT in files:
            found.append(place)
            folders.clear()
    return sorted(found, key=natural)


class NoRows(Exception):
    """Why a run's rows cannot be had."""


class RunRows:
    """The rows of runs, each read once.

    Args:
        store: where to look; the store that a run names is asked next.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._read: dict[tuple[str, str], np.ndarray] = {}

    def of(self, report: Mapping[str, Any], metric: str, roles: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The rows (N, D) that a metric of a run was judged on, by role.

        Raises:
            NoRows: says why they cannot be had.
        """
        measure = report["metrics"][metric]["measure"]
        played = [role for role in roles if role in report["images"]]
        if measure == GIVEN:
            return {role: self._given(report["images"][role], role) for role in played}
        if measure not in report["measures"]:
            raise NoRows("it takes rows of several measures")
        fingerprint = report["measures"][measure]["fingerprint"]
        return {role: self._stored(report, role, fingerprint) for role in played}

    def _stored(self, report: Mapping[str, Any], role: str, fingerprint: str) -> np.ndarray:
        digest = report["images"][role]["digest"]
        if (digest, fingerprint) not in self._read:
            rows, _ = self.stored(report, role, fingerprint)
            if rows.shape[0] * rows.shape[1] * 4 > MOST_BYTES:
                raise NoRows(f"the rows of the {role} images take more than {MOST_BYTES >> 30} GiB")
            self._read[digest, fingerprint] = np.asarray(rows[:])
        return self._read[digest, fingerprint]

    def stored(self, report: Mapping[str, Any], role: str, fingerprint: str) -> tuple[Rows, np.ndarray]:
        """The rows (N, D) of a role, read when they are asked for, and the images' digests (N, 16).

        Raises:
            NoRows: neither store holds all of them.
        """
        digest = report["images"][role]["digest"]
        named = report["environment"].get("run", {}).get("store")
        for root in dict.fromkeys([self._store, *([Path(named)] if named else [])]):
            store = Store(root)
            rows, digests = store.rows_of(digest, fingerprint), store.digests_of(digest)
            if rows is not None and digests is not None:
                return rows, digests
        raise NoRows(f"the row store {self._store} does not hold the rows of the {role} images")

    def given(self, report: Mapping[str, Any], role: str) -> np.ndarray:
        """The features (N, D) that a role was given as, read again from where they came.

        Raises:
            NoRows: they are not there, or others.
        """
        return self._given(report["images"][role], role)

    def _given(self, images: Mapping[str, Any], role: str) -> np.ndarray:
        """Features are read again from where they came."""
        from genaudit.data import FeatureSet, open_images

        if (images["digest"], "") not in self._read:
            try:
                found = open_images(local(role, images["source"], offline=True, progress=False).source, role=role)
            except UserError as error:
                raise NoRows(str(error)) from None
            if not isinstance(found, FeatureSet) or found.digest != images["digest"]:
                raise NoRows(f"{images['source']} no longer holds the features of the {role} images")
            self._read[images["digest"], ""] = np.asarray(found.features)
        return self._read[images["digest"], ""]


def judge_of(report: Mapping[str, Any], metric: str) -> tuple[Callable[..., Any], dict[str, Any], tuple[str, ...]]:
    """The function that a run judged a metric with, its settings, and the roles that it takes.

    A report may come from anywhere: only genaudit's own metrics with plain settings are called.

    Raises:
        NoRows: another function.
    """
    import importlib

    metrics = report["config"].get("metric")
    node = metrics.get(base_name(metric)) if isinstance(metrics, Mapping) else None
    if isinstance(node, Mapping) and node.get("of"):
        raise NoRows(f"it is made of the values of {node['of']}")
    fn_node = node.get("fn") if isinstance(node, Mapping) else None
    options = dict(fn_node) if isinstance(fn_node, Mapping) else {}
    module, _, name = str(options.pop("_target_", "")).rpartition(".")
    options.pop("_partial_", None)
    plain = all(each is None or isinstance(each, (bool, int, float, str)) for each in options.values())
    if not module.startswith("genaudit.metrics.") or not plain:
        raise NoRows("its function is not one of genaudit's metrics")
    fn = getattr(importlib.import_module(module), name, None) if _is_metric(module) else None
    if not callable(fn):
        raise NoRows(f"this version of genaudit has no {module}.{name}")
    spec = MetricSpec(metric, fn, {SOLE: ""}, False, "")
    return fn, options, tuple(role for role in ROLES if role in spec.role_parameters)


def _is_metric(module: str) -> bool:
    import importlib.util

    parts = module.split(".")
    return len(parts) == 3 and parts[2].isidentifier() and importlib.util.find_spec(module) is not None


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
