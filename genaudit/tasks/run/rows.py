"""Rows of finished runs: found again in the row store by the images' digests and the measure's fingerprint.

`evaluate` leaves in the store, by the digest of each set of images, the digests of its images in order. With the
fingerprint that a report holds, they lead to the rows: nothing is measured again and no image is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.errors import UserError
from genaudit.metrics.result import ROLES, base_name
from genaudit.store import Rows, Store
from genaudit.tasks.run.judging import SOLE, MetricSpec
from genaudit.tasks.run.measuring import GIVEN
from genaudit.tasks.run.sources import local

MOST_BYTES = 1 << 30  # of the rows of a role that are held


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
