"""The console's account of a run: the headline table, warnings, what was not computed, where the files are.

`render` returns a rich renderable; names and messages pass as plain text, never as markup or terminal codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genaudit.reports.audit import audit_rows
from genaudit.reports.first_screen import answer_texts, comparable_text, grouped
from genaudit.reports.headline import Headline
from genaudit.reports.html import block
from genaudit.reports.networks import OTHER_NETWORK, network_lines, other_networks
from genaudit.reports.styled import make_console, new_table, text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from genaudit.reports.report import Report


def show(report: Report, files: Mapping[str, Path] | None = None, *, stream: TextIO | None = None) -> None:
    """Prints the report; without colours and box lines where `stream` (standard output) is not a terminal."""
    console = make_console(stream)
    console.print(render(report, files, plain=not console.is_terminal))


def show_files(files: Mapping[str, Path], *, stream: TextIO | None = None) -> None:
    """Says where the files are, below what `show` printed before they were written."""
    make_console(stream).print(text(("written ", "dim"), *_places(files)))


def render(report: Report, files: Mapping[str, Path] | None = None, *, plain: bool = False) -> Group:
    """The headline table with all that belongs to it.

    Args:
        report: the run.
        files: the written files by name, as `genaudit.reports.files.write` returns them.
        plain: no lines around the table.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = _verdict(report)
    parts += [text(("network ", "dim"), (each, "")) for each in network_lines(report)]
    parts += [text((each.message, "yellow")) for each in other_networks(report)]
    parts.append(Headline({name: block(entry, []) for name, entry in report.metrics.items()}, plain))
    for name, entry in report.metrics.items():
        if entry.p_value is not None and entry.parts.hypothesis:
            parts.append(
                text(("p-value ", "dim"), (name, "bold"), (f": the chance if {entry.parts.hypothesis}", "dim"))
            )
    if report.by_class is not None:
        parts += [text(("classes ", "dim"), (line, "")) for line in report.by_class.summary()]
    for name, reason in report.skipped_metrics.items():
        parts.append(text(("not computed ", "dim"), (name, "bold"), (f": {reason}", "")))
    rest = [each for each in report.warnings if each.code != OTHER_NETWORK]
    if rest:
        parts.append(Text())
    for each in grouped(rest):
        metrics = f"{', '.join(each.metrics)}: " if each.metrics else ""
        count = f" ({len(each.messages)} like this)" if len(each.messages) > 1 else ""
        code = f" [{each.code}]"
        parts.append(text(("warning ", "yellow"), (metrics, "bold"), (each.lead, ""), (count, ""), (code, "dim")))
    if files:
        parts += [Text(), text(("written ", "dim"), *_places(files))]
    return Group(*parts)


STYLES = {"good": "bold green", "bad": "bold yellow", "worst": "bold red", "open": "bold"}


def _verdict(report: Report) -> list[Any]:
    """A line a question: its answer, why, and what to do next."""
    from rich.padding import Padding
    from rich.text import Text

    document = None if report.verdict is None else report.verdict.to_dict()
    parts: list[Any] = []
    if told := comparable_text(document):
        parts.append(text((told, "yellow")))
    for each in answer_texts(document):
        parts.append(text((f"{each.question} ", ""), (each.answer, STYLES[each.tone])))
        parts.append(Padding(text((f"{each.sentence} {each.then}".strip(), "dim")), (0, 0, 0, 2)))
    return [*parts, Text()] if parts else []


def audit_table(images: Mapping[str, Mapping[str, Any]], *, plain: bool = False) -> Table:
    """How each role's images were stored and what their pixels show; `images` as in report.json."""
    roles, rows = audit_rows(images)
    table = new_table(plain)
    for header in ("", *roles):
        table.add_column(header, overflow="fold")
    for label, cells in rows:
        table.add_row(text((label, "dim")), *(text((cell, "")) for cell in cells))
    return table


def _places(files: Mapping[str, Path]) -> Iterable[tuple[str, str]]:
    folders = {path.parent for path in files.values()}
    if len(folders) == 1:
        return [(f"{folders.pop()}/", ""), (f" {', '.join(files)}", "dim")]
    return [(", ".join(map(str, files.values())), "")]
