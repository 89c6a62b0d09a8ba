"""What checkpoints are gated against, and one checkpoint's way through the gate: measure, retrieve, decide."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.copies import shuffled_by_content
from genaudit.errors import UserError
from genaudit.metrics.absolute_gate import AbsoluteGate
from genaudit.metrics.calibrated_gate import CalibratedGate
from genaudit.metrics.gate import Calibration, Gate, Mode, Question
from genaudit.reports.gate import Copies, GateRun
from genaudit.reports.report import MeasureUse, ReportWarning, RoleImages, warning_of
from genaudit.stats.held_out_test import real_needed
from genaudit.store import Store
from genaudit.store.stream import RowStream
from genaudit.tasks.gate.retrieval import Picked, RealRetrievals, distinct_images
from genaudit.tasks.gate.samples import Samples
from genaudit.tasks.run.counting import copy_findings, counted_roles, role_images, subset_warnings
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.measuring import GIVEN, measure_roles, skipped_images, source_warnings, weights_warnings
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.ranks import Ranks
from genaudit.tasks.run.roles import Role, open_role, picture_of
from genaudit.tasks.run.settings import Settings

REFERENCE_COPIES = 0.01  # a larger share of held-out images that are training images is said in the decision
HELD_OUT_FOR = 2000  # samples for which training images are set aside where nobody knows how many will come
# Of the training images. Each that leaves makes retrieval coarser: samples of a mode that has left retrieve some
# neighbour or other, and look diverse. Of 500 training images with 512 dimensions (Gaussian, target 1, 1,000 samples,
# 30 runs) a model of a tenth was caught in 40 % with half of them set aside, in 93 % with a third, in 97 % with a
# fifth.
MOST_SET_ASIDE = 0.2
CURVE_POINTS = 128


@dataclass(frozen=True)
class GateKeys:
    """The gate's own keys, checked."""

    question: Question
    mode: Mode | None
    n_max: int | None
    distance: str
    absolute: bool

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> GateKeys:
        """Reads and checks the keys.

        Raises:
            UserError: names the key and what was expected.
        """
        numbers = {key: _number(cfg, key) for key in ("irs_target", "alpha", "detect", "power")}
        target = numbers["irs_target"]
        if 1 < target <= 100:
            raise UserError(
                f"irs_target must be a share above 0 and up to 1, got {target:g} ({target:g} % is "
                f"irs_target={target / 100:g})"
            )
        try:
            question = Question(**numbers)
        except ValueError as error:
            raise UserError(str(error)) from error
        mode, n_max, distance, absolute = cfg["mode"], cfg["n_max"], str(cfg["distance"]), cfg["absolute"]
        if mode not in (None, "fixed", "sequential"):
            raise UserError(f"mode must be fixed or sequential, got {mode}")
        if distance not in ("euclidean", "cosine"):
            raise UserError(f"distance must be euclidean or cosine, got {distance}")
        if n_max is not None and (isinstance(n_max, bool) or not isinstance(n_max, int) or n_max < 1):
            raise UserError(f"n_max must be a positive integer (a number of samples) or null, got {n_max}")
        if not isinstance(absolute, bool):
            raise UserError(f"absolute must be true or false, got {absolute}")
        return cls(question, mode, n_max, distance, absolute)


