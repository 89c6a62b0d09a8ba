"""What a report says of the images that were counted: random subsets, copies within a role, images of two roles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.audit import Finding
from genaudit.data.copies import shared
from genaudit.reports.report import ReportWarning, RoleImages
from genaudit.tasks.run.roles import ROLES, Role
from genaudit.tasks.run.settings import LIMIT_KEYS

# What images that two roles have in common do to the metrics that take both.
MEANING = {
    ("generated", "reference"): "generated images are compared with themselves, so that values look better than they "
    "are",
    ("generated", "train"): "the model repeats training images, or training images lie among the samples",
    ("reference", "train"): "the reference is not held out, and a model that copies cannot be distinguished from an "
    "honest one by it",
}
BOTH_SIDES = "they count on both sides"
COMPARED = ("generated", "reference")
SAME_SHARE = 0.5  # of the generated images: with so many of them in the reference, it is compared with itself


def role_images(role: Role) -> RoleImages:
    """A role as a report shows it."""
    if isinstance(role, Moments):
        return RoleImages(role.source, role.n or 0, role.digest)
    made = RoleImages(role.source, len(role), role.digest, duplicates=role.duplicates, available=role.available)
    if isinstance(role, ImageSet):
        made.skipped = [(image.name, image.reason) for image in role.skipped]
        made.converted, made.ignored = role.converted, role.ignored
    return made


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
    return [*copy_findings(counted, results), *_same_images(counted, {name: takes[name] for name in results})]


def counted_roles(roles: Mapping[str, Role]) -> dict[str, ImageSet | FeatureSet]:
    """The roles whose images can be counted: all but moments."""
    return {name: role for name, role in roles.items() if isinstance(role, (ImageSet, FeatureSet))}


def subset_warnings(
    roles: Mapping[str, ImageSet | FeatureSet], takes: Mapping[str, Mapping[str, bool]]
) -> list[ReportWarning]:
    """A subset of the generated images is fewer samples; one of another role changes what a value is defined by."""
    warnings = []
    for name, role in roles.items():
        if role.available is None:
            continue
        what = f"{name}: a random {len(role):,} of {role.available:,} {_noun(role)} ({LIMIT_KEYS[name]}={len(role)})"
        users = [metric for metric, taken in takes.items() if name in taken]
        if name == "generated" or not users:
            warnings.append(ReportWarning("limited", None, f"{what}."))
            continue
        message = f"{what}: the value is defined by these, and is not comparable with that of other {name} images."
        warnings += [ReportWarning("limited", metric, message) for metric in users]
    return warnings


def copy_findings(roles: Mapping[str, ImageSet | FeatureSet], results: Mapping[str, Any]) -> list[Finding]:
    """Copies within a role, and what they do to the values of the metrics that they make wrong."""
    findings = []
    for name, role in roles.items():
        count = role.duplicates
        if not count:
            continue
        broken = {metric: reasons[name] for metric, result in results.items()
                  if name in (reasons := getattr(result, "copies_break", {}))}  # fmt: skip
        what = f"{name}: {count:,} of {len(role):,} {_noun(role)} are exact copies of others of them"
        named = f"; they make {', '.join(broken)} wrong" if broken else ""
        message = f"{what}{named}. Intervals take every image for an independent one and are too narrow."
        message += "".join(f" {metric}: {reason}." for metric, reason in broken.items())
        findings.append(Finding("duplicates", (name,), message, tuple(broken)))
    return findings


def _same_images(roles: Mapping[str, ImageSet | FeatureSet], takes: Mapping[str, Mapping[str, bool]]) -> list[Finding]:
    findings = []
    for pair in itertools.combinations([name for name in ROLES if name in roles], 2):
        first, second = pair
        count = shared(roles[first].digests, roles[second].digests)
        if not count:
            continue
        users = tuple(metric for metric, taken in takes.items() if first in taken and second in taken)
        concerned = f" This concerns {', '.join(users)}." if users else ""
        message = (
            f"{count:,} of {len(roles[first]):,} {first} {_noun(roles[first])} are byte for byte also {second} "
            f"{_noun(roles[second])}: {MEANING.get(pair, BOTH_SIDES)}.{concerned}"
        )
        breaks = pair == COMPARED and count >= SAME_SHARE * len(roles[first])
        findings.append(Finding("same-images", pair, message, users, breaks))
    return findings


def _noun(role: ImageSet | FeatureSet) -> str:
    return "images" if isinstance(role, ImageSet) else "feature rows"
