"""What a report says of the images that were counted: random subsets, copies within a role, images of two roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaudit.data import FeatureSet, ImageSet
from genaudit.data.audit import Finding
from genaudit.data.audit.copies import duplicates, same_images
from genaudit.metrics.result import ROLES, base_name
from genaudit.reports.report import ReportWarning
from genaudit.tasks.run.auditing import concerned_by
from genaudit.tasks.run.roles import Role
from genaudit.tasks.run.settings import LIMIT_KEYS


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