def _number(cfg: Mapping[str, Any], key: str) -> float:
    value = cfg[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{key} must be a number, got {value}")
    return float(value)


@dataclass
class Yardstick:
    """The training set, and held-out real images where there are any: measured once, for any number of checkpoints.

    `train_rows` (N, D). `retrieval` holds the training images, each content once, and what the reference retrieves;
    `copies` are the training images that are copies of others, `excluded` the reference images that are training
    images.
    """

    settings: Settings
    keys: GateKeys
    store: Store
    measure: Any
    roles: dict[str, Role]
    train_rows: Any
    retrieval: RealRetrievals
    copies: int = 0
    excluded: int = 0
    uses: dict[str, MeasureUse] = field(default_factory=dict)
    warnings: list[ReportWarning] = field(default_factory=list)
    _aside: dict[int, RealRetrievals] = field(default_factory=dict)

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
        train: Any = measured.roles["train"]
        kept = distinct_images(train.digests, rows["train"])
        distance: Any = keys.distance
        made = cls(
            settings,
            keys,
            store,
            measure,
            measured.roles,
            rows["train"],
            RealRetrievals(rows["train"], kept, distance, settings.engine.device),
            copies=len(train.digests) - len(kept),
            uses=measured.uses,
            warnings=[
                *skipped_images(measured.roles),
                *_counted(measured.roles),
                *weights_warnings(measures, {}),
                *measured.warnings,
            ],
        )
        if "reference" in rows:
            made._retrieve_reference(rows["reference"])
        return made

    def _retrieve_reference(self, rows: Any) -> None:
        """What held-out images retrieve, none that is a training image itself, in random order."""
        reference: Any = self.roles["reference"]
        retrieved, copies = self.retrieval.nearest(rows, "reference")
        held_out = np.flatnonzero(~copies)
        self.excluded = len(rows) - len(held_out)
        order = shuffled_by_content(reference.digests[held_out], self.settings.seed)
        if len(held_out) < 2 and not self.keys.absolute:
            raise UserError(
                f"reference: all but {len(held_out)} of its {len(rows)} images are training images; 2 or more held-out "
                "images are needed, or leave reference out and some of train is set aside"
            )
        self.retrieval.real = retrieved[held_out][order]

    @property
    def n_train(self) -> int:
        """Training images, each content once."""
        return self.retrieval.n_train

    @property
    def calibration(self) -> Calibration:
        if self.keys.absolute:
            return "absolute"
        return "held_out_train" if self.retrieval.real is None else "reference"

    def judge(self, mode: Mode, samples: int | None) -> Judge:
        """A gate for a checkpoint of which there are `samples` samples (None: nobody knows), with what it retrieves."""
        known = [n for n in (samples, self.keys.n_max) if n is not None]
        horizon = min(known) if known else None
        question, seed, calibration = self.keys.question, self.settings.seed, self.calibration
        retrieval = self._set_aside(horizon) if calibration == "held_out_train" else self.retrieval
        gate: Gate
        try:
            if calibration == "absolute":
                gate = AbsoluteGate(
                    retrieval.n_train,
                    question,
                    mode=mode,
                    horizon=horizon,
                    real=retrieval.real,
                    train_evenness=self._train_evenness,
                )
            else:
                gate = CalibratedGate(
                    retrieval.real,
                    retrieval.n_train,
                    question,
                    calibration=calibration,
                    mode=mode,
                    horizon=horizon,
                    seed=seed,
                )
        except ValueError as error:
            raise UserError(f"{'reference' if calibration == 'reference' else 'train'}: {error}") from error
        return Judge(self, gate, retrieval)

    @cached_property
    def _train_evenness(self) -> float:
        return self.retrieval.evenness(self.settings.seed)

    def _set_aside(self, horizon: int | None) -> RealRetrievals:
        """Some training images play held-out ones: as many as the samples need, at most a fifth."""
        wanted = real_needed(HELD_OUT_FOR if horizon is None else horizon, self.keys.question.irs_target)
        count = min(wanted, int(MOST_SET_ASIDE * self.n_train))
        if count < 2:
            raise UserError(
                f"train: {self.n_train} distinct images are too few to set some aside; the gate needs 4 or more, or "
                "reference=... with held-out images"
            )
        if count not in self._aside:
            train: Any = self.roles["train"]
            order = shuffled_by_content(train.digests[self.retrieval.kept], self.settings.seed)
            self._aside = {count: self.retrieval.with_set_aside(count, order)}
        return self._aside[count]

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


@dataclass
class Judge:
    """One checkpoint before its gate: samples are measured, retrieve training images, and are counted."""

    yardstick: Yardstick
    gate: Gate
    retrieval: RealRetrievals
    copies: int = 0  # samples that are training images, by their features

    def retrieve(self, rows: Any) -> None:
        """Feeds the gate with the training images that rows (B, D) retrieve."""
        if not np.isfinite(rows).all():
            raise UserError("generated: features that are not finite; precision=float32 may mend it")
        places, copies = self.retrieval.nearest(rows)
        before = self.gate.n_sampled
        self.gate.update(places)
        self.copies += int(copies[: self.gate.n_sampled - before].sum())

    def draw(self, samples: Samples, *, whole: bool) -> bool:
        """Feeds the gate until it has decided (`whole`: until its horizon); whether the samples ended before.

        Where it may stop, no more samples are measured at a time than a decision takes at the least.
        """
        gate, settings = self.gate, self.yardstick.settings
        with Progress(settings.progress).bar("samples", gate.room or 0) as advance:
            while True:
                batch = self.yardstick.batch
                count = min(batch, gate.room or 0) if whole else gate.lookahead(batch)
                if count == 0:
                    return False
                rows = samples.take(count)
                if len(rows) == 0:
                    return True
                self.retrieve(rows)
                advance(len(rows))

    def run(self, samples: Samples, finished: bool, created: str, command: str, config: Any) -> GateRun:
        """The verdict with all that a report shows."""
        gate, yardstick = self.gate, self.yardstick
        if gate.n_sampled == 0:
            raise UserError(f"generated: {samples.describe().source} holds no image to judge")
        verdict = gate.verdict(finished=finished, seed=yardstick.settings.seed)
        train: Any = yardstick.roles["train"]
        kept = self.retrieval.kept
        pictures = {}
        if isinstance(train, ImageSet):
            read_train = picture_of(train)
            pictures = {"train": lambda place: read_train(int(kept[place])), "generated": samples.read}
        given, digests = samples.describe(), samples.digests[: gate.n_sampled]
        horizon = gate.horizon or gate.n_sampled
        ends = (horizon, min(horizon, 2 * gate.n_sampled))  # the second for an early decision's neighbourhood
        at = np.unique(np.concatenate([np.linspace(1, end, CURVE_POINTS).round().astype(int) for end in ends]))
        found: list[ReportWarning] = []
        images = getattr(samples, "images", None)  # samples that are streamed have no source to speak of
        if isinstance(images, ImageSet):
            found += source_warnings("generated", images)
        if isinstance(images, (ImageSet, FeatureSet)):
            found += subset_warnings({"generated": images}, {})
        return GateRun(
            verdict=verdict,
            at=at,
            boundary=gate.boundary(at),
            expectation=gate.expectation(at),
            copies=Copies(
                train=yardstick.copies,
                reference=yardstick.excluded,
                set_aside=len(self.retrieval.set_aside),
                samples=len(digests) - len(np.unique(digests, axis=0)),
                samples_in_train=self.copies,
            ),
            shuffled=samples.shuffled,
            created=created,
            command=command,
            config=config,
            seed=yardstick.settings.seed,
            roles={"generated": given, **{name: role_images(role) for name, role in yardstick.roles.items()}},
            measures=dict(yardstick.uses),
            warnings=[*yardstick.warnings, *found, *self._warnings(given)],
            names={"generated": samples.names, "train": Picked(train.names, kept)},
            pictures=pictures,
        )

    def _warnings(self, given: RoleImages) -> list[ReportWarning]:
        gate, yardstick, found = self.gate, self.yardstick, []
        if given.skipped:
            name, reason = given.skipped[0]
            message = f"generated: {len(given.skipped)} images were left out, first {name}, which {reason}."
            found.append(ReportWarning("images-skipped", None, message))
        if gate.limited and gate.horizon is not None:
            message = (
                f"At most {gate.horizon:,} samples are judged: n samples are held against n/irs_target real images, "
                f"and there are {len(self.retrieval.real if self.retrieval.real is not None else []):,}."
            )
            found.append(ReportWarning("limited-by-reference", None, message))
        reference = yardstick.roles.get("reference")
        if reference is not None and yardstick.excluded > REFERENCE_COPIES * len(reference):  # type: ignore[arg-type]
            message = (
                f"{yardstick.excluded:,} reference images are training images and not held out: they were left out."
            )
            found.append(ReportWarning("same-images", None, message))
        return found


def _counted(roles: Mapping[str, Role]) -> list[ReportWarning]:
    """Subsets, and copies within the reference; what copies in the training set do, the gate says itself."""
    counted = counted_roles(roles)
    return [
        *subset_warnings(counted, {}),
        *map(warning_of, copy_findings({name: role for name, role in counted.items() if name != "train"}, {})),
    ]
