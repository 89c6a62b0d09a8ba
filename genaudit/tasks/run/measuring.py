"""Rows of every role for every measure that the metrics ask for, and the plan of it that is said before.

Damaged images leave all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, ImageSet
from genaudit.data.ignored import is_loss
from genaudit.errors import UserError
from genaudit.measures.measure import Measure, attachments_of, features_fingerprint, fingerprint
from genaudit.measures.runners import PYTORCH
from genaudit.reports.report import MeasureUse, ReportWarning
from genaudit.stats.arrays import out_of_range
from genaudit.store import Engine, Rows, Store
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role

# Rows up to this size are handed to the metrics in memory, larger ones are read from disk block by block.
IN_MEMORY_BYTES = 256 << 20
GIVEN = "features (given)"


@dataclass
class Measurements:
    """Roles after damaged images were left out, their rows by measure name and role, and their provenance.

    `attachments`: of measures that have some, by measure name and role: name => an array that is read when asked for.
    """

    roles: dict[str, Role]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    attachments: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    uses: dict[str, MeasureUse] = field(default_factory=dict)
    warnings: list[ReportWarning] = field(default_factory=list)
    fresh: dict[str, tuple[Role, Any]] = field(default_factory=dict)  # training images that no metric takes, by measure


def measure_roles(
    roles: Mapping[str, Role],
    measures: Mapping[str, Measure],
    needed: Mapping[str, set[str]],
    store: Store,
    engine: Engine,
    ranks: Ranks,
    progress: Progress,
) -> Measurements:
    """Measures every role with every measure that a metric needs of it.

    Args:
        roles: what was opened. measures: by name.
        needed: measure name => the roles whose rows some metric takes.
    """
    done = Measurements(dict(roles))
    for role, images in roles.items():
        if isinstance(images, FeatureSet):
            done.rows.setdefault(GIVEN, {})[role] = images.features
            done.uses[GIVEN] = MeasureUse("", None, 0, 0, 0.0)
        elif isinstance(images, ImageSet):
            taken = {name: measure for name, measure in measures.items() if role in needed[name]}
            if taken:
                _measure_role(done, role, taken, store, engine, ranks, progress)
    for name, by_role in done.rows.items():
        for role, rows in by_role.items():
            by_role[role] = _checked(rows, role, name)
    return done


def _measure_role(
    done: Measurements,
    role: str,
    measures: Mapping[str, Measure],
    store: Store,
    engine: Engine,
    ranks: Ranks,
    progress: Progress,
) -> None:
    """One pass over a role's images for all its measures; images that are damaged leave all of them."""
    images = done.roles[role]
    assert isinstance(images, ImageSet)
    every = list(measures.values())
    for name, measure in measures.items():
        weights, key = measure.weights_sha256 or None, fingerprint(measure, engine.precision)
        done.uses.setdefault(name, MeasureUse(key, weights, 0, 0, 0.0, _about(measure, engine.precision)))
    label = next(iter(measures)) if len(measures) == 1 else f"{len(measures)} measures"
    computed = [0] * len(every)
    while True:
        measured = store.measure_all(
            images,
            every,
            engine,
            share=(ranks.rank, ranks.count),
            agree=ranks.agree,
            advance=lambda total: progress.bar(f"{label}, {role}", total, work=progress.plan.parts.get(role)),
        )
        if ranks.count > 1:
            totals = ranks.totals([row_set.computed for row_set in measured])  # which waits for all
            # Reads what the others measured. Their damaged images are still missing: all ranks find the same ones here.
            mine, measured = measured, store.measure_all(images, every, engine)
            for row_set, before, together in zip(measured, mine, totals, strict=True):
                row_set.computed += together
                row_set.seconds += before.seconds
        for place, (name, row_set) in enumerate(zip(measures, measured, strict=True)):
            computed[place] += row_set.computed
            done.uses[name].seconds += row_set.seconds
            for torn in row_set.torn:
                message = (
                    f"A shard of the row store was damaged and set aside; its images were measured again ({torn})."
                )
                done.warnings.append(ReportWarning("torn-shard", None, message))
        if not measured[0].damaged:
            break
        images = images.without(measured[0].damaged)
    done.roles[role] = images
    for name, new, row_set in zip(measures, computed, measured, strict=True):
        assert row_set.rows is not None
        done.uses[name].computed += new
        done.uses[name].reused += len(images) - new
        done.rows.setdefault(name, {})[role] = row_set.rows
        if attachments_of(measures[name]):
            done.attachments.setdefault(name, {})[role] = row_set.rows.attachments


def _about(measure: Measure, precision: str) -> dict[str, Any]:
    model = getattr(measure, "feature_model", None)
    about: dict[str, Any] = {"columns": list(measure.columns)} if measure.columns else {}
    if model is not None:
        about |= {"feature_model": model.name, "weights": model.weights.source, "resize": model.recipe.describe()}
        about["preprocessing"] = str(model.recipe)
    if (engine := getattr(measure, "engine", PYTORCH)) != PYTORCH:
        about |= {"engine": engine, "features": features_fingerprint(measure, precision)}
    if note := getattr(measure, "engine_note", ""):
        about["engine_note"] = note
    return about | {k: v for k, v in getattr(measure, "settings", {}).items()}


