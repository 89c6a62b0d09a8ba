"""The audit's facts as a measure of the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from genaudit.data import open_images
from genaudit.data.audit.pixels import pixel_facts
from genaudit.measures.pixel_facts import PixelFacts
from genaudit.store import Engine, Store


def test_rows_are_the_facts_of_each_image(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images = open_images(str(make_images("a", 70, size=24)))
    measured = Store(tmp_path / "rows").measure(images, PixelFacts(), Engine())
    expected = np.stack([pixel_facts(images.read(index)) for index in range(len(images))])
    assert np.array_equal(np.asarray(measured.rows), expected)
    assert Store(tmp_path / "rows").measure(images, PixelFacts(), Engine()).computed == 0
