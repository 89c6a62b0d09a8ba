"""What checkpoints are gated against, and one checkpoint's way through the gate: measure, retrieve, decide."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.errors import UserError
from genaudit.metrics.gate import Gate, Mode, Target, adjusted_target, plain_target
from genaudit.reports.gate import GateRun
from genaudit.reports.report import MeasureUse, RoleImages, Warning
from genaudit.stats.neighbours import Index
from genaudit.store import Store
from genaudit.store.stream import RowStream
from genaudit.tasks.evaluate import picture_of
from genaudit.tasks.instantiate import Instances
from genaudit.tasks.measuring import GIVEN, measure_roles, skipped_images, weights_warnings
from genaudit.tasks.progress import Progress
from genaudit.tasks.ranks import Ranks
from genaudit.tasks.roles import Role, open_role
from genaudit.tasks.samples import Samples
from genaudit.tasks.settings import Settings


@dataclass(frozen=True)
class GateKeys:
    """The gate's own keys, checked."""

    irs_target: float
    alpha: float
    mode: Mode | None
    n_max: int | None
    distance: str

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> GateKeys:
        """Reads and checks the keys.

        Raises:
            UserError: names the key and what would be right.
        """
        target, alpha = _number(cfg, "irs_target"), _number(cfg, "alpha")
        if not 0 < target <= 1:
            hint = f" ({target:g} % is irs_target={target / 100:g})" if 1 < target <= 100 else ""
            raise UserError(f"irs_target={target:g}: a share of the training set above 0 and up to 1 is needed{hint}")
        if not 0 < alpha < 0.5:
            raise UserError(f"alpha={alpha:g}: a probability of error between 0 and 0.5 is needed")
        mode, n_max, distance = cfg["mode"], cfg["n_max"], str(cfg["distance"])
        if mode not in (None, "fixed", "sequential"):
            raise UserError(f"mode={mode}: fixed or sequential is needed")
        if distance not in ("euclidean", "cosine"):
            raise UserError(f"distance={distance}: euclidean or cosine is needed")
        if n_max is not None and (isinstance(n_max, bool) or not isinstance(n_max, int) or n_max < 1):
            raise UserError(f"n_max={n_max}: a whole number of samples from 1 on, or null, is needed")
        return cls(target, alpha, mode, n_max, distance)


