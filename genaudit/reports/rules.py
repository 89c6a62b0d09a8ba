"""The outcome of a user's rules: a table on the console, gate.json, gate.xml (JUnit) and gate.md (for workflows).

gate.json has the schema `genaudit/gate/1`, checked by `gate_schema.json` beside this file. In gate.xml a rule that
fails is a failure and an undecided one an error: both stop what reads it, as their exit codes do.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genaudit.errors import one_line
from genaudit.reports.values import plain

if TYPE_CHECKING:
    from rich.console import Group

    from genaudit.verdict.rules import Judged, Outcome

SCHEMA = "genaudit/gate/1"
FILES = ("gate.xml", "gate.md", "gate.json")  # the last one says that all are there
SAID: Mapping[bool | None, str] = {True: "holds", False: "fails", None: "undecided"}
PASSED: Mapping[bool | None, str] = {True: "passed", False: "failed", None: "undecided"}
COLOURS: Mapping[bool | None, str] = {True: "green", False: "red", None: "yellow"}
_PLAIN_CODE = re.compile(r"[\w@.'\" +*/()<>=!-]+")  # in a code span of a Markdown table as it stands


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """gate.json as a dictionary of JSON's own types."""
    document = {
        "schema": SCHEMA,
        "run": outcome.run,
        "baseline": outcome.baseline,
        "strict": outcome.strict,
        "passed": outcome.passed,
        "rules": [_rule(each) for each in outcome.rules],
    }
    found: dict[str, Any] = plain(document, [])
    return found


def _rule(judged: Judged) -> dict[str, Any]:
    difference = judged.difference
    return {
        "rule": judged.rule,
        "value": judged.value,
        "holds": judged.holds,
        "reason": judged.reason,
        "lower": judged.lower,
        "upper": judged.upper,
        "bound": judged.bound,
        "baseline": judged.baseline,
        "difference": None
        if difference is None
        else {
            "name": difference.name,
            "value": difference.value,
            "lower": difference.lower,
            "upper": difference.upper,
            "p_value": difference.p_value,
            "test": difference.test or None,
            "exceeds_interval": difference.exceeds,
        },
    }


def headline(outcome: Outcome) -> str:
    """`gate failed: 1 of 4 rules fails, 1 is undecided`."""
    counts = {said: sum(SAID[each.holds] == said for each in outcome.rules) for said in SAID.values()}
    total = len(outcome.rules)
    if outcome.passed:
        return f"gate passed: {'the rule holds' if total == 1 else f'all {total} rules hold'}"
    parts = []
    if failing := counts["fails"]:
        parts.append(f"{failing} of {total} rule{'s' * (total > 1)} fail{'s' * (failing == 1)}")
    if undecided := counts["undecided"]:
        of = "" if parts else f" of {total} rule{'s' * (total > 1)}"
        parts.append(f"{undecided}{of} {'is' if undecided == 1 else 'are'} undecided")
    return f"gate {PASSED[outcome.passed]}: {', '.join(parts)}"


def number(value: float | str | None) -> str:
    """A number or an answer as it is shown; a dash where there is none."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.6g}"


def interval(judged: Judged) -> str:
    if judged.lower is None or judged.upper is None or judged.lower == judged.upper:
        return ""
    return f"{judged.lower:.4g} to {judged.upper:.4g}"


def show(outcome: Outcome, *, stream: TextIO | None = None) -> None:
    """Prints what became of the gate, and the table below it."""
    from genaudit.reports.styled import make_console

    console = make_console(stream)
    console.print(render(outcome, plain=not console.is_terminal))


def render(outcome: Outcome, *, plain: bool = False) -> Group:
    """The table of rules as a rich renderable; rules and reasons pass as text, never as markup or terminal codes."""
    from rich.console import Group

    from genaudit.reports.styled import new_table, text

    table = new_table(plain)
    for header, justify in (("rule", "left"), ("value", "right"), ("interval", "left"), ("", "left"), ("why", "left")):
        table.add_column(header, justify=justify, overflow="fold", no_wrap=header == "value")  # type: ignore[arg-type]
    for each in outcome.rules:
        table.add_row(
            text((each.rule, "bold")),
            text((number(each.value), "")),
            text((interval(each), "dim")),
            text((SAID[each.holds], COLOURS[each.holds])),
            text((each.reason, "dim")),
        )
    return Group(text((headline(outcome), f"bold {COLOURS[outcome.passed]}")), table)


def junit(outcome: Outcome) -> str:
    """gate.xml: one suite, a test case a rule."""
    from xml.etree import ElementTree

    failing = sum(each.holds is False for each in outcome.rules)
    undecided = sum(each.holds is None for each in outcome.rules)
    counts = {"tests": str(len(outcome.rules)), "failures": str(failing), "errors": str(undecided), "skipped": "0"}
    suites = ElementTree.Element("testsuites", {"name": "genaudit gate", **counts, "time": "0"})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(outcome.run), **counts, "time": "0"})
    for each in outcome.rules:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": "genaudit.gate", "name": _xml(each.rule), "time": "0"}
        )
        if each.holds is True:
            ElementTree.SubElement(case, "system-out").text = _xml(each.reason)
        else:
            kind = "failure" if each.holds is False else "error"
            body = ElementTree.SubElement(case, kind, {"message": _xml(each.reason), "type": SAID[each.holds]})
            body.text = _xml(f"{each.rule}: {each.reason}")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def markdown(outcome: Outcome) -> str:
    """gate.md: what became of the gate and a table of its rules."""
    against = f" against {code(outcome.baseline)}" if outcome.baseline else ""
    strict = ", intervals must hold too (`strict=true`)" if outcome.strict else ""
    lines = [
        f"### {_escaped(headline(outcome))}",
        "",
        f"{code(outcome.run)}{against}{strict}",
        "",
        "| rule | value | interval | | why |",
        "|---|---:|---|---|---|",
    ]
    marks = {True: "✅ holds", False: "❌ fails", None: "❔ undecided"}
    for each in outcome.rules:
        cells = (
            code(each.rule),
            _escaped(number(each.value)),
            interval(each),
            marks[each.holds],
            _escaped(each.reason),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(outcome: Outcome, out: Path) -> dict[str, Path]:
    """Writes gate.xml, gate.md and gate.json into a folder; returns their paths by name."""
    from genaudit.reports.files import json_text, write_together

    texts = {"gate.xml": junit(outcome), "gate.md": markdown(outcome), "gate.json": json_text(to_dict(outcome))}

    def writer(name: str) -> Callable[[TextIO], None]:
        def into(stream: TextIO) -> None:
            stream.write(texts[name])

        return into

    return write_together(out, {name: writer(name) for name in FILES})


def discard(out: Path) -> None:
    """Removes what an earlier gate wrote into a folder whose run is replaced: it would be taken for the new run's."""
    for name in reversed(FILES):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (out / name).unlink()


def _xml(text: str) -> str:
    """Text without what XML 1.0 cannot hold, which shows as escapes."""
    return one_line(text)


def code(text: str) -> str:
    """Text as a code span of a Markdown table; with characters that end one, as plain text."""
    text = one_line(text)
    return f"`{text}`" if _PLAIN_CODE.fullmatch(text) and text == text.strip() else _escaped(text)


def _escaped(text: str) -> str:
    """Plain text of Markdown and HTML: signs that mean anything there are written as their numbers."""
    return re.sub(r"[^\w\s.,;:–+=%'()-]|_", lambda m: f"&#{ord(m[0])};", one_line(text))
