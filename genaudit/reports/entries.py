"""What a report is made of: warnings, the images of each role, the use of each measure, and each metric's entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from genaudit.metrics.result import ROLES, Caution, RealFloor, base_name
from genaudit.reports.values import Parts, Value, describe

if TYPE_CHECKING:
    from genaudit.data.audit import Finding

COUNTED = ROLES[:3]  # have a column of their own in metrics.csv


@dataclass(frozen=True)
class ReportWarning:
    """A warning of the run (metric None) or of one metric; `code` is kebab case, `message` a sentence for people."""

    code: str
    metric: str | None
    message: str


def warning_of(finding: Finding) -> ReportWarning:
    """A finding of the audit as the warning of the run that says the same."""
    return ReportWarning(finding.code, None, finding.message)


@dataclass
class RoleImages:
    """Where a role's images came from: `skipped` holds (name, reason), `converted` counts images by their mode.

    `ignored` counts what of the source was left out before it was read, by reason. `duplicates` counts exact copies of
    other images of the role; `available` is how many images there are where a limit took only `count` of them;
    `in_train` how many are exact copies of training images.
    `audit` says how the images were stored and what their pixels show: keys of report.json, such as `formats`.
    """

    source: str
    count: int
    digest: str
    skipped: Sequence[tuple[str, str]] = ()
    converted: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    duplicates: int | None = None
    available: int | None = None
    audit: Mapping[str, Any] = field(default_factory=dict)
    in_train: int | None = None


@dataclass
class MeasureUse:
    """The provenance of a measure's rows; `seconds` is the time spent on computing, `about` anything worth telling."""

    fingerprint: str
    weights_sha256: str | None
    computed: int
    reused: int
    seconds: float
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class MetricEntry:
    """One metric's result with the number of images of each role that it saw and the name of its measure.

    `real` holds what real images score in the place of the generated ones, by the values' names.
    """

    name: str
    result: Any
    n: Mapping[str, int]
    measure: str
    real: Mapping[str, RealFloor] = field(default_factory=dict)

    @cached_property
    def parts(self) -> Parts:
        """The result taken apart by its metadata."""
        return describe(self.result, base_name(self.name))

    @property
    def values(self) -> dict[str, Value]:
        """The headline numbers; what real images score ends where the value itself does (a share at 1)."""
        known = {name: each for name, each in self.parts.values.items() if name in self.real}
        return {**self.parts.values, **{n: replace(v, real=self.real[n].within(v.range)) for n, v in known.items()}}

    @property
    def p_value(self) -> float | None:
        return self.parts.p_value

    @property
    def details(self) -> dict[str, Any]:
        return self.parts.details

    @property
    def citation(self) -> str:
        return self.parts.citation

    @property
    def cautions(self) -> tuple[Caution, ...]:
        return self.parts.cautions

    def to_dict(self) -> dict[str, Any]:
        """The metric's part of report.json; numbers that are not finite still stand in it."""
        return {
            "values": {
                name: {"value": each.value, "lower": each.lower, "upper": each.upper, "better": each.better}
                | ({"interval": each.about} if each.about else {})
                | {"real": each.real, "real_ratio": each.real_ratio}
                for name, each in self.values.items()
            },
            "p_value": self.p_value,
            "n": by_role(self.n),
            "measure": self.measure,
            "details": self.details,
            "citation": self.citation,
        }


def counts_of(images: RoleImages) -> dict[str, int]:
    """The counts that are known."""
    counts = {"duplicates": images.duplicates, "available": images.available, "in_train": images.in_train}
    return {name: count for name, count in counts.items() if count is not None}


def by_role(items: Mapping[str, Any]) -> dict[str, Any]:
    """`items` with generated, reference and train first, then other roles by name."""
    order = {role: place for place, role in enumerate(COUNTED)}
    return dict(sorted(items.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