def _number(cfg: Mapping[str, Any], key: str) -> float:
    value = cfg[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{key}={value}: a number is needed")
    return float(value)


@dataclass
class Yardstick:
    """The training set, and held-out real images where there are any: measured once, for any number of checkpoints.

    `train_rows` (N, D); `real` (M,) are the training images that the held-out ones retrieve, in a seeded random order.
    """

    settings: Settings
    keys: GateKeys
    store: Store
    measure: Any
    roles: dict[str, Role]
    train_rows: Any
    real: np.ndarray | None
    uses: dict[str, MeasureUse] = field(default_factory=dict)
    warnings: list[Warning] = field(default_factory=list)

    @classmethod
    def prepare(cls, cfg: Any, sources: Mapping[str, Any], store: Store | None = None) -> Yardstick:
        """Opens and measures `train` and `reference`.

        Raises:
            UserError: a key or a source that cannot be used, or no training set.
        """
        settings, keys = Settings.of(cfg), GateKeys.of(cfg)
        if sources.get("train") is None:
            raise UserError("the gate needs the training images: train=T names them")
        names = [name for name in ("reference", "train") if sources.get(name) is not None]
        roles = {name: open_role(name, sources[name], settings) for name in names}
        for name, role in roles.items():
            if isinstance(role, Moments):
                raise UserError(f"{name}: a file with mu and sigma holds no images, and the gate retrieves images")
        given = isinstance(roles["train"], FeatureSet)
        if "reference" in roles and isinstance(roles["reference"], FeatureSet) != given:
            raise UserError("train and reference must both hold images, or both hold features (.npz with `features`)")
        store = store or Store(settings.store)
        measure = None if given else Instances().measure(cfg.feature_model)
        measures = {} if measure is None else {measure.name: measure}
        needed = {name: set(roles) for name in measures}
        progress = Progress(settings.progress)
        measured = measure_roles(roles, measures, needed, store, settings.engine, Ranks(), progress)
        rows = measured.rows[GIVEN if measure is None else measure.name]
        made = cls(
            settings,
            keys,
            store,
            measure,
            measured.roles,
            rows["train"],
            None,
            measured.uses,
            [*skipped_images(measured.roles), *weights_warnings(measures, {}), *measured.warnings],
        )
        if "reference" in rows:
            order = np.random.default_rng((settings.seed, 5)).permutation(len(rows["reference"]))
            made.real = made.retrieve(rows["reference"], "reference")[order]
        return made

    @property
    def n_train(self) -> int:
        return len(self.train_rows)

    def retrieve(self, rows: Any, role: str = "generated") -> np.ndarray:
        """The training image that each row (B, D) retrieves, (B,) int64."""
        if rows.shape[1] != self.train_rows.shape[1]:
            raise UserError(
                f"{role} has {rows.shape[1]} features an image, train {self.train_rows.shape[1]}; they must come from "
                "one feature model"
            )
        try:
            return self._index.nearest(rows).indices[:, 0]
        except ValueError as error:
            raise UserError(f"{role}: {error}") from error

    @cached_property
    def _index(self) -> Index:
        metric: Any = self.keys.distance
        try:
            return Index(self.train_rows, metric=metric, device=self.settings.engine.device)
        except ValueError as error:
            raise UserError(f"train: {error}") from error

    def target(self, samples: int | None) -> Target:
        """What is asked of a checkpoint that is judged on at most `samples` samples."""
        keys = self.keys
        try:
            if self.real is None:
                return plain_target(self.n_train, keys.irs_target, keys.alpha)
            return adjusted_target(self.real, self.n_train, keys.irs_target, keys.alpha, samples)
        except ValueError as error:
            raise UserError(f"reference: {error}") from error

    def gate(self, mode: Mode, samples: int | None) -> Gate:
        """A gate for a checkpoint of which there are `samples` samples (None: nobody knows)."""
        known = [n for n in (samples, self.keys.n_max) if n is not None]
        horizon = min(known) if known else None
        return Gate(self.target(horizon), mode=mode, horizon=horizon)

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

    def draw(self, gate: Gate, samples: Samples, *, whole: bool) -> bool:
        """Feeds the gate until it has decided (`whole`: until its horizon); whether the samples ended before.

        Where it may stop, no more samples are measured at a time than a decision takes at the least.
        """
        with Progress(self.settings.progress).bar("samples", gate.room or 0) as advance:
            while True:
                count = min(self.batch, gate.room or 0) if whole else gate.lookahead(self.batch)
                if count == 0:
                    return False
                rows = samples.take(count)
                if len(rows) == 0:
                    return True
                if not np.isfinite(rows).all():
                    raise UserError("generated: features that are not finite; precision=float32 may mend it")
                gate.update(self.retrieve(rows))
                advance(len(rows))

    def run(self, gate: Gate, samples: Samples, finished: bool, created: str, command: str, config: Any) -> GateRun:
        """The verdict with all that a report shows."""
        if gate.n_sampled == 0:
            raise UserError(f"generated: {samples.describe().source} holds no image to judge")
        verdict = gate.verdict(finished=finished, seed=self.settings.seed)
        train = self.roles["train"]
        pictures = {"train": picture_of(train)} if isinstance(train, ImageSet) else {}
        if pictures:
            pictures["generated"] = samples.read
        horizon = gate.horizon or gate.n_sampled
        ends = (horizon, min(horizon, 2 * gate.n_sampled))  # the second for an early decision's neighbourhood
        at = np.unique(np.concatenate([np.linspace(1, end, 128).round().astype(int) for end in ends]))
        given = samples.describe()
        warnings = list(self.warnings)
        if given.skipped:
            name, reason = given.skipped[0]
            message = f"generated: {len(given.skipped)} images were left out, first {name}, which {reason}."
            warnings.append(Warning("images-skipped", None, message))
        if gate.limited:
            message = (
                f"At most {gate.horizon:,} samples are judged, since there are no more real images to compare with."
            )
            warnings.append(Warning("limited-by-reference", None, message))
        return GateRun(
            verdict=verdict,
            at=at,
            thresholds=gate.thresholds(at),
            created=created,
            command=command,
            config=config,
            seed=self.settings.seed,
            roles={"generated": given, **{name: _role_images(role) for name, role in self.roles.items()}},
            measures=dict(self.uses),
            warnings=warnings,
            names={"generated": samples.names, "train": train.names},  # type: ignore[union-attr]
            pictures=pictures,
        )


def _role_images(role: Role) -> RoleImages:
    if not isinstance(role, ImageSet):
        return RoleImages(role.source, len(role), role.digest)  # type: ignore[arg-type]
    return RoleImages(role.source, len(role), role.digest, [(e.name, e.reason) for e in role.skipped], role.converted)
