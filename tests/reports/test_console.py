"""The console's table: same headline, names as plain text, nothing cut where it is not a terminal."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from genaudit.metrics.result import RealFloor
from genaudit.reports import console
from genaudit.reports.digits import show, show_interval, show_p, show_seconds
from genaudit.reports.first_screen import grouped
from genaudit.reports.html import block
from genaudit.reports.report import MetricEntry, Report, ReportWarning

from .synthetic import make_report


def printed(report: Report, **options: object) -> str:
    stream = io.StringIO()
    Console(file=stream, **{"width": 160, **options}).print(console.render(report))  # type: ignore[arg-type]
    return stream.getvalue()


def test_where_it_is_no_terminal_it_prints_plain_lines():
    stream = io.StringIO()
    console.show(make_report(40), {"report.json": Path("runs/x/report.json")}, stream=stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "─" not in text
    lines = text.splitlines()
    headline = "as as 0.200 0.150 to 0.260 ↓ lower p = 0.01, null mean 0.1100, null 95 % 0.1500"
    assert " ".join(lines[1].split()) == headline
    assert "40 gen · 60 ref · 30 train" in text
    assert "not computed authpct: needs <train> images" in lines
    assert any(line.startswith("warning as: The authors didn't validate") for line in lines)
    assert lines[-1] == f"written {Path('runs/x')}/ report.json"


def test_markup_and_terminal_codes_in_names_are_shown_and_not_obeyed():
    report = make_report(4)
    report.warnings = [ReportWarning("code", None, "[bold red]\x1b[31mname\x07[/] [link=x]y[/link]")]
    text = printed(report, force_terminal=True, color_system=None)
    assert "[bold red]\\x1b[31mname\\x07[/] [link=x]y[/link] [code]" in text


def test_what_is_true_of_several_metrics_is_said_once():
    warnings = [
        ReportWarning("code", name, "Both are." if name < "c" else "This one is.") for name in ("a@x", "a@y", "c")
    ]
    (group,) = grouped(warnings)
    assert group.messages == (("a@x, a@y", "Both are."), ("c", "This one is."))
    assert group.metrics == ("a@x", "a@y", "c")
    (of_none,) = grouped([ReportWarning("code", None, "Of the run.")])
    assert (of_none.metrics, of_none.messages) == ((), ((None, "Of the run."),))


def test_metrics_that_saw_different_images_say_so_in_their_rows():
    report = make_report(40)
    report.metrics["mine"].n = {"generated": 7}
    assert "7 gen" in printed(report)


@pytest.mark.parametrize("width", [160, 110, 80, 60])
def test_no_number_is_folded_at_any_width_and_none_is_missing(width: int) -> None:
    report = make_report(40)
    report.metrics["mine"].n = {"generated": 7}
    report.metrics["as"].real = {"as": RealFloor(0.123, 0.1, 0.15, 20, "reference_halves", generated=0.21)}
    shown = printed(report, width=width)
    assert max(map(len, shown.splitlines())) <= width
    lines = [line for entry in report.metrics.values() for line in block(entry, []).lines]
    texts = [text for line in lines for text in (line.number, line.interval) if text]
    texts += [text for line in lines if line.real for text in (line.real.number, line.real.ratio, line.real.again)]
    for text in [*texts, "40 gen · 60 ref · 30 train", "7 gen", "p = 0.01", "null mean 0.1100"]:
        assert text in shown, f"{text} is folded or missing at {width} columns"


@pytest.mark.parametrize(
    ("number", "lower", "upper", "text"),
    [
        (0.123456, None, None, "0.1235"),
        (0.2, 0.15, 0.26, "0.200"),
        (0.6, 0.5, 0.7, "0.60"),
        (12.3456, 12.0, 12.7, "12.35"),
        (123456.7, 123000.0, 124000.0, "123,457"),
        (-0.00012, -0.0003, 0.0001, "−0.00012"),
        (1.25e-7, None, None, "1.250e-07"),
        (17, None, None, "17"),
        (2048.0, None, None, "2,048"),
        (0.0, None, None, "0"),
        (None, None, None, "–"),
        (float("nan"), None, None, "–"),
        (float("inf"), 0.0, float("inf"), "–"),
        (0.5, 0.5, 0.5, "0.5000"),
        (1.0, 0.9999999, 1.0, "1.00000"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_supports(number, lower, upper, text):
    assert show(number, lower, upper) == text


def test_estimate_without_an_upper_end_is_shown_as_the_lower_bound_that_it_is():
    assert show(0.06, 0.0412, None) == "≥ 0.04120"
    assert show_interval(0.0412, None) == "lower bound"
    assert show(0.06, None, 0.1) == "0.06000"


def test_intervals_p_values_and_durations_read_well():
    assert show_interval(0.15, 0.26) == "0.150 to 0.260"
    assert show_interval(0.15, None) == "lower bound"
    assert show_interval(None, None) == ""
    assert (show_p(0.0002), show_p(0.043), show_p(None)) == ("p < 0.001", "p = 0.043", "")
    assert [show_seconds(each) for each in (4.21, 185, 7640)] == ["4.2 s", "3 min 05 s", "2 h 07 min"]


def test_what_a_p_value_is_the_chance_under_stands_below_the_table_and_squeezes_no_column():
    @dataclasses.dataclass(frozen=True)
    class Tested:
        hypothesis = "generated and reference images have one distribution of complexity and vulnerability"
        score: float = 1.0
        pvalue: float | None = 0.25

    text = printed(Report("", "", {}, {}, 0, {}, {}, {"t": MetricEntry("t", Tested(), {}, "m")}))
    # The column would wrap it: the words of all lines, one after another.
    words = " ".join(text.split())
    assert "p = 0.25" in words
    assert words.count(Tested.hypothesis) == 1
    assert f"p-value t: the chance if {Tested.hypothesis}" in words
