"""Recomputed tables as JSON, CSV, HTML and console: every number is there, nothing from outside is obeyed."""

from __future__ import annotations

import csv
import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from rich.console import Console

from genaudit.metrics.result import Cloud, Curve, Marks, PictureRow, Pictures
from genaudit.reports.table import MEANINGS, Cell, Table
from genaudit.reports.tables import Recomputed, console, counts, lines, render, summary, write, write_index


def example(**more: object) -> Table:
    cells = (
        Cell("a <b>", "score", 0.5, 0.5, tolerance=0.0005),
        Cell("a <b>", "other", 0.4, 0.5, 0.3, 0.6),
        Cell("c", "score", 0.2, 0.65, note="<script>alert(1)</script>"),
        Cell("d", "score", -5.0, 0.1),
        Cell("e", "score", 0.3),
        Cell("f", "score", math.nan, 0.1),
        Cell("g", "yes or no", 1.0, expected=1.0),
        Cell("h", "yes or no", 0.0, expected=1.0),
        Cell("i", "score", 100.9, 100.0),
        Cell("j", "score", 0.5, 0.5, trainings=1),
    )
    x = np.linspace(0, 1, 5)
    figures = (
        Curve("a curve", "x", "y", x, {"line": x}),
        Cloud("a cloud", "x", "y", {"generated": np.random.default_rng(0).random((20, 2))}),
        Marks("marks", "percent", ("first <row>", "second"), {"a, one": (x[:2], x[:2]), "b, one": (x[2:4], x[2:4])}),
        Pictures("pictures", ("one",), (PictureRow("row", (np.zeros((4, 4), np.uint8),)),)),
    )
    values = {"title": "Title & more", "source": "Somebody 2020", "differs": "the data <i>", "notes": ("a note",)}
    return Table("example", scale="laptop", figures=figures, **({"cells": cells} | values | more))  # type: ignore[arg-type]


def test_the_json_holds_every_cell_with_its_verdict_and_null_for_what_is_not_finite(tmp_path: Path) -> None:
    files = write(Recomputed(example(), command="genaudit reproduce example", seconds=1.234), tmp_path)
    document = json.loads(files["example.json"].read_text())
    assert document["schema"] == "genaudit/table/1"
    verdicts = ["reproduced", "within interval", "same order", "differs", "not published", "not computed"]
    verdicts += ["as expected", "not as expected", "within 1 %", "one training"]
    assert [cell["verdict"] for cell in document["cells"]] == verdicts
    assert document["verdicts"] == dict.fromkeys(verdicts, 1)
    assert document["cells"][1]["difference"] == pytest.approx(-0.1)
    assert document["cells"][5]["recomputed"] is None
    assert document["differs"] == "the data <i>"


def test_a_page_says_plainly_how_many_numbers_are_of_one_training() -> None:
    assert "1 of 10 numbers are of one training each, which is no finding" in render(Recomputed(example()))
    several = example(cells=(Cell("a", "score", 0.5, 0.5, trainings=3),), differs="")
    assert "one training each" not in render(Recomputed(several))


def test_the_csv_has_a_row_a_cell(tmp_path: Path) -> None:
    files = write(Recomputed(example()), tmp_path)
    rows = list(csv.DictReader(files["example.csv"].read_text().splitlines()))
    assert [row["verdict"] for row in rows] == [cell.verdict for cell in example().cells]
    assert float(rows[0]["published"]) == 0.5
    assert rows[4]["published"] == ""


