"""What a checkpoint's report shows: the verdict, the curves around it, copies, warnings and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, ImageSet
from genaudit.errors import UserError
from genaudit.metrics.gate import Gate
from genaudit.reports.gate import Copies, GateRun
from genaudit.reports.report import ReportWarning, RoleImages
from genaudit.tasks.gate.judge import Judge
from genaudit.tasks.gate.retrieval import Picked
from genaudit.tasks.gate.samples import Samples
from genaudit.tasks.run.auditing import subset_warnings
from genaudit.tasks.run.measuring import source_warnings
from genaudit.tasks.run.roles import picture_of, role_images

REFERENCE_COPIES = 0.01  # a larger share of held-out images that are training images is said in the decision
CURVE_POINTS = 128


def gate_run(judge: Judge, samples: Samples, finished: bool, created: str, command: str, config: Any) -> GateRun:
    """The verdict with all that a report shows.

    Raises:
        UserError: no sample was judged.
    """
    gate, yardstick = judge.gate, judge.yardstick
    if gate.n_sampled == 0:
        raise UserError(f"generated: {samples.describe().source} holds no image to judge")
    train: Any = yardstick.roles["train"]
    described, digests = samples.describe(), samples.digests[: gate.n_sampled]
    at = _curve_points(gate)
    return GateRun(
        verdict=gate.verdict(finished=finished, seed=yardstick.settings.seed),
        at=at,
        boundary=gate.boundary(at),
        expectation=gate.expectation(at),
        copies=Copies(
            train=yardstick.copies,
            reference=yardstick.gates.excluded,
            set_aside=len(judge.retrieval.set_aside),
            samples=len(digests) - len(np.unique(digests, axis=0)),
            samples_in_train=judge.copies,
        ),
        shuffled=samples.shuffled,
        created=created,
        command=command,
        config=config,
        seed=yardstick.settings.seed,
        roles={"generated": described, **{name: role_images(role) for name, role in yardstick.roles.items()}},
        measures=dict(yardstick.uses),
        warnings=[*yardstick.warnings, *_of_samples(samples, described), *_of_reference(judge)],
        names={"generated": samples.names, "train": Picked(train.names, judge.retrieval.kept)},
        pictures=_pictures(judge, samples),
    )


def _curve_points(gate: Gate) -> np.ndarray:
    """Numbers of samples at which the gate's bounds are drawn."""
    horizon = gate.horizon or gate.n_sampled
    ends = (horizon, min(horizon, 2 * gate.n_sampled))  # the second for an early decision's neighbourhood
    return np.unique(np.concatenate([np.linspace(1, end, CURVE_POINTS).round().astype(int) for end in ends]))


def _pictures(judge: Judge, samples: Samples) -> dict[str, Callable[[int], np.ndarray]]:
    train, kept = judge.yardstick.roles["train"], judge.retrieval.kept
    if not isinstance(train, ImageSet):
        return {}
    read_train = picture_of(train)
    return {"train": lambda place: read_train(int(kept[place])), "generated": samples.read}


def _of_samples(samples: Samples, described: RoleImages) -> list[ReportWarning]:
    """What is to be said of the source of the samples, and of those that were left out."""
    warnings: list[ReportWarning] = []
    images = getattr(samples, "images", None)  # samples that are streamed have no source to speak of
    if isinstance(images, ImageSet):
        warnings += source_warnings("generated", images)
    if isinstance(images, (ImageSet, FeatureSet)):
        warnings += subset_warnings({"generated": images}, {})
    if described.skipped:
        name, reason = described.skipped[0]
        message = f"generated: {len(described.skipped)} images were left out, first {name}, which {reason}."
        warnings.append(ReportWarning("images-skipped", None, message))
    return warnings


def _of_reference(judge: Judge) -> list[ReportWarning]:
    """What the reference cannot do: too few images for more samples, or images that are not held out."""
    warnings, gate, yardstick = [], judge.gate, judge.yardstick
    if gate.limited and gate.horizon is not None:
        real = judge.retrieval.real
        message = (
            f"At most {gate.horizon:,} samples are judged: n samples are held against n/irs_target real images, "
            f"and there are {0 if real is None else len(real):,}."
        )
        warnings.append(ReportWarning("limited-by-reference", None, message))
    reference, excluded = yardstick.roles.get("reference"), yardstick.gates.excluded
    if reference is not None and excluded > REFERENCE_COPIES * len(reference):  # type: ignore[arg-type]
        message = f"{excluded:,} reference images are training images and not held out: they were left out."
        warnings.append(ReportWarning("same-images", None, message))
    return warnings