def _checked(rows: Rows | np.ndarray, role: str, name: str) -> Any:
    """Rows in memory where they fit; features must be finite."""
    if isinstance(rows, Rows):
        if rows.shape[0] * rows.shape[1] * 4 > IN_MEMORY_BYTES:
            return rows
        columns = rows.columns
        rows = np.asarray(rows)
        if columns is None and not np.isfinite(rows).all():
            count = int((~np.isfinite(rows).all(1)).sum())
            raise UserError(
                f"{role}: {name} gave features that are not finite for {count} images; "
                "precision=float32 or a checkpoint with finite weights is needed"
            )
        if columns is None and (fault := out_of_range(rows, whole=True)):
            raise UserError(f"{role}: the features that {name} gave: the set {fault}")
    return rows


def weights_warnings(measures: Mapping[str, Measure], metrics: Mapping[str, set[str]]) -> list[ReportWarning]:
    """What must be said of the feature models behind the measures; `metrics` names each metric's measures."""
    warnings = []
    for name, measure in measures.items():
        model = getattr(measure, "feature_model", None)
        if model is not None and not model.weights.trained:
            message = (
                f"{model.name} has random weights. Distances between its features compare the overall composition of "
                "images; use it for IRS, and a trained model for judging quality."
            )
            warnings.append(ReportWarning("untrained-feature-model", None, message))
        if model is not None and not model.as_validated and name.startswith("anomaly"):
            message = (
                f"The authors of the anomaly score validated it on ViT-S, ConvNeXt-T and DINOv2, not on {model.name}: "
                "AS and AS-i can be computed with it, but whether they rank models or images as people do is not known."
            )
            users = [metric for metric, used in metrics.items() if name in used]
            warnings += [ReportWarning("feature-model-not-validated", metric, message) for metric in users]
    return warnings


def source_warnings(role: str, images: ImageSet) -> list[ReportWarning]:
    """What the source of a role left out that may be images, and what else is to be known of it."""
    lost = {reason: count for reason, count in images.ignored.items() if is_loss(reason)}
    warnings = []
    if lost:
        listed = "; ".join(f"{count:,}: {reason}" for reason, count in sorted(lost.items(), key=lambda item: -item[1]))
        message = f"{role}: {sum(lost.values()):,} that may be images are not used ({listed})."
        warnings.append(ReportWarning("images-ignored", None, message))
    if images.turned:
        message = (
            f"{role}: {images.turned:,} images carry an EXIF orientation, which is applied: they are measured upright, "
            "as viewers show them. Tools that ignore it (pytorch-fid, clean-fid, torch-fidelity) see them turned."
        )
        warnings.append(ReportWarning("orientation-applied", None, message))
    return warnings + [ReportWarning(note.code, None, f"{role}: {note.text}.") for note in images.notes]


def skipped_images(roles: Mapping[str, Role]) -> list[ReportWarning]:
    """A warning for each role that images were left out of, or of which something else must be said."""
    warnings = []
    for role, images in roles.items():
        if isinstance(images, ImageSet):
            warnings += source_warnings(role, images)
        if isinstance(images, ImageSet) and images.skipped:
            first = images.skipped[0]
            message = f"{role}: {len(images.skipped)} images were left out, first {first.name}, which {first.reason}."
            warnings.append(ReportWarning("images-skipped", None, message))
    return warnings


@dataclass(frozen=True)
class Part:
    """A measure of a role's images: `lacking` of `count` have no row yet; `passes` of a network an image."""

    measure: str
    role: str
    lacking: int
    count: int
    passes: float


@dataclass(frozen=True)
class WorkPlan:
    """All parts of a run, in the order of the roles."""

    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        roles: Mapping[str, Role],
        measures: Mapping[str, Measure],
        needed: Mapping[str, set[str]],
        store: Store,
        engine: Engine,
    ) -> WorkPlan:
        """The plan of what `measure_roles` does with the same arguments."""
        return cls(
            tuple(
                Part(name, role, store.lacking(images, measure, engine), len(images), passes_of(measure))
                for role, images in roles.items()
                if isinstance(images, ImageSet)
                for name, measure in measures.items()
                if role in needed[name]
            )
        )

    def of_roles(self) -> dict[str, float]:
        """Passes of a network over an image, by role: a role's images are measured by all measures at once."""
        by_role: dict[str, float] = {}
        for part in self.parts:
            by_role[part.role] = by_role.get(part.role, 0.0) + part.lacking * part.passes
        return by_role

    def lines(self) -> list[str]:
        """A line for each measure that some images lack; none where all rows are in the store."""
        lines = []
        for measure in dict.fromkeys(part.measure for part in self.parts):
            parts = [part for part in self.parts if part.measure == measure]
            if not any(part.lacking for part in parts):
                continue
            passes = parts[0].passes
            work = "" if passes == 1 else f", about {passes:,.0f} passes of the network an image"
            listed = ", ".join(
                f"{part.count:,} {part.role}"
                + (f" ({stored:,} in the store)" if (stored := part.count - part.lacking) else "")
                for part in parts
            )
            lines.append(f"measures {measure} of {listed} images{work}")
        return lines


def passes_of(measure: Measure) -> float:
    """How much longer a measure takes than one pass of its network; a measure says so by `passes`."""
    return float(getattr(measure, "passes", 1.0))
