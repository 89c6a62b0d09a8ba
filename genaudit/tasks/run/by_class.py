"""`by=class`: every class judged as a run of its own images, on the rows that the run has measured anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.columns import CLASS
from genaudit.errors import UserError
from genaudit.metrics.result import base_name
from genaudit.reports.classes import Classes, OneClass
from genaudit.reports.report import MetricEntry, Report, ReportWarning
from genaudit.stats.class_balance import Accuracy, accuracy, class_balance
from genaudit.stats.class_names import outputs_of
from genaudit.tasks.run.floors import floor_of
from genaudit.tasks.run.judging import MetricSpec, judge
from genaudit.tasks.run.measuring import Measurements
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role, role_images
from genaudit.tasks.run.settings import Settings
from genaudit.verdict.by_class import class_verdicts, worst_first

LEAST = 20  # images of generated and of the real role: with fewer a floor rests on parts of fewer than 15
HOW = (
    "sub-folders, a label column of a .csv, `labels` or `arr_1` of an .npz, WebDataset's .cls or a label column of a "
    "Hugging Face dataset name classes"
)
Members = dict[str, dict[str, np.ndarray]]  # class => role => places


def check_classes(roles: Mapping[str, Role], specs: Mapping[str, MetricSpec]) -> None:
    """Whether the roles can be split by class, before anything is measured.

    Raises:
        UserError: generated or reference images without classes, no class in common, or no metric that is judged by
            class.
    """
    for role in ("generated", "reference"):
        if isinstance(roles.get(role), Moments):
            raise UserError(f"by=class: {role} holds only mean and covariance; images or features are needed")
    labels = _labels(roles)
    lacking = next((role for role in ("generated", "reference") if role in roles and role not in labels), None)
    if lacking:
        raise UserError(f"by=class: {lacking} names no classes: {HOW}")
    against = _against(labels)
    if against is None:
        raise UserError("by=class: reference= (or train=) must name the classes of real images")
    ours, real = set(labels["generated"]) - {""}, set(labels[against]) - {""}
    if not ours & real:
        raise UserError(
            f"by=class: generated and {against} have no class in common ({_some(ours)}; {_some(real)}); both must use "
            "the same names"
        )
    if not any(spec.by_class for spec in specs.values()):
        raise UserError(
            f"by=class: none of {', '.join(specs)} is judged by class; metric=[kd,prdc,irs,authpct,as] are, since they "
            "are sound with few images"
        )


def class_column(roles: Mapping[str, Role]) -> dict[str, Any]:
    """The column of images.csv."""
    return {"class": _labels({"generated": roles["generated"]})["generated"]}


def judge_classes(
    specs: Mapping[str, MetricSpec],
    measurements: Measurements,
    warnings: Sequence[ReportWarning],
    settings: Settings,
    progress: Progress,
) -> Classes:
    """Every class with its metrics, verdict, share and accuracy, the worst first.

    Args:
        specs: the metrics of the run that were computed. warnings: of the run; those of no metric hold for each class.
    """
    labels = _labels(measurements.roles)
    members, against = _members(labels), _against(labels)
    fresh = {
        measure: _groups(_labels({"train": role}).get("train", [])) for measure, (role, _) in measurements.fresh.items()
    }
    assert against is not None
    names = sorted(members, key=_natural)
    balances, balance = _balance(members, names, against, settings.seed)
    shares = dict(zip(names, balances, strict=True))
    recognised, classifier, remark = _recognised(measurements, members, names, settings)
    takes = {name: spec for name, spec in specs.items() if spec.by_class}
    enough = [name for name in names if _enough(members[name], against)]
    judged: list[OneClass] = []
    documents: list[dict[str, Any]] = []
    general = [warning for warning in warnings if warning.metric is None]
    with progress.bar("judge classes", len(enough), unit="classes") as advance:
        for name in enough:
            places = {measure: groups.get(name) for measure, groups in fresh.items()}
            rows = _of_class(members[name], measurements, places)
            judged_class, document = _one(_plain(name, members[name]), rows, takes, general, settings)
            judged.append(judged_class)
            documents.append(document)
            advance(1)
    verdicts = class_verdicts(documents)

    def complete(judged: OneClass, **more: Any) -> OneClass:
        return OneClass(**{**vars(judged), **shares[judged.name], "accuracy": recognised.get(judged.name), **more})

    ordered = [
        complete(judged[place], verdict=verdicts[place][0], pvalues=verdicts[place][1])
        for place in worst_first(verdicts)
    ]
    few = [complete(_plain(name, members[name])) for name in names if name not in set(enough)]
    unlabelled = {role: names.count("") for role, names in labels.items()}
    return Classes(
        classes=ordered,
        few=few,
        least=LEAST,
        against=against,
        balance=balance,
        unlabelled={role: count for role, count in unlabelled.items() if count},
        remarks=[*_remarks(specs, measurements.roles, labels), *([remark] if remark else [])],
        classifier=classifier,
    )


def _one(
    plain: OneClass,
    own: Measurements,
    specs: Mapping[str, MetricSpec],
    warnings: Sequence[ReportWarning],
    settings: Settings,
) -> tuple[OneClass, dict[str, Any]]:
    """A class with its entries, and as the run that `verdict` reads; `own` holds its images alone."""
    entries: dict[str, MetricEntry] = {}
    skipped: dict[str, str] = {}
    for metric, spec in specs.items():
        lacking = [role for role, required in spec.role_parameters.items() if required and role not in own.roles]
        entry = f"needs {lacking[0]} images of this class" if lacking else judge(spec, own, settings)
        if isinstance(entry, str):
            skipped[metric] = entry
            continue
        entry.real = floor_of(spec, own, settings, support=False)  # of which no verdict asks
        entries[metric] = entry
    roles = {role: role_images(each, None, own.roles.get("train")) for role, each in own.roles.items()}
    report = Report("", "", {}, {}, settings.seed, roles, {}, entries, skipped, list(warnings))
    return OneClass(plain.name, plain.n, plain.members, entries, skipped), report.to_dict()


def _plain(name: str, members: Mapping[str, np.ndarray]) -> OneClass:
    return OneClass(name, {role: len(places) for role, places in members.items()}, members)


def _of_class(
    members: Mapping[str, np.ndarray], measurements: Measurements, fresh: Mapping[str, np.ndarray | None]
) -> Measurements:
    """The images of a class with their rows; roles that name no classes are left out.

    Args:
        fresh: the places of the class among the training images that no metric takes, by measure.
    """
    own = Measurements({role: _subset(measurements.roles[role], places) for role, places in members.items()})
    for measure, by_role in measurements.rows.items():
        own.rows[measure] = {role: np.asarray(by_role[role][members[role]]) for role in by_role if role in members}
    for measure, beside in measurements.attachments.items():
        own.attachments[measure] = {
            role: {name: each.subset(members[role]) for name, each in beside[role].items()}
            for role in beside
            if role in members
        }
    for measure, (role, rows) in measurements.fresh.items():
        places = fresh.get(measure)
        if places is not None:
            own.fresh[measure] = _subset(role, places), np.asarray(rows[places])
    return own


def _subset(role: Role, places: np.ndarray) -> Role:
    assert isinstance(role, (ImageSet, FeatureSet))
    return role.subset(places)


def _labels(roles: Mapping[str, Role]) -> dict[str, list[str]]:
    """The class of each image, by role, for the roles that name classes; it is read here, once."""
    columns = {role: None if isinstance(images, Moments) else images.column(CLASS) for role, images in roles.items()}
    return {role: labels for role, labels in columns.items() if labels is not None}


def _groups(labels: Sequence[str]) -> dict[str, np.ndarray]:
    """The places of the images of each class."""
    if not labels:
        return {}
    names, numbers = np.unique(np.array(labels), return_inverse=True)
    order, ends = np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers, minlength=len(names)))
    return {name: places for name, places in zip(names.tolist(), np.split(order, ends[:-1]), strict=True) if name}


def _members(labels: Mapping[str, Sequence[str]]) -> Members:
    """The places of each class's images in each role that names classes."""
    members: Members = {}
    for role in ("generated", "reference", "train"):
        for name, places in _groups(labels.get(role, ())).items():
            members.setdefault(name, {})[role] = places
    return members


