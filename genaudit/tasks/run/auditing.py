"""What a report says beside its numbers; above all the audit of the roles: pixels, images that occur twice, counts.

A cold run decodes every image for its networks; what the audit needs is taken from the same pixels. A warm run decodes
none, and reads the facts of the sampled images back. Only what neither has is decoded for the audit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genaudit.data import DamagedImage, FeatureSet, ImageSet, Moments
from genaudit.data.audit.compare import Concerned, compare, counts_differ, unequal
from genaudit.data.audit.copies import duplicates, near_copies, same_images
from genaudit.data.audit.facts import SetFacts, Watch, facts_of, sample_of
from genaudit.data.audit.finding import Finding
from genaudit.data.reader import ordered_map
from genaudit.errors import UserError
from genaudit.measures.pixel_facts import PixelFacts
from genaudit.metrics.result import ROLES, base_name
from genaudit.reports.report import MetricEntry, ReportWarning
from genaudit.store import Engine, Store
from genaudit.tasks.run.judging import MetricSpec
from genaudit.tasks.run.measuring import GIVEN, Measurements, skipped_images, weights_warnings
from genaudit.tasks.run.moments import moments_warnings, stored_moments
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role
from genaudit.tasks.run.settings import LIMIT_KEYS, Settings
from genaudit.tasks.run.sources import named_warnings
from genaudit.tasks.run.specs import definition_warnings

COMPARED = tuple(role for role in ROLES if role != "anomalies")  # out-of-distribution images differ by design
# Metrics that the numbers of images bias: distances of finite sets upward, neighbourhoods in either direction.
BIASED_BY_COUNTS = {
    **dict.fromkeys(("fd", "fdr", "sfd", "mifid", "swd", "mind", "cmmd", "as", "prdc", "ct"), "reference"),
    **dict.fromkeys(("authpct", "fld"), "train"),
}


@dataclass
class Audit:
    """What is needed to audit the roles of one run; `watched` before they are measured, `facts` after.

    Attributes:
        watch: takes the facts of the sampled images that the store lacks.
    """

    store: Store
    engine: Engine
    measure: PixelFacts = field(default_factory=PixelFacts)
    watch: Watch = field(default_factory=lambda: Watch(()))

    def watched(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        """The roles, whose sampled images are looked at when they are read."""
        samples = [sample_of(role).digests for role in roles.values() if isinstance(role, ImageSet)]
        digests = [digest.tobytes() for sample in samples for digest in sample]
        known = self.store.stored(self.measure, self.engine).find(digests)
        self.watch = Watch(digest for digest in digests if digest not in known)
        return {name: role.watched(self.watch) if isinstance(role, ImageSet) else role for name, role in roles.items()}

    def keep(self) -> None:
        """Writes what was seen into the store, for later runs."""
        if not self.watch.rows:
            return
        digests = np.frombuffer(b"".join(self.watch.rows), np.uint8).reshape(len(self.watch.rows), -1)
        with contextlib.suppress(UserError), self.store.stored(self.measure, self.engine).writer() as writer:
            writer.add(digests, np.stack(list(self.watch.rows.values())))

    def facts(self, roles: Mapping[str, Role], progress: Progress) -> dict[str, SetFacts]:
        """The facts of every role that holds images, once these were measured."""
        self.keep()
        return {name: self._facts(name, role, progress) for name, role in roles.items() if isinstance(role, ImageSet)}

    def _facts(self, name: str, images: ImageSet, progress: Progress) -> SetFacts:
        sample = sample_of(images)
        keys = [digest.tobytes() for digest in sample.digests]
        with contextlib.suppress(UserError):  # a store that cannot be written costs no result
            measured = self.store.measure(
                sample, self.measure, self.engine, advance=lambda total: progress.bar(f"audit, {name}", total)
            )
            if measured.rows is not None:
                return facts_of(images, dict(zip(keys, np.asarray(measured.rows), strict=True)))
        return facts_of(images, self._read_again(sample, keys))

    def _read_again(self, sample: ImageSet, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The facts of those images that can be read, without the store's help."""
        rows = {**self.watch.rows, **self.store.stored(self.measure, self.engine).find(keys)}
        watch = Watch(key for key in keys if key not in rows)
        watched = sample.watched(watch)

        def read(index: int) -> None:
            if keys[index] in watch.wanted:
                with contextlib.suppress(DamagedImage):
                    watched.read(index)

        for _ in ordered_map(read, len(sample), self.engine.decode_workers):
            pass
        return rows | watch.rows


def cautions(
    cfg: Any,
    specs: Mapping[str, MetricSpec],
    entries: Mapping[str, MetricEntry],
    measures: Mapping[str, Any],
    measurements: Measurements,
    facts: Mapping[str, SetFacts],
    settings: Settings,
) -> tuple[list[ReportWarning], list[Finding]]:
    """What the report says beside its numbers: warnings, and findings of the audit."""
    roles = measurements.roles
    reference = roles.get("reference")
    takers = {
        name: (spec.measure, taken)
        for name, spec in specs.items()
        if "reference" in spec.role_parameters and (taken := spec.moments_of(reference)) is not None
    }
    takes = {name: spec.role_parameters for name, spec in specs.items()}
    used = {name: set(spec.measures.values()) for name, spec in specs.items()}
    unequal, count_warnings = unequal_counts(entries)
    warnings = [
        *skipped_images(roles),
        *preset_warnings(cfg, roles),
        *subset_warnings(counted_roles(roles), takes),
        *definition_warnings(specs, measures),
        *weights_warnings(measures, used),
        *(moments_warnings(measures, takers, settings.engine.precision) if takers else ()),
        *count_warnings,
        *named_warnings(reference),
        *(stored_moments(reference, takers, takes) if isinstance(reference, ImageSet) and reference.moments else ()),
        *measurements.warnings,
    ]
    findings = [
        *audit_findings(facts, takes),
        *counting_findings(roles, takes, {name: entry.result for name, entry in entries.items()}),
        *near_findings(measurements, specs.values(), takes),
        *unequal,
    ]
    return warnings, findings


