"""Renders report.html: one self-contained page, no scripts, no network, everything from outside escaped.

`render` turns a `Report` into what the template `report.html.j2` shows. Names and messages come from users' file
names and are escaped by the template; the only markup that passes as it is are the drawings of `plots`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from genaudit.errors import visible
from genaudit.metrics.result import Better, Cloud, Curve
from genaudit.reports import class_section
from genaudit.reports.audit import audit_section
from genaudit.reports.bars import Bar, bar, scale
from genaudit.reports.digits import moment, show, show_interval, show_mode, show_p, show_seconds
from genaudit.reports.entries import by_role
from genaudit.reports.first_screen import answer_texts, comparable_text, grouped, pair_answers
from genaudit.reports.gallery import Gallery
from genaudit.reports.networks import OTHER_NETWORK, machine_line, network_lines, other_networks
from genaudit.reports.plots import Plot, alike, draw
from genaudit.reports.values import Value, plain

if TYPE_CHECKING:
    from genaudit.reports.report import MetricEntry, Report

DIRECTIONS: dict[Better, tuple[str, str]] = {
    "lower": ("\N{DOWNWARDS ARROW}", "lower is better"),
    "higher": ("\N{UPWARDS ARROW}", "higher is better"),
    "none": ("", ""),
}
TAIL = 14  # characters
LONG_WORD = 12  # characters: a shorter one fits the narrowest column
# after a separator and before a letter or digit, but not within a number such as 0.001, 1e-05 or 1,000
_SEPARATED = re.compile(r"(?<=[/\\_=@:&?])(?=\w)|(?<=[-.,+])(?=[^\W\d_])|(?<=[^\d][,+])(?=\w)|(?<=[\d],)(?=[^\W\d_])")
SHORT_ROLES = {"generated": "gen", "reference": "ref", "train": "train", "anomalies": "anom"}


@dataclass(frozen=True)
class RealText:
    """The real floor of a value as text; `about` says what it is, `again` the generated images' score at its number."""

    number: str
    interval: str
    ratio: str
    about: str
    again: str


@dataclass(frozen=True)
class ValueLine:
    """A value of the headline table."""

    name: str
    label: str
    number: str
    exact: str
    interval: str
    about: str
    bar: Bar | None
    arrow: str
    direction: str
    real: RealText | None = None


@dataclass(frozen=True)
class Block:
    """A metric of the headline table; `beside` are remarks that belong next to its number (p-value, null)."""

    name: str
    explanation: str
    reference: int | None
    n: str
    lines: list[ValueLine]
    beside: list[str]
    details: list[tuple[str, str]]
    measure: str


def render(report: Report, *, explore: bool = False) -> str:
    """The whole page as text; `explore`: explore.html stands beside it."""
    return page("report.html.j2", {**context(report), "explore": explore})


def page(template: str, names: Mapping[str, Any], *, script: str = "") -> str:
    """A template of this package with the common style sheet; everything that it shows is escaped.

    Args:
        script: a file of this package; the page's policy names its hash, and nothing else may run.
    """
    run = {"script": _file(script), "script_hash": _hash(_file(script))} if script else {}
    return _template(template).render(names, style=_file("style.css"), **run)


def wrapped(text: object) -> Markup:
    """Text whose long words may break after separators, so that names and paths do not break within their parts.

    >>> wrapped("runs/seed=1,lr=0.001"), wrapped("a short-word")
    (Markup('runs/<wbr>seed=<wbr>1,<wbr>lr=<wbr>0.001'), Markup('a short-word'))
    """
    pieces = re.split(r"(\s+)", visible(text))
    return Markup("").join(
        Markup("<wbr>").join(_SEPARATED.split(piece)) if len(piece) > LONG_WORD else piece for piece in pieces
    )


