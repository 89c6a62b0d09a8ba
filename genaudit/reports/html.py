"""report.html."""

from __future__ import annotations

from genaudit.reports.report import Report


def render(report: Report) -> str:
    return "<!doctype html>\n"
