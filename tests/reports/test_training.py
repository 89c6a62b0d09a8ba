"""The page of a training run and its grids of pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genaudit.metrics.result import Curve
from genaudit.reports.training import GAP, TrainingPage, png, tile


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_a_grid_holds_every_picture_in_its_place(channels: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 80, 70, *channels), dtype=np.uint8)
    grid = tile(images, 2)
    assert grid.shape == (3 * (80 + GAP) + GAP, 2 * (70 + GAP) + GAP, 3)
    for i, image in enumerate(images):
        top, left = i // 2 * (80 + GAP) + GAP, i % 2 * (70 + GAP) + GAP
        expected = image if channels else image[..., None]
        np.testing.assert_array_equal(grid[top : top + 80, left : left + 70], np.broadcast_to(expected, (80, 70, 3)))
    assert (grid[-80:, -70:] == 128).all()  # the sixth place is empty


def test_small_pictures_are_enlarged_pixel_by_pixel_and_survive_the_file() -> None:
    images = np.arange(4 * 32 * 32, dtype=np.uint8).reshape(4, 32, 32)
    grid = tile(images)
    assert grid.shape == (2 * (64 + GAP) + GAP, 2 * (64 + GAP) + GAP, 3)
    np.testing.assert_array_equal(grid[GAP : GAP + 64 : 2, GAP : GAP + 64 : 2, 0], images[0])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(grid)))), grid)


def test_the_page_shows_everything_and_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    x = np.arange(3.0)
    curve = Curve("losses", "iteration", "loss", x, {"reconstruction": x})
    picture = png(tile(np.zeros((1, 8, 8), np.uint8)))
    page = TrainingPage(
        "PIAD of <b>", "genaudit train", [("images", "1,000")], ["A remark."], [curve], [("S", picture)]
    )
    page.write(tmp_path / "train.html")
    text = (tmp_path / "train.html").read_text()
    assert "PIAD of &lt;b&gt;" in text
    assert all(part in text for part in ("1,000", "A remark.", "<svg", "data:image/png;base64,", "iteration"))
    assert not list(tmp_path.glob("*.tmp"))
