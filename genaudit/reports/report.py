"""The containers of a finished run: what a task fills and every report format is written from.

`Report.to_dict` is `report.json` (schema `genaudit/report/2`, checked by `schema.json` beside this file). With the same
inputs it is the same byte for byte but for `created`, `environment` and `seconds`: what has no order is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit import __version__
from genaudit.metrics.result import base_name
from genaudit.reports.entries import MeasureUse as MeasureUse
from genaudit.reports.entries import MetricEntry as MetricEntry
from genaudit.reports.entries import ReportWarning as ReportWarning
from genaudit.reports.entries import RoleImages as RoleImages
from genaudit.reports.entries import by_role, warning_of
from genaudit.reports.entries import counts_of as counts_of
from genaudit.reports.values import Column, Value, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from genaudit.data.audit import Finding
    from genaudit.reports.classes import Classes

SCHEMA = "genaudit/report/2"
OLDER = ("genaudit/report/1",)  # without real floors and verdict
# These columns open images.csv in this order; columns that other metrics add follow in the metrics' order.
FIRST_COLUMNS = (
    "name",
    "digest",
    "class",
    "partner",
    "complexity",
    "vulnerability",
    "as_i",
    "nearest_train",
    "nearest_train_distance",
)


@dataclass(repr=False)
class Report:
    """A finished run; a notebook shows its table.

    >>> report = genaudit.evaluate("samples/", reference="real/")  # doctest: +SKIP
    >>> report["fd"].values["fd"].value, report["precision"].lower  # doctest: +SKIP
    (31.8, 0.848)

    Args:
        created: date and time of the run, ISO 8601.
        command: the command that repeats it.
        config: the resolved configuration.
        environment: versions, device, threads: anything that describes the machine.
        seed: the run's seed.
        roles, measures, metrics: by name; metrics in the order in which they are to be shown.
        skipped_metrics: the reason why each was not computed.
        verdict: what the numbers say (`genaudit.verdict.answers.Verdict`); None: not judged.
        by_class: the classes, where the run was asked for them.
        findings: what the audit of the roles found; each is a warning too.
        warnings: those of the task; those of the findings, of the metrics' cautions and of numbers that are not finite
            are added.
        images: columns of the generated images, at least `name` and `digest` (hex, or uint8 (N, 16)) where there are
            images; the metrics' per-image columns are added.
        names: the image names of each role, for columns that point to a role's images; not written.
        pictures: for each role a function from index to the image, uint8 (H, W, C), for galleries; not written.
        genaudit: the package's version.
    """

    created: str
    command: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    seed: int
    roles: dict[str, RoleImages]
    measures: dict[str, MeasureUse]
    metrics: dict[str, MetricEntry]
    skipped_metrics: dict[str, str] = field(default_factory=dict)
    warnings: list[ReportWarning] = field(default_factory=list)
    images: dict[str, Any] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[int], np.ndarray]] = field(default_factory=dict)
    genaudit: str = __version__
    findings: Sequence[Finding] = ()
    verdict: Any = None
    by_class: Classes | None = None
    partners: np.ndarray | None = None  # (N,) each generated image's partner, its place in the reference (paired=true)

    # columns that name images of a role: the role, and the index of each image's; below 0 where there is none
    pointers: dict[str, tuple[str, np.ndarray]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.warnings = list(self.warnings)
        self._warn(*map(warning_of, self.findings))
        for name, entry in self.metrics.items():
            self._warn(*(ReportWarning(caution.code, name, caution.message) for caution in entry.cautions))
        self.images = self._columns()
        documents = [(name, entry.to_dict()) for name, entry in self.metrics.items()]
        for metric, document in [*documents, (None, self._head())]:
            lost: list[str] = []
            plain(document, lost)
            if lost:
                self._warn(ReportWarning("non-finite", metric, _not_finite(lost)))

    def _warn(self, *warnings: ReportWarning) -> None:
        self.warnings.extend(warning for warning in warnings if warning not in self.warnings)

    def _columns(self) -> dict[str, Any]:
        """The given columns, then the metrics' in order; an equal column is not repeated, a namesake is prefixed.

        With several networks a column has its metric's network behind its name.
        """
        columns = dict(self.images)
        if "digest" in columns and getattr(columns["digest"], "ndim", 1) == 2:
            columns["digest"] = [row.tobytes().hex() for row in np.ascontiguousarray(columns["digest"])]
        if self.partners is not None:
            names = self.names.get("reference")
            columns["partner"] = self.partners if names is None else [names[index] for index in self.partners]
            self.pointers["partner"] = ("reference", self.partners)
        count = len(next(iter(columns.values()))) if columns else None
        for metric, entry in self.metrics.items():
            for column in entry.parts.columns:
                if count is None:
                    count = len(column.values)
                if column.values.shape != (count,):
                    message = f"{column.name} has shape {column.values.shape}, not one value for each of {count} images"
                    self._warn(ReportWarning("column-shape", metric, f"{message}; the column is left out."))
                    continue
                shown = self._named(column)
                name = column.name + "".join(metric.partition("@")[1:])
                if name in columns and not _equal(columns[name], shown):
                    name = f"{base_name(metric)}_{name}"
                columns.setdefault(name, shown)
                if column.refers_to is not None:
                    self.pointers[name] = (column.refers_to, _indices(column, self.names.get(column.refers_to)))
        first = [name for name in FIRST_COLUMNS if name in columns]
        return {name: columns[name] for name in (*first, *(name for name in columns if name not in first))}

    def _named(self, column: Column) -> Any:
        """Indices of another role's images as their names; the empty name stands for no image."""
        names = self.names.get(column.refers_to) if column.refers_to else None
        if names is None:
            return column.values
        return [names[index] if index >= 0 else "" for index in _indices(column, names)]

    def _head(self) -> dict[str, Any]:
        """Everything of report.json but metrics and warnings."""
        return {
            "schema": SCHEMA,
            "genaudit": self.genaudit,
            "created": self.created,
            "command": self.command,
            "config": self.config,
            "environment": dict(sorted(self.environment.items())),
            "seed": self.seed,
            "images": {
                role: {
                    "source": str(self.roles[role].source),
                    "count": self.roles[role].count,
                    "digest": self.roles[role].digest,
                    "skipped": [
                        {"name": str(name), "reason": str(reason)} for name, reason in sorted(self.roles[role].skipped)
                    ],
                    "converted": dict(sorted(self.roles[role].converted.items())),
                    "ignored": dict(sorted(self.roles[role].ignored.items())),
                    **counts_of(self.roles[role]),
                    **self.roles[role].audit,
                }
                for role in by_role(self.roles)
            },
            "measures": {
                name: {
                    "fingerprint": use.fingerprint,
                    "weights_sha256": use.weights_sha256,
                    "computed": use.computed,
                    "reused": use.reused,
                    "seconds": use.seconds,
                    "about": use.about,
                }
                for name, use in sorted(self.measures.items())
            },
        }

    def to_dict(self) -> dict[str, Any]:
        """report.json as a dictionary of JSON's own types; a number that is not finite is None."""
        document = self._head()
        document["metrics"] = {name: entry.to_dict() for name, entry in self.metrics.items()}
        document["skipped_metrics"] = self.skipped_metrics
        document["warnings"] = self.warnings
        document["findings"] = self.findings
        if self.verdict is not None:
            document["verdict"] = self.verdict.to_dict()
        if self.by_class is not None:
            document["by_class"] = self.by_class.to_dict()
        result: dict[str, Any] = plain(document, [])
        return result

    def __getitem__(self, name: str) -> MetricEntry | Value:
        """A metric's entry by its name, or a value by its own where one metric alone has it.

        Raises:
            KeyError: there is neither, or two metrics have a value of this name; says what there is.
        """
        if name in self.metrics:
            return self.metrics[name]
        holders = [metric for metric, entry in self.metrics.items() if name in entry.values]
        if len(holders) == 1:
            return self.metrics[holders[0]].values[name]
        if holders:
            raise KeyError(f"{name} is a value of {', '.join(holders)}: report[METRIC].values[{name!r}]")
        reason = f" ({name} was not computed: {self.skipped_metrics[name]})" if name in self.skipped_metrics else ""
        values = [value for entry in self.metrics.values() for value in entry.values]
        raise KeyError(f"there is no {name!r}{reason}; there are {', '.join(dict.fromkeys([*self.metrics, *values]))}")

    def __repr__(self) -> str:
        """The console's table, without colours."""
        from genaudit.reports.frames import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """The headline table and warnings for a notebook."""
        from genaudit.reports.frames import as_html

        return as_html(self)

    def to_frame(self) -> DataFrame:
        """The rows of metrics.csv as a pandas DataFrame: one row a value."""
        from genaudit.reports.frames import values_frame

        return values_frame(self)

    def images_frame(self) -> DataFrame:
        """The columns of images.csv as a pandas DataFrame: one row a generated image."""
        from genaudit.reports.frames import images_frame

        return images_frame(self)

    def figures(self) -> dict[str, Figure]:
        """The plots of report.html as matplotlib figures, by their titles."""
        from genaudit.reports.frames import figures

        return figures(self)

    def save(self, directory: str | Path, *, explore: bool | str = "auto") -> dict[str, Path]:
        """Writes report.json, metrics.csv, images.csv and report.html; returns their paths by file name.

        Where pyarrow is installed, images.parquet holds the columns of images.csv too. `explore=True` writes
        explore.html, a page to look through all images; "auto" does up to 2,000 images, which need no folder beside it.
        """
        from genaudit.reports.files import write

        return write(self, directory, explore=explore)


def _indices(column: Column, names: Sequence[str] | None) -> np.ndarray:
    """A column of indices (N,) int64; -1 where one is no index of `names`."""
    values = np.asarray(column.values, dtype=float)
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(values) & (values >= 0) & (values < (np.inf if names is None else len(names)))
    return np.where(valid, np.where(valid, values, 0), -1).astype(np.int64)


def _equal(given: Any, column: Any) -> bool:
    """The same column; distances of two metrics may differ by float32's rounding."""
    first, second = np.asarray(given), np.asarray(column)
    if first.shape == second.shape and first.dtype.kind == second.dtype.kind == "f":
        return bool(np.allclose(first, second, rtol=1e-6, atol=0, equal_nan=True))
    return bool(np.array_equal(first, second))


def _not_finite(places: list[str]) -> str:
    names = [place.removeprefix("values.").removesuffix(".value") for place in places]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"Not a finite number, so the reports hold none in its place: {shown}."
