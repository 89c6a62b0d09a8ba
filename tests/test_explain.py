"""`genaudit explain` from the command line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from genaudit.cli import main
from genaudit.errors import DONE, USER


def test_explain_writes_coefficients_overlays_and_a_page(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    folder = make_images("samples", 2)
    keys = ["trials=30", "superpixels=9", "most=5", "attack_steps=2", f"out={tmp_path / 'out'}"]
    assert main(["explain", str(folder), *tiny, *keys]) == DONE
    with open(tmp_path / "out" / "coefficients.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["name"] for row in rows} == {"0000.png", "0001.png"}
    assert sum(int(row["pixels"]) for row in rows if row["name"] == "0000.png") == 32 * 32
    assert all(float(row["standard_error"]) > 0 for row in rows)
    with Image.open(tmp_path / "out" / "overlays" / "00000.png") as overlay:
        assert overlay.width == 2 * overlay.height
    page = (tmp_path / "out" / "explain.html").read_text()
    assert page.count("<figure>") == 2
    assert "http" not in page.split("<main>")[1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["most=2"], "least <= most"),
        (["trials=0"], "trials must be"),
        (["trials=1000000"], "from 1 to 100000"),
        (["alpha=-1"], "alpha must be"),
        ([], "missing"),
    ],
)
def test_what_is_wrong_with_explains_keys_is_said(
    arguments: list[str], word: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *arguments]) == USER
    assert word in capfd.readouterr().err
