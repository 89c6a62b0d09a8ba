"""Names of strangers' files in messages, on the console and in tables: shown, never obeyed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genaudit.cli import main
from genaudit.errors import DONE, USER, UserError, one_line, visible
from genaudit.reports.files import write_csv, write_images
from genaudit.reports.styled import make_console
from genaudit.tasks.run.progress import Progress

# colours, a title, a bell, a cleared line, the other direction of writing, C1's CSI, a line of its own
NASTY = "\x1b[31ma\x1b]0;title\x07b\r\x1b[2K\u202ec\x9b31m\ngenaudit: accepted \udcff.png"
CONTROL = ("\x1b", "\x07", "\r", "\u202e", "\x9b", "\udcff")


def test_escapes_are_shown_and_other_text_is_left_alone() -> None:
    assert one_line("a\x1b\tb\u202e\n\udcffé日 ") == "a\\x1b\\tb\\u202e\\n\\udcffé日 "
    assert visible("a\x1b\nb\n") == "a\\x1b\nb\n"
    assert str(UserError(f"generated: {NASTY} is damaged")).count("\\x1b") == 3
    assert "\n" not in str(UserError(NASTY))


def assert_tame(text: str) -> None:
    assert not [each for each in CONTROL if each in text]
    assert "\ngenaudit: accepted" not in text
    assert "\\x1b" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole image and a damaged one, both under names that a terminal would obey."""
    (tmp_path / "images").mkdir()
    for colour, name in enumerate((NASTY, f"2{NASTY}")):
        Image.new("RGB", (8, 8), (colour, 0, 0)).save(tmp_path / "images" / "x.png")
        (tmp_path / "images" / "x.png").rename(tmp_path / "images" / name)
    (tmp_path / "images" / f"0{NASTY}").write_bytes(b"damaged")
    return tmp_path / "images"


def test_check_and_errors_show_the_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder)]) == DONE
    assert_tame(capsys.readouterr().out)
    assert main(["evaluate", str(folder), f"reference={folder}"]) == USER
    assert_tame(capsys.readouterr().err)
    assert main(["evaluate", f"nowhere{NASTY}"]) == USER
    assert_tame(capsys.readouterr().err)


def test_the_console_shows_what_it_is_given() -> None:
    for terminal in (False, True):
        stream = io.StringIO()
        stream.isatty = lambda: terminal  # type: ignore[method-assign]  # noqa: B023
        console = make_console(stream)
        console.print(NASTY, markup=False)
        assert "\x1b]0" not in stream.getvalue()
        assert_tame(stream.getvalue().replace("\ngenaudit", " genaudit"))


def test_a_label_of_a_progress_bar_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("genaudit.tasks.run.progress.PATIENCE", -1.0)
    progress = Progress()
    progress.shown = True
    with progress.bar(f"check [/red][link=x] {NASTY}", 3) as advance:
        advance(1)
    assert "\x1b]0" not in capsys.readouterr().err


FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "-x.png", "\uff1d1", "+x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_compute_is_led_by_an_apostrophe(text: str) -> None:
    stream = io.StringIO()
    write_csv([text], [[text], ["a"]], stream)
    assert list(csv.reader(io.StringIO(stream.getvalue(), newline=""))) == [[f"'{text}"], [f"'{text}"], ["a"]]


def test_numbers_stay_numbers() -> None:
    stream = io.StringIO()
    write_csv(["n"], [[each] for each in (-1.5, -3, np.float32(-0.5), "-1.5", "+2", "a=b", "a-b", "", None)], stream)
    rows = ["-1.5", "-3", "-0.5", "-1.5", "+2", "a=b", "a-b", '""', '""']
    assert stream.getvalue().splitlines() == ["n", *rows]


def test_images_csv_holds_names_as_text() -> None:
    columns: Any = {"name": ["=HYPERLINK(1).png", "-a.png", "b.png"], "score": np.array([-1.0, 2.0, np.nan])}
    report: Any = SimpleNamespace(images=columns)
    stream = io.StringIO()
    write_images(report, stream)
    assert stream.getvalue().splitlines() == ["name,score", "'=HYPERLINK(1).png,-1.0", "'-a.png,2.0", "b.png,"]
