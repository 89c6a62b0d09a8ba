"""The table of how each role's images were stored and what their pixels show, for the console and the page.

It is made of `images.ROLE` of report.json, so that a finished run shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genaudit.reports.digits import show, show_mode
from genaudit.reports.entries import by_role

if TYPE_CHECKING:
    from genaudit.data.audit import Finding
    from genaudit.reports.report import Report

SHOWN = 3  # classes of a cell; the rest is counted


@dataclass(frozen=True)
class AuditSection:
    """The first section of a page: an answer, what was found, and the table."""

    answer: str
    sentence: str
    level: str
    findings: Sequence[Finding]
    roles: list[str]
    rows: list[tuple[str, list[str]]]


def audit_section(report: Report) -> AuditSection:
    """The section of a run."""
    images = {
        role: {"count": given.count, "duplicates": given.duplicates, **given.audit}
        for role, given in report.roles.items()
    }
    roles, rows = audit_rows(images)
    findings = sorted(report.findings, key=lambda finding: not finding.breaks)
    breaking = sum(finding.breaks for finding in findings)
    if breaking:
        answer, sentence = "No.", "What was found below leaves nothing of the comparison."
    elif findings:
        what = (
            "one thing was found that moves" if len(findings) == 1 else f"{len(findings)} things were found that move"
        )
        answer, sentence = "With caution:", f"{what} values without any image being better or worse."
    else:
        answer, sentence = "Yes.", "Nothing was found in how the images were made that would move values by itself."
    level = "breaks" if breaking else "caution" if findings else "fine"
    return AuditSection(answer, sentence, level, findings, roles, rows)


def audit_rows(images: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The roles, and the rows (what, a cell a role). Rows that say the usual of every role are left out.

    Args:
        images: role => its part of report.json; roles without facts (features, moments) are left out.
    """
    roles = {role: about for role, about in by_role(images).items() if "formats" in about}
    if not roles:
        return [], []
    rows = [(label, [cell(about) for about in roles.values()]) for label, cell in ROWS.items()]
    usual = {"8 bits", "0", "0 %", "1", ""}
    return list(roles), [(label, cells) for label, cells in rows if label in ALWAYS or not set(cells) <= usual]


def _classes(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ranked) == 1:
        return ranked[0][0]
    shown = ", ".join(f"{name} ({n:,})" for name, n in ranked[:SHOWN])
    return shown + (f" and {len(ranked) - SHOWN} more" if len(ranked) > SHOWN else "")


def _in_words(modes: Mapping[str, int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for mode, n in modes.items():  # several codes have one word
        counts[show_mode(mode)] = counts.get(show_mode(mode), 0) + n
    return counts


def _sizes(about: Mapping[str, Any]) -> str:
    sizes, others = about["sizes"], about.get("other_sizes", {}).get("sizes", 0)
    if len(sizes) == 1:
        return next(iter(sizes))
    first = list(sizes.items())[:1]
    more = len(sizes) - len(first) + others
    return ", ".join(f"{size} ({n:,})" for size, n in first) + (f" and {more:,} more" if more else "")


def _aspect(about: Mapping[str, Any]) -> str:
    ends = about.get("aspect")
    if not ends:
        return ""
    low, high = show(ends["lowest"]), show(ends["highest"])
    return low if low == high else f"{low} to {high}"


def _share(value: Any) -> str:
    if value is None:
        return ""
    return "below 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"


ROWS = {
    "images": lambda about: f"{about['count']:,}",
    "format": lambda about: _classes(about["formats"]),
    "JPEG quality": lambda about: _classes(about.get("jpeg_quality", {"": 0})),
    "size": _sizes,
    "width to height": _aspect,
    "colours": lambda about: _classes(_in_words(about["modes"])),
    "grey": lambda about: _share(about.get("grey")),
    "bit depth": lambda about: _classes(about["bit_depth"]),
    "with alpha": lambda about: f"{about['alpha']:,}",
    "turned by EXIF": lambda about: f"{about['oriented']:,}",
    "exact copies": lambda about: f"{about.get('duplicates') or 0:,}",
    "traces of JPEG": lambda about: _share(about.get("jpeg_traces")),
}
ALWAYS = frozenset(("images", "format", "size", "colours", "grey", "exact copies"))
