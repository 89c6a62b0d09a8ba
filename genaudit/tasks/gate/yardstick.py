"""What checkpoints are gated against: training images, and held-out real images, opened and measured once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, Moments
from genaudit.data.digest import shuffled_by_content
from genaudit.errors import UserError
from genaudit.output import told
from genaudit.reports.report import MeasureUse, ReportWarning, warning_of
from genaudit.store import Store
from genaudit.store.stream import RowStream
from genaudit.tasks.gate.calibration import Gates
from genaudit.tasks.gate.keys import GateKeys
from genaudit.tasks.gate.retrieval import RealRetrievals, distinct_images
from genaudit.tasks.run.auditing import copy_findings, counted_roles, subset_warnings
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.measuring import GIVEN, measure_roles, skipped_images, weights_warnings
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role, open_role
from genaudit.tasks.run.settings import EngineChoice, Settings


@dataclass
class Yardstick:
    """The training set, and held-out real images where there are any: measured once, for any number of checkpoints.

    `measure` is None where features are given. `gates` makes the gate of each checkpoint; `copies` are the training
    images that are copies of others.
    """

    settings: Settings
    keys: GateKeys
    store: Store
    measure: Any
    roles: dict[str, Role]
    gates: Gates
    copies: int = 0
    uses: dict[str, MeasureUse] = field(default_factory=dict)
    warnings: list[ReportWarning] = field(default_factory=list)

    @classmethod
    def prepare(cls, cfg: Any, sources: Mapping[str, Any], store: Store | None = None) -> Yardstick:
        """Opens and measures `train` and `reference`.

        Raises:
            UserError: a key or a source that cannot be used, or no training set.
        """
        settings, keys = Settings.of(cfg), GateKeys.of(cfg)
        roles = _open(sources, settings)
        measure = None if isinstance(roles["train"], FeatureSet) else Instances().measure(cfg.feature_model)
        measures = {} if measure is None else {measure.name: measure}
        needed = {name: set(roles) for name in measures}
        store = store or Store(settings.store)
        told.begin_log()
        progress = Progress(settings.progress)
        engines = EngineChoice(settings, store, told.note)
        engines.assign(measures.values())
        measured = engines.measured(
            lambda: measure_roles(roles, measures, needed, store, settings.engine, Ranks(), progress)
        )
        rows = measured.rows[GIVEN if measure is None else measure.name]
        train: Any = measured.roles["train"]
        kept = distinct_images(train.digests, rows["train"])
        distance: Any = keys.distance
        retrieval = RealRetrievals(rows["train"], kept, distance, settings.engine.device)
        gates = Gates(keys, settings.seed, retrieval, train.digests)
        if "reference" in rows:
            reference: Any = measured.roles["reference"]
            gates.calibrate_by(rows["reference"], reference.digests)
        warnings = [
            *skipped_images(measured.roles),
            *_counted(measured.roles),
            *weights_warnings(measures, {}),
            *measured.warnings,
        ]
        copies = len(train.digests) - len(kept)
        return cls(settings, keys, store, measure, measured.roles, gates, copies, measured.uses, warnings)

    @contextlib.contextmanager
    def stream(self) -> Iterator[RowStream | None]:
        """Measures images as they come; None where features are given. What it measured is booked on leaving."""
        if self.measure is None:
            yield None
            return
        with RowStream(self.store, self.measure, self.settings.engine) as stream:
            try:
                yield stream
            finally:
                use = self.uses[self.measure.name]
                use.computed += stream.computed
                use.reused += stream.reused

    @property
    def batch(self) -> int:
        """The most images that are measured at a time."""
        engine = self.settings.engine
        if engine.batch_size is not None:
            return engine.batch_size
        return 1024 if self.measure is None else int(self.measure.batch_size(engine.device))

    def order(self, digests: np.ndarray) -> np.ndarray:
        """The random order, by content and seed, in which a set's samples are judged."""
        return shuffled_by_content(digests, self.settings.seed + 1)


def _open(sources: Mapping[str, Any], settings: Settings) -> dict[str, Role]:
    """The roles `train` and, where it is given, `reference`: both images, or both features."""
    if sources.get("train") is None:
        raise UserError("the gate needs the training images: train=T names them")
    names = [name for name in ("reference", "train") if sources.get(name) is not None]
    roles = {name: open_role(name, sources[name], settings) for name in names}
    for name, role in roles.items():
        if isinstance(role, Moments):
            raise UserError(f"{name}: a file with mu and sigma holds no images, and the gate retrieves images")
    if "reference" in roles and isinstance(roles["reference"], FeatureSet) != isinstance(roles["train"], FeatureSet):
        raise UserError("train and reference must both hold images, or both hold features (.npz with `features`)")
    return roles


def _counted(roles: Mapping[str, Role]) -> list[ReportWarning]:
    """Subsets, and copies within the reference; what copies in the training set do, the gate says itself."""
    counted = counted_roles(roles)
    return [
        *subset_warnings(counted, {}),
        *map(warning_of, copy_findings({name: role for name, role in counted.items() if name != "train"}, {})),
    ]