def audit_findings(facts: Mapping[str, SetFacts], takes: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What differs between the roles; `takes` names the roles of each metric of the run."""
    return compare({role: facts[role] for role in COMPARED if role in facts}, concerned_by(takes))


def near_findings(
    measurements: Measurements, specs: Iterable[MetricSpec], takes: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    """Near copies across roles, in the features of the run's first network; none where no metric takes features."""
    measures = [GIVEN, *(spec.measure for spec in specs if spec.of_features)]
    rows = next((measurements.rows[name] for name in measures if name in measurements.rows), None)
    if rows is None:
        return []
    digests = {name: role.digests for name, role in measurements.roles.items() if not isinstance(role, Moments)}
    compared = {role: rows[role] for role in COMPARED if role in rows and role in digests}
    return near_copies(compared, digests, concerned_by(takes))


def concerned_by(takes: Mapping[str, Mapping[str, Any]]) -> Concerned:
    """The metrics that take both roles of any pair."""

    def concerned(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        return tuple(metric for metric, taken in takes.items() if any({*pair} <= {*taken} for pair in pairs))

    return concerned


def counting_findings(
    roles: Mapping[str, Role], takes: Mapping[str, Mapping[str, bool]], results: Mapping[str, Any]
) -> list[Finding]:
    """What is to be said of copies, within a role and between two.

    Args:
        roles: what was measured.
        takes: metric => the roles that it takes (`MetricSpec.role_parameters`).
        results: metric => its result; a mapping `copies_break` on it names the roles whose copies make its values
            wrong, each with a sentence that says how.
    """
    counted = counted_roles(roles)
    ordered = {name: counted[name] for name in ROLES if name in counted}
    concerned = concerned_by({name: takes[name] for name in results})
    return [*copy_findings(counted, results), *same_images(ordered, _nouns(counted), concerned)]


def counted_roles(roles: Mapping[str, Role]) -> dict[str, ImageSet | FeatureSet]:
    """The roles whose images can be counted: all but moments."""
    return {name: role for name, role in roles.items() if isinstance(role, (ImageSet, FeatureSet))}


def subset_warnings(
    roles: Mapping[str, ImageSet | FeatureSet], takes: Mapping[str, Mapping[str, bool]]
) -> list[ReportWarning]:
    """A subset of the generated images is fewer samples; one of another role changes what a value is defined by.

    One warning a role, whatever the number of metrics and networks.
    """
    warnings = []
    for name, role in roles.items():
        if role.available is None:
            continue
        what = f"{name}: a random {len(role):,} of {role.available:,} {_noun(role)} ({LIMIT_KEYS[name]}={len(role)})"
        users = list(dict.fromkeys(base_name(metric) for metric, taken in takes.items() if name in taken))
        if name != "generated" and users:
            what += f": the values of {', '.join(users)} are defined by these, and not comparable with others"
        warnings.append(ReportWarning("limited", None, f"{what}."))
    return warnings


def copy_findings(roles: Mapping[str, ImageSet | FeatureSet], results: Mapping[str, Any]) -> list[Finding]:
    """Copies within a role, and what they do to the values of the metrics that they make wrong."""
    broken = {
        role: {metric: reasons[role] for metric, result in results.items()
               if role in (reasons := getattr(result, "copies_break", {}))}
        for role in roles
    }  # fmt: skip
    return duplicates(roles, _nouns(roles), broken)


def _nouns(roles: Mapping[str, ImageSet | FeatureSet]) -> dict[str, str]:
    return {name: _noun(role) for name, role in roles.items()}


def _noun(role: ImageSet | FeatureSet) -> str:
    return "images" if isinstance(role, ImageSet) else "feature rows"


def preset_warnings(cfg: Any, roles: Mapping[str, Role]) -> list[ReportWarning]:
    """A warning for each role that has another number of images than the preset's authors use."""
    preset = cfg.get("preset")
    if not preset:
        return []
    warnings = []
    for role, count in (preset.get("counts") or {}).items():
        images = roles.get(role)
        n = None if images is None else images.n if isinstance(images, Moments) else len(images)
        if n is not None and n != count:
            message = (
                f"preset={preset.name}: its authors use {count:,} {role} images ({preset.source}), these are {n:,}. "
                "Values that depend on the number of images are not comparable with theirs."
            )
            warnings.append(ReportWarning("counts-of-preset", None, message))
    return warnings


def unequal_counts(entries: Mapping[str, MetricEntry]) -> tuple[list[Finding], list[ReportWarning]]:
    """What unequal numbers of images bias: a finding of generated and reference images that names the metrics, and
    warnings of those that take the training images, of which there are hardly ever as many."""
    concerned: dict[tuple[int, int], list[str]] = {}
    warnings = []
    for name, entry in entries.items():
        other = BIASED_BY_COUNTS.get(base_name(name), "")
        n, m = entry.n.get("generated", 0), entry.n.get(other, 0)
        if other == "reference":
            concerned.setdefault((n, m), []).append(name)
        elif unequal(n, m):
            message = (
                f"{n:,} generated and {m:,} {other} images: the value depends on both numbers; compare it only with "
                "values of the same two numbers."
            )
            warnings.append(ReportWarning("counts-differ", name, message))
    findings = [counts_differ({"generated": n, "reference": m}, names) for (n, m), names in concerned.items()]
    return [finding for finding in findings if finding is not None], warnings
