"""gate.json, gate.xml and gate.md: what other programs read, whatever names stand in them."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from markdown_it import MarkdownIt

from genaudit.reports.rules import discard, headline, junit, markdown, show, to_dict, write
from genaudit.verdict.rules import Difference, Judged, Outcome
from tests.reports.synthetic import HOSTILE

SCHEMA = Draft202012Validator(json.loads((files("genaudit.reports") / "gate_schema.json").read_text()))
DIFFERENCE = Difference("kd", -0.5, -0.7, -0.3, 0.001, "relabelling")
RULES = (
    Judged("recall >= 0.6", 0.7, True, "0.7 is at least 0.6", 0.6, 0.8, 0.6),
    Judged("kd <= baseline", 2.0, False, "2 is not at most 1", 1.0, 3.0, 1.0, 1.0, DIFFERENCE),
    Judged("density >= 1", None, None, "density is not a finite number"),
    Judged("verdict.memorised != yes", "no", True, "the verdict on memorised is no", bound="yes"),
)
MARKS = [
    *(
        "|",
        "`",
        "\\",
        "*x*",
        "_x_",
        "[x](y)",
        "![x](y)",
        "<b>x</b>",
        "&lt;",
        "<!--",
        "]]>",
        "~~x~~",
        "# x",
        "- x",
        "$x$",
    ),
    *("http://x.y", "www.x.y", "a@b.c", "\x00", "\x1b[31m", "\r\n| a |", "\ufffe", "\udcff", "\u202e"),
]


def outcome(*rules: Judged, run: str = "runs/a", baseline: str | None = None) -> Outcome:
    return Outcome(rules or RULES, run, baseline, strict=True)


@pytest.mark.parametrize("rules", [RULES, RULES[:1], RULES[1:3], RULES[2:]])
def test_gate_json_fits_its_schema(rules: tuple[Judged, ...]) -> None:
    document = to_dict(outcome(*rules, baseline="runs/b"))
    SCHEMA.validate(document)
    for wrong in ({"passed": not document["passed"]}, {"rules": []}, {"schema": "genaudit/gate/2"}):
        with pytest.raises(ValidationError):
            SCHEMA.validate(document | wrong)


def test_interval_ends_that_are_infinite_are_null() -> None:
    difference = Difference("kd", 1.0, None, None)
    document = to_dict(outcome(Judged("a > 1", 1.0, None, "", float("-inf"), float("inf"), difference=difference)))
    SCHEMA.validate(document)
    assert document["rules"][0]["upper"] is None
    assert document["rules"][0]["difference"]["exceeds_interval"] is None


def test_junit_counts_failures_and_undecided_rules_as_errors() -> None:
    suites = ElementTree.fromstring(junit(outcome()))
    (suite,) = suites
    for each in (suites, suite):
        assert [each.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "0"]
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases["recall >= 0.6"] == ["system-out"]
    assert cases["kd <= baseline"] == ["failure"]
    assert cases["density >= 1"] == ["error"]
    assert suite.find("testcase/failure").get("message") == "2 is not at most 1"  # type: ignore[union-attr]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.one_of(st.text(max_size=20), st.sampled_from(MARKS), st.sampled_from(HOSTILE)), min_size=4, max_size=4)
)
def test_hostile_text_is_shown_and_never_obeyed(texts: list[str]) -> None:
    """An XML parser and a Markdown parser read back what was written, with control characters as escapes."""
    rule, reason, run, base = (f"a{text}" for text in texts)
    found = outcome(Judged(rule, 1.0, False, reason), run=run, baseline=base)
    (suite,) = ElementTree.fromstring(junit(found))
    (case,) = suite
    escaped = [_escaped(each) for each in (rule, reason, run)]
    assert [case.get("name"), case[0].get("message"), suite.get("name")] == escaped
    reader = _Cells()
    reader.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(found)))
    assert len(reader.cells) == 10
    _same(reader.cells[5], escaped[0])
    _same(reader.cells[9], escaped[1])
    assert reader.tags <= {"h3", "p", "code", "table", "thead", "tbody", "tr", "th", "td"}


def _escaped(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _same(found: str, expected: str) -> None:
    assert found.split() == expected.split()


class _Cells(HTMLParser):
    """The text of a table's cells, and all tags of the page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.within = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.within = True

    def handle_endtag(self, tag: str) -> None:
        self.within = self.within and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.within:
            self.cells[-1] += data


def test_the_console_says_each_rule_and_what_became_of_it() -> None:
    stream = io.StringIO()
    show(outcome(), stream=stream)
    shown = stream.getvalue()
    assert shown.startswith("gate failed: 1 of 4 rules fails, 1 is undecided\n")  # what a script reads by head -1
    for each in RULES:
        assert each.rule in shown
        assert each.reason in shown


def test_headlines() -> None:
    good, bad, open_ = RULES[0], RULES[1], RULES[2]
    assert headline(outcome(good)) == "gate passed: the rule holds"
    assert headline(outcome(good, good)) == "gate passed: all 2 rules hold"
    assert headline(outcome(bad, bad, open_, open_)) == "gate failed: 2 of 4 rules fail, 2 are undecided"
    assert headline(outcome(open_, good)) == "gate undecided: 1 of 2 rules is undecided"


def test_files_are_written_together_and_removed(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    written = write(outcome(), tmp_path)
    assert sorted(written) == ["gate.json", "gate.md", "gate.xml"]
    assert json.loads(written["gate.json"].read_text())["passed"] is False
    assert "| `kd <= baseline` | 2 | 1 to 3 | ❌ fails | 2 is not at most 1 |" in written["gate.md"].read_text()
    discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    discard(tmp_path / "nowhere")
