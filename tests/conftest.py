"""Small real runs for the tests: folders of images, a tiny untrained network, a store of their own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Small matrices gain nothing from threads, and two test processes run at a time: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A network is compiled in a second, which sets of twenty images never win back; what is about OpenVINO asks for it.
os.environ.setdefault("GENAUDIT_ENGINE", "torch")

# timm's smallest residual network, 40,000 parameters, random weights: any mathematics of the spine runs on it.
TINY = (
    "feature_model=timm",
    "feature_model.name=test_resnet",
    "feature_model.pretrained=false",
    "feature_model.size=32",
)


@pytest.fixture
def tiny() -> list[str]:
    """Command-line keys of the tiny network."""
    return list(TINY)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own row store and works in a folder of its own."""
    monkeypatch.setenv("GENAUDIT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder of smooth random colour images and returns its path."""

    def make(name: str, count: int, *, seed: int = 0, size: int = 20) -> Path:
        return write_images(tmp_path / name, count, seed=seed, size=size)

    return make


def write_images(folder: Path, count: int, *, seed: int = 0, size: int = 20) -> Path:
    """Writes smooth random colour images into a new folder and returns it."""
    folder.mkdir()
    rng = np.random.default_rng([seed, count])
    for index in range(count):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{index:04}.png")
    return folder


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
