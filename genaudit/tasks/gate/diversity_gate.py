"""`genaudit.DiversityGate`: the gate from Python, inside a training loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.data import FeatureSet, ImageSet
from genaudit.data.arrays import numbers_of
from genaudit.errors import UserError, reason_of
from genaudit.measures.measure import features_fingerprint
from genaudit.metrics.gate import Gate, Verdict
from genaudit.reading import read_json
from genaudit.reports.gate import GateRun
from genaudit.reports.report import RoleImages
from genaudit.stats.arrays import out_of_range
from genaudit.store.stream import RowStream
from genaudit.tasks.gate.judge import Judge
from genaudit.tasks.gate.result import gate_run
from genaudit.tasks.gate.samples import SetSamples
from genaudit.tasks.gate.yardstick import Yardstick
from genaudit.tasks.run.environment import now, resolved
from genaudit.tasks.run.from_python import as_override, compose, described
from genaudit.tasks.run.guest import guest
from genaudit.tasks.run.roles import open_role

KEPT_PICTURES = 4096  # samples whose pixels are kept for the page


class DiversityGate:
    """Decides batch by batch whether a model reaches the diversity that was asked for.

        gate = genaudit.DiversityGate("train/", irs_target=0.8, n_max=2000)
        while not gate.decided:
            verdict = gate.update(model.sample(64))      # (B, C, H, W) in [0, 1]
        verdict.decision                                 # "accept", "reject" or "undecided"

    The training set is measured once; `reset` starts the next checkpoint. Images are measured only as far as the
    decision needs them. The test is sequential: it may be looked at after every batch.

    Args:
        train: what `genaudit.evaluate` takes, or embeddings (N, D).
        reference: held-out real images (or embeddings); without them some training images are set aside and play them.
        irs_target: share of what real images reach that the model must reach, in (0, 1]. With `absolute=True` a
            share of the training set, under uniform draws.
        alpha: probability at most of rejecting a model that does, in (0, 0.5).
        n_max: the most samples that will be drawn for a checkpoint. Without it as many are judged as the real images
            allow: `irs_target` times their number.
        feature_model: its name. **keys: the command line's keys, as `device="cuda"`, `store="rows/"`, `seed=1`.

    Raises:
        genaudit.UserError: what the command line exits with code 2 for.
    """

    def __init__(
        self,
        train: Any,
        *,
        reference: Any = None,
        irs_target: float = 0.8,
        alpha: float = 0.05,
        n_max: int | None = None,
        feature_model: str | None = None,
        **keys: Any,
    ) -> None:
        if keys.get("limit") is not None:
            raise UserError(f"limit={keys['limit']}: a gate that is fed batches takes n_max={keys['limit']}")
        for key in ("generated", "n_samples", "out"):
            if keys.get(key) is not None:
                raise UserError(f"{key}={keys[key]}: a gate that is fed batches takes none")
        keys = {"irs_target": irs_target, "alpha": alpha, "n_max": n_max, "mode": "sequential", **keys}
        overrides = [f"{key}={as_override(value)}" for key, value in keys.items()]
        overrides += [f"feature_model={feature_model}"] if feature_model else []
        sources = {"train": _source(train, "train"), "reference": _source(reference, "reference")}
        given = {"train": train, "reference": reference}
        overrides += [f"{k}={as_override(described(v))}" for k, v in given.items() if v is not None]
        with guest():
            self._cfg = compose("reject", overrides)
            self._yardstick = Yardstick.prepare(self._cfg, sources)
        self._stream: RowStream | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets the samples: the next checkpoint's gate, with the same target."""
        self._judge = Judge.of(self._yardstick, "sequential", None)
        self._names: list[str] = []
        self._digests: list[np.ndarray] = []
        self._pictures: dict[int, np.ndarray] = {}

    @property
    def _gate(self) -> Gate:
        return self._judge.gate

    @property
    def decided(self) -> bool:
        """Whether further samples cannot change the decision, or none will be judged."""
        return self._gate.decided or self._gate.room == 0

    @property
    def n_max(self) -> int | None:
        """The most samples of a checkpoint that are judged; None for no limit."""
        return self._gate.horizon

    @property
    def n_sampled(self) -> int:
        return self._gate.n_sampled

    def update(self, batch: Any) -> Verdict:
        """Measures and counts the next samples, as far as the decision needs them.

        Args:
            batch: images, a NumPy array (B, H, W, C) uint8 or a torch tensor (B, C, H, W) uint8 or float in [0, 1] (one
                picture may lack B);
                or embeddings (B, D) of the feature model that `train` was measured with.

        Returns:
            The verdict so far.
        """
        if not self.decided:
            with guest():
                if len(getattr(batch, "shape", ())) == 2:
                    self._update_rows(batch)
                else:
                    self._update_images(batch)
        return self.verdict()

    def _update_rows(self, batch: Any) -> None:
        rows = numbers_of(batch, "generated")
        if rows.dtype.kind != "f":
            raise UserError(
                f"generated: a batch of shape {rows.shape} and type {rows.dtype}; embeddings (B, D) are floats, and "
                "one grey image is (1, 1, H, W)"
            )
        before = self.n_sampled
        self._judge.retrieve(rows)
        taken = self.n_sampled - before
        self._names += [f"sample {index}" for index in range(before, self.n_sampled)]
        self._digests.append(_row_digests(rows[:taken]))

    def _update_images(self, batch: Any) -> None:
        if self._yardstick.measure is None:
            raise UserError("generated: train holds embeddings, so batches must be embeddings (B, D) too")
        images = open_role("generated", batch, self._yardstick.settings)
        assert isinstance(images, ImageSet)
        if self._stream is None:  # kept: reading the store and loading the network again would cost more than a batch
            settings = self._yardstick.settings
            self._stream = RowStream(self._yardstick.store, self._yardstick.measure, settings.engine).__enter__()
        samples = SetSamples(images, np.arange(len(images)), stream=self._stream, shuffled=False)
        before = self.n_sampled
        try:
            self._judge.draw(samples, whole=False)
        finally:
            self._stream.flush()
        self._digests.append(samples.digests[: self.n_sampled - before])
        for place in range(self.n_sampled - before):
            self._names.append(f"sample {before + place}")
            if len(self._pictures) < KEPT_PICTURES:
                self._pictures[before + place] = samples.read(place)

    def verdict(self, *, finished: bool = False) -> Verdict:
        """The decision after the samples so far; `finished`: no more will come (needed where `n_max` is not given).

        Raises:
            ValueError: no sample yet.
        """
        with guest():
            return self._gate.verdict(finished=finished, seed=self._yardstick.settings.seed)

    def write(self, out: str | Path, *, finished: bool = True) -> dict[str, Path]:
        """Writes decision.json and decision.html into the folder `out`; returns their paths by name."""
        return self._run(finished).write(out)

    def _run(self, finished: bool) -> GateRun:
        digests = np.concatenate([np.empty((0, 16), np.uint8), *self._digests])
        shown = _Shown(self._names, self._pictures, digests)
        run = gate_run(self._judge, shown, finished, now(), "genaudit.DiversityGate", resolved(self._cfg))
        if self._stream is not None:
            name, stream = self._yardstick.measure.name, self._stream
            use = run.measures[name]
            run.measures[name] = replace(
                use, computed=use.computed + stream.computed, reused=use.reused + stream.reused
            )
        return run

    def state_dict(self) -> dict[str, Any]:
        """The samples so far and what they were compared with, as plain numbers, strings and lists."""
        return {"train": self._train_digest(), "measure": self._fingerprint(), "gate": self._gate.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called.

        Raises:
            UserError: the state is of another training set, feature model or target.
        """
        if not isinstance(state, Mapping) or not isinstance(state.get("gate"), Mapping):
            raise UserError("the state is no saved gate: expected what state_dict() returned")
        current = {"train": self._train_digest(), "measure": self._fingerprint()}
        for name, value in current.items():
            if state.get(name) != value:
                what = "training set" if name == "train" else "feature model or precision"
                raise UserError(f"the saved gate belongs to another {what}; DiversityGate needs the same one again")
        self.reset()
        try:
            self._gate.load_state_dict(state["gate"])
        except ValueError as error:
            raise UserError(f"the saved gate does not fit this one: {error}") from error
        self._names = [f"sample {index}" for index in range(self.n_sampled)]

    def save(self, path: str | Path) -> None:
        """Writes the state to a JSON file, complete or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        try:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(self.state_dict()))
        except OSError as error:
            raise UserError(f"{path}: the gate cannot be saved there ({error.strerror})") from error

    def load(self, path: str | Path) -> None:
        """Reads the state that `save` wrote.

        Raises:
            UserError: not such a file, or of another gate.
        """
        try:
            state = read_json(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no saved gate ({reason_of(error)})") from error
        if not isinstance(state, dict):
            raise UserError(f"{path} is no saved gate")
        self.load_state_dict(state)

    def _train_digest(self) -> str:
        train: Any = self._yardstick.roles["train"]
        return str(train.digest)

    def _fingerprint(self) -> str:
        measure = self._yardstick.measure
        return "" if measure is None else features_fingerprint(measure, self._yardstick.settings.engine.precision)


class _Shown:
    """The samples that were fed in, as a report asks for them."""

    shuffled = False  # a training loop's samples are judged as they come

    def __init__(self, names: list[str], pictures: dict[int, np.ndarray], digests: np.ndarray) -> None:
        self.names, self.pictures, self.digests = names, pictures, digests

    def take(self, count: int) -> np.ndarray:
        raise NotImplementedError

    def read(self, index: int) -> np.ndarray:
        return self.pictures[index]

    def describe(self) -> Any:

        return RoleImages("samples", len(self.names), "")


def _source(source: Any, role: str) -> Any:
    """Embeddings (N, D) as features that were given; anything else as it is."""
    if len(getattr(source, "shape", ())) != 2:
        return source
    rows = numbers_of(source, role)
    if rows.dtype.kind != "f" or 0 in rows.shape:
        raise UserError(
            f"{role}: embeddings (N, D) must be floating-point numbers, one row and one column or more, got shape "
            f"{rows.shape} and type {rows.dtype}"
        )
    if fault := out_of_range(rows, whole=True):
        raise UserError(f"{role} {fault}")
    names = [f"{role}[{i}]" for i in range(len(rows))]
    return FeatureSet(f"embeddings {rows.shape}", names, rows, _row_digests(rows))


def _row_digests(rows: np.ndarray) -> np.ndarray:
    """Contents of rows (B, D), (B, 16) uint8."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(rows)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(rows), 16)