class _Page(HTMLParser):
    """Collects tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_is_self_contained_escapes_everything_and_draws_the_figures() -> None:
    text = render(Recomputed(example(), about={"python": "3"}, needs=("data <x>",)))
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags
    assert all(each.startswith(("data:", "#")) for each in page.refers)
    assert page.tags.count("svg") == 3
    assert "img" in page.tags
    for escaped in (
        "a &lt;b&gt;",
        "first &lt;row&gt;",
        "&lt;script&gt;",
        "the data &lt;i&gt;",
        "data &lt;x&gt;",
        "Title &amp; more",
    ):
        assert escaped in text
    for cell in example().cells:
        assert cell.verdict in text
    assert ">expected</th>" in text
    assert ">expected</th>" not in render(Recomputed(example(cells=example().cells[:3])))


def test_a_published_number_is_shown_with_the_digits_that_were_printed() -> None:
    cells = (
        Cell("a", "x", 0.65, 0.65, tolerance=0.0005),
        Cell("b", "x", 48745, 48744, tolerance=0.0),
        Cell("c", "x", 1),
    )
    table = Table("t", "", "", cells, "laptop")
    assert [line.published for line in lines(table)] == ["0.650", "48,744", "–"]


def test_a_difference_has_the_decimals_of_the_number_that_it_belongs_to() -> None:
    cells = (Cell("a", "x", 0.9513, 0.951), Cell("b", "x", 0.9681, 0.968), Cell("c", "x", 0.58561, 0.586))
    table = Table("t", "T", "S", cells, "laptop")
    assert [line.difference for line in lines(table)] == ["0.0003", "0.0001", "\N{MINUS SIGN}0.0004"]


def test_a_table_that_prints_nothing_has_no_column_for_it() -> None:
    bare = render(Recomputed(Table("t", "T", "S", (Cell("a", "x", 1.5),), "laptop")))
    assert ">published</th>" not in bare
    assert ">difference</th>" not in bare
    printed = render(Recomputed(Table("t", "T", "S", (Cell("a", "x", 1.5, 1.4),), "laptop")))
    assert ">published</th>" in printed
    assert ">difference</th>" in printed


def test_a_difference_of_the_last_bits_is_shown_as_none() -> None:
    (line,) = lines(Table("t", "", "", (Cell("a", "x", 0.1 + 0.2, 0.3),), "laptop"))
    assert line.difference == "0"


def test_bars_share_a_scale_within_a_column_that_ends_at_round_numbers() -> None:
    table = Table("t", "", "", (Cell("a", "x", 0.03, 0.97), Cell("b", "x", 0.97, 0.03), Cell("c", "y", 3.0)), "laptop")
    first, second, third = (line.bar for line in lines(table))
    assert first is not None
    assert second is not None
    assert (first.at, first.published) == (second.published, second.at) == (3, 97)
    assert (first.low, first.high) == (second.low, second.high) == ("0", "1")
    assert third is None
    assert '<span class="axis"><span>0</span><span>1</span></span>' in render(Recomputed(table))


def test_only_verdicts_that_occur_are_explained(tmp_path: Path) -> None:
    one = Table("t", "", "", (Cell("a", "x", 0.5, 0.5),), "laptop")
    index = write_index([Recomputed(one)], {}, tmp_path)["index.html"].read_text()
    for page in (render(Recomputed(one)), index):
        assert {verdict for verdict, meaning in MEANINGS.items() if str(escape(meaning)) in page} == {"reproduced"}
    assert "differs" not in index.replace("differs from the paper", "")
    assert set(counts(example())) == set(MEANINGS), "every verdict has a meaning"


def test_a_note_that_all_cells_share_is_said_once() -> None:
    shared = Table("t", "", "", tuple(Cell(name, "x", 0.5, note="the same note") for name in "abc"), "laptop")
    assert render(Recomputed(shared)).count("the same note") == 1


def test_an_expected_number_is_not_rounded_to_a_tolerance_that_was_chosen() -> None:
    cells = (Cell("a", "x", 0.199, expected=1 / 6, tolerance=0.05), Cell("b", "x", 0.2, expected=0.2, tolerance=0.05))
    assert [line.expected for line in lines(Table("t", "", "", cells, "laptop"))] == ["0.1667", "0.2"]


def test_the_console_shows_cells_and_counts() -> None:
    stream = io.StringIO()
    Console(file=stream, width=160).print(console(Recomputed(example()), plain=True))
    shown = stream.getvalue()
    assert "differs from the paper's setting" in shown
    assert summary(example()) in shown
    assert counts(example())["differs"] == 1


def test_the_index_lists_what_was_made_and_why_the_rest_was_not(tmp_path: Path) -> None:
    files = write_index([Recomputed(example())], {"other": ["CIFAR10: data=DIR <x>"]}, tmp_path)
    page = _Page()
    text = files["index.html"].read_text()
    page.feed(text)
    assert page.refers == ["example.html"]
    assert "CIFAR10: data=DIR &lt;x&gt;" in text
    document = json.loads(files["index.json"].read_text())
    assert document["not_made"] == {"other": ["CIFAR10: data=DIR <x>"]}
    assert document["made"]["example"]["reproduced"] == 1
