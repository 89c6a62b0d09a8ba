"""The page of a training run (train.html): its curves and what it draws, and grids of pictures as PNG files."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.metrics.result import Curve

GAP = 2  # pixels between the pictures of a grid
SMALLEST = 64  # pictures of a smaller side are enlarged to about it, pixel by pixel


@dataclass(frozen=True)
class TrainingPage:
    """What the page shows, in this order.

    Attributes:
        title, command: the heading, and the command that does the same again.
        facts: short texts (name, value) for the head.
        remarks: sentences under it.
        curves: drawn beside each other.
        pictures: (caption, PNG bytes).
    """

    title: str
    command: str
    facts: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = ()
    curves: Sequence[Curve] = ()
    pictures: Sequence[tuple[str, bytes]] = ()

    def write(self, path: str | Path) -> None:
        """Writes the page; the file is replaced in one step."""
        from genaudit.reports.html import page
        from genaudit.reports.plots import draw

        uris = [(caption, f"data:image/png;base64,{base64.b64encode(png).decode()}") for caption, png in self.pictures]
        plots = [plot for plot in map(draw, self.curves) if plot is not None]
        text = page("training.html.j2", {"page": self, "plots": plots, "uris": uris})
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def tile(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """A grid, row by row: (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8 => (rows, columns, 3) uint8 on a grey ground.

    Args:
        columns: pictures a row; None makes the grid about square.
    """
    if images.ndim == 3:
        images = images[..., None]
    count, height, width = images.shape[:3]
    columns = columns or math.ceil(math.sqrt(count))
    factor = max(1, SMALLEST // max(height, width))
    images = np.broadcast_to(images, (count, height, width, 3)).repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor + GAP, width * factor + GAP
    grid = np.full((math.ceil(count / columns) * height + GAP, columns * width + GAP, 3), 128, dtype=np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height + GAP, place % columns * width + GAP
        grid[top : top + height - GAP, left : left + width - GAP] = image
    return grid


def png(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()