def _against(labels: Mapping[str, Sequence[str]]) -> str | None:
    """The real role whose classes the generated ones are compared with."""
    return next((role for role in ("reference", "train") if role in labels), None)


def _enough(members: Mapping[str, np.ndarray], against: str) -> bool:
    return all(len(members.get(role, ())) >= LEAST for role in ("generated", against))


def _balance(members: Members, names: Sequence[str], against: str, seed: int) -> tuple[list[dict[str, Any]], Any]:
    """Each class's shares with the p-value of their difference, and the test of all."""
    counts = np.array([[len(members[name].get(role, ())) for name in names] for role in ("generated", against)])
    if len(names) < 2 or (counts.sum(axis=1) == 0).any():
        return [{} for _ in names], None
    balance = class_balance(*counts, seed=seed)
    rows = [
        {"share": float(ours), "real_share": float(real), "balance_pvalue": float(pvalue)}
        for (ours, real), pvalue in zip(balance.shares, balance.pvalues, strict=True)
    ]
    return rows, balance


def _recognised(
    measurements: Measurements, members: Members, names: Sequence[str], settings: Settings
) -> tuple[dict[str, Accuracy], str, str]:
    """Each class's accuracy by the logits of the run, what the classifier is, and why there is none."""
    name = next((name for name in measurements.rows if name.startswith("logits")), None)
    if name is None:
        return {}, "", ""
    rows = measurements.rows[name]
    outputs, how = outputs_of(names, int(rows["generated"].shape[1]))
    if outputs is None:
        return {}, "", f"No accuracy by {name}: {how}."
    predicted = {role: np.asarray(logits[:]).argmax(axis=1) for role, logits in rows.items()}
    accuracies = {}
    for class_name in names:
        places = members[class_name]
        right = {
            role: (int((predicted[role][places[role]] == outputs[class_name]).sum()), len(places[role]))
            for role in ("generated", "reference")
            if role in predicted and role in places
        }
        if "generated" in right:
            accuracies[class_name] = accuracy(*right["generated"], right.get("reference"), settings.confidence)
    return accuracies, f"{name}, {how}", ""


def _remarks(specs: Mapping[str, MetricSpec], roles: Mapping[str, Role], labels: Mapping[str, Any]) -> list[str]:
    """What is not judged by class, and why."""
    remarks = []
    not_by_class = [name for name, spec in specs.items() if not spec.by_class]
    if not_by_class:
        remark = f"Not judged by class: {', '.join(not_by_class)}."
        if {base_name(name) for name in not_by_class} & {"fd", "mifid", "sfd"}:
            remark += (
                " A Fr\N{LATIN SMALL LETTER E WITH ACUTE}chet distance of few images is mostly bias; kd is unbiased."
            )
        remarks.append(remark)
    if "train" in roles and "train" not in labels:
        users = [name for name, spec in specs.items() if spec.by_class and "train" in spec.role_parameters]
        if users:
            remarks.append(f"train names no classes: {', '.join(users)} by class cannot use it.")
    return remarks


def _natural(name: str) -> tuple[bool, int, str]:
    """Numbers by value, before words."""
    digits = name.isdecimal()
    return not digits, int(name) if digits else 0, name


def _some(names: set[str]) -> str:
    shown = sorted(names, key=_natural)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "") if shown else "none"
