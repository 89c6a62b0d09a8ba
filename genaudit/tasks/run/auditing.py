"""The audit of a run's roles: facts of pixels are taken where images are decoded anyway, and kept in the store.

A cold run decodes every image for its networks; what the audit needs is taken from the same pixels. A warm run decodes
none, and reads the facts of the sampled images back. Only what neither has is decoded for the audit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genaudit.data import DamagedImage, ImageSet, Moments
from genaudit.data.audit.compare import Concerned, compare
from genaudit.data.audit.copies import near_copies
from genaudit.data.audit.facts import SetFacts, Watch, facts_of, sample_of
from genaudit.data.audit.finding import Finding
from genaudit.data.reader import ordered_map
from genaudit.errors import UserError
from genaudit.measures.pixel_facts import PixelFacts
from genaudit.metrics.result import ROLES
from genaudit.store import Engine, Store
from genaudit.tasks.run.judging import MetricSpec
from genaudit.tasks.run.measuring import GIVEN, Measurements
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role

COMPARED = tuple(role for role in ROLES if role != "anomalies")  # out-of-distribution images differ by design


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


def audit_findings(facts: Mapping[str, SetFacts], takes: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What differs between the roles; `takes` names the roles of each metric of the run."""
    return compare({role: facts[role] for role in COMPARED if role in facts}, concerned_by(takes))


def near_findings(
    measurements: Measurements, specs: Iterable[MetricSpec], takes: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    """Near copies across roles, in the features of the run's first network; none where no metric takes features."""
    measures = [GIVEN, *(spec.measure for spec in specs if spec.of_features)]
    rows = next((measurements.rows[name] for name in measures if name in measurements.rows), {})
    digests = {name: role.digests for name, role in measurements.roles.items() if not isinstance(role, Moments)}
    compared = {role: rows[role] for role in COMPARED if role in rows and role in digests}
    return near_copies(compared, digests, concerned_by(takes))


def concerned_by(takes: Mapping[str, Mapping[str, Any]]) -> Concerned:
    """The metrics that take both roles of any pair."""

    def concerned(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        return tuple(metric for metric, taken in takes.items() if any({*pair} <= {*taken} for pair in pairs))

    return concerned