def ends(name: object) -> tuple[str, str]:
    """A file's name in two parts, of which the second is never cut: generated files differ at their end.

    >>> ends("a/sd_xl_base_seed_000123.png")
    ('sd_xl_base_se', 'ed_000123.png')
    """
    last = visible(name).split("/")[-1]
    cut = max(len(last) - TAIL, len(last) // 2)
    return last[:cut], last[cut:]


def strict_page(template: str, names: Mapping[str, Any], *, script: str, style: str) -> str:
    """A template with a script and a style sheet of this package, whose hashes are all that its policy lets run."""
    parts = {"script": _file(script), "style": _file(style)}
    return _template(template).render(names, **parts, **{f"{name}_hash": _hash(text) for name, text in parts.items()})


def _hash(text: str) -> Markup:
    """As a policy names a script or style sheet."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")


def _file(name: str) -> str:
    from importlib.resources import files

    return (files("genaudit.reports") / name).read_text(encoding="utf-8")


@functools.cache  # a template takes longer to compile than to fill in
def _template(template: str) -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_file),
    )
    environment.filters |= {
        "seconds": show_seconds,
        "visible": visible,
        "wrapped": wrapped,
        "ends": ends,
        "moment": moment,
        "mode_words": show_mode,
    }
    return environment.get_template(template)


def context(report: Report) -> dict[str, Any]:
    """What the template shows, by the names that it uses."""
    citations = list(dict.fromkeys(entry.citation for entry in report.metrics.values() if entry.citation))
    gallery = Gallery(report)
    document = None if report.verdict is None else report.verdict.to_dict()
    generated = report.roles.get("generated")
    machine = machine_line(report)
    told = {(finding.code, finding.message) for finding in report.findings}
    return {
        "report": report,
        "title": _last_part(generated.source) if generated else "run",
        "roles": by_role(report.roles),
        "blocks": [block(entry, citations) for entry in report.metrics.values()],
        "citations": citations,
        "answers": [*pair_answers(report), *answer_texts(document), *class_section.answers(report.by_class)],
        "comparable": comparable_text(document),
        "audit": audit_section(report),
        "classes": None if report.by_class is None else class_section.section(report.by_class, gallery),
        "warnings": grouped(
            [each for each in report.warnings if each.code != OTHER_NETWORK and (each.code, each.message) not in told]
        ),
        "networks": [" \N{MIDDLE DOT} ".join(filter(None, (each, machine))) for each in network_lines(report)],
        "look": gallery.first_look(),
        "other_networks": other_networks(report),
        "plots": _plots(report),
        "extremes": gallery.extremes(),
        "levels": gallery.levels(),
        "neighbours": gallery.neighbours(),
        "grids": gallery.grids(),
        "config": _yaml(plain(report.config, [])),
        "environment": _flat(plain(dict(sorted(report.environment.items())), [])),
        "about": {name: _flat(plain(use.about, [])) for name, use in report.measures.items()},
        "confidence": _confidence(report.config),
    }


def block(entry: MetricEntry, citations: list[str]) -> Block:
    """A metric as the headline table shows it."""
    details = _flat(plain(entry.details, []))
    null = [
        f"{key.replace('_', ' ')}{' %' * key[-1].isdigit()} {number}"  # null_95: the null's 95 % point
        for key, number in details
        if key.startswith("null_")
    ]
    return Block(
        name=entry.name,
        explanation=entry.parts.explanation,
        reference=citations.index(entry.citation) + 1 if entry.citation in citations else None,
        n=show_n(entry.n),
        lines=[_line(name, value) for name, value in entry.values.items()],
        beside=[text for text in (_p_text(entry), *null) if text],
        details=details,
        measure=entry.measure,
    )


UNDER = " under the hypothesis that "


def _p_text(entry: MetricEntry) -> str:
    """The p-value with the hypothesis that it is the chance under."""
    number, hypothesis = show_p(entry.p_value), entry.parts.hypothesis
    return f"{number}{UNDER}{hypothesis}" if number and hypothesis else number


def show_n(n: Mapping[str, int]) -> str:
    """`200 gen · 200 ref`."""
    return " \N{MIDDLE DOT} ".join(f"{count:,} {SHORT_ROLES.get(role, role)}" for role, count in by_role(n).items())


def _line(name: str, value: Value) -> ValueLine:
    arrow, direction = DIRECTIONS[value.better]
    return ValueLine(
        name=name,
        label=value.label,
        number=show(value.value, value.lower, value.upper),
        exact=repr(value.value),
        interval=show_interval(value.lower, value.upper),
        about=value.about,
        bar=bar(value, scale([value])),
        arrow=arrow,
        direction=direction,
        real=real_text(value),
    )


PLAYERS = {
    "train": "training images in place of the generated ones",
    "reference": "reference images in place of the generated ones",
    "reference_halves": "half of the reference images in place of the generated ones, against the other half",
}


def real_text(value: Value) -> RealText | None:
    """What real images score, for people; None where it is not known."""
    real, ratio = value.real, value.real_ratio
    if real is None:
        return None
    return RealText(
        number=show(real.value, real.lower, real.upper),
        interval=show_interval(real.lower, real.upper),
        ratio=""
        if ratio is None
        else f"\N{MULTIPLICATION SIGN}{ratio:.2g}"
        if ratio < 10
        else f"\N{MULTIPLICATION SIGN}{ratio:.0f}",
        about=f"{'parts of ' if real.from_parts else ''}{real.n:,} {PLAYERS[real.source]}",
        again=""
        if real.generated is None
        else f"generated at {real.n:,}: {show(real.generated, real.lower, real.upper)}",
    )


def _plots(report: Report) -> list[tuple[str, Plot]]:
    """Every drawing of the metrics, in order; one of the same points or lines is drawn once, whatever its title."""
    found: list[tuple[str, Plot]] = []
    drawn: list[Cloud | Curve] = []
    for name, entry in report.metrics.items():
        for drawing in entry.parts.drawings:
            if not isinstance(drawing, (Cloud, Curve)) or any(alike(drawing, other) for other in drawn):
                continue
            drawn.append(drawing)
            plot = draw(drawing)
            if plot is not None:
                found.append((name, plot))
    return found


def _flat(document: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (dotted key, text) pairs, numbers with sensible digits."""
    if isinstance(document, Mapping):
        keys = {key: f"{prefix}.{key}" if prefix else str(key) for key in document}
        return [pair for key, item in document.items() for pair in _flat(item, keys[key])]
    return [(prefix, ", ".join(map(_text, document if isinstance(document, list) else [document])))]


def _text(item: Any) -> str:
    if isinstance(item, float):
        return show(item)
    return "\N{EN DASH}" if item is None else str(item)


def _yaml(document: Any) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False))


def _last_part(source: str) -> str:
    parts = [part for part in str(source).replace("\\", "/").split("/") if part]
    return parts[-1] if parts else str(source)


def _confidence(config: Mapping[str, Any]) -> str:
    confidence = config.get("confidence")
    return f"{100 * confidence:g} %" if isinstance(confidence, (int, float, np.floating)) else ""
