"""Prepared copies of large image sets: one for all tables, of a size that is said, made in bounded memory."""

from __future__ import annotations

import threading
from collections import namedtuple
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genaudit.errors import UserError
from genaudit.measures.piad import PreparedPixels
from genaudit.recipe import Context
from genaudit_papers import measuring


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "faces"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder.parent


def context(root: Path, table: str, data: Path, told: list[str] | None = None) -> Context:
    report = told.append if told is not None else lambda message: None
    return Context("paper", root / "tables" / table, data, root / "store", report=report)


def test_tables_share_a_copy_whose_size_was_said(tmp_path: Path, data: Path) -> None:
    told: list[str] = []
    pixels = PreparedPixels(8, 3)
    first, names = measuring.resized(context(tmp_path, "one", data, told), "faces", pixels)
    assert names == [f"{i}.png" for i in range(9)]
    assert len(told) == 1
    assert "9 images at 8x8, 1.73e-06 GB" in told[0]
    again, _ = measuring.resized(context(tmp_path, "another", data, told), "faces", pixels)
    assert len(told) == 1
    assert again.filename == first.filename  # type: ignore[attr-defined]
    expected = [pixels.apply(np.asarray(Image.open(data / "faces" / name))).transpose(2, 0, 1) for name in names]
    np.testing.assert_array_equal(first, expected)


def test_another_preparation_of_the_same_images_is_another_copy(tmp_path: Path, data: Path) -> None:
    here = context(tmp_path, "one", data)
    kinds = (PreparedPixels(8, 3), PreparedPixels(8, 3, crop=9), PreparedPixels(8, 3, fit="crop"), PreparedPixels(8, 1))
    copies = [measuring.resized(here, "faces", pixels)[0].tobytes() for pixels in kinds]
    assert len(set(copies)) == 4


def test_only_so_many_images_are_on_their_way_at_a_time(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool keeps all that it was given to do: a million images at once are gigabytes before the first is read."""
    waiting, most, lock = 0, 0, threading.Lock()

    class Counting(ThreadPoolExecutor):
        def submit(self, *args: Any, **keys: Any) -> Future[Any]:
            nonlocal waiting, most
            with lock:
                waiting += 1
                most = max(most, waiting)
            future = super().submit(*args, **keys)
            future.add_done_callback(self._done)
            return future

        def _done(self, _: Any) -> None:
            nonlocal waiting
            with lock:
                waiting -= 1

    monkeypatch.setattr(measuring, "ThreadPoolExecutor", Counting)
    monkeypatch.setattr(measuring, "AT_ONCE", 2)
    copy, _ = measuring.resized(context(tmp_path, "one", data), "faces", PreparedPixels(8, 3))
    assert most <= 2
    assert all(image.any() for image in copy)


def test_a_damaged_image_and_a_disk_without_room_are_sentences(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(tmp_path, "one", data)
    with monkeypatch.context() as full:
        usage = namedtuple("usage", "total used free")(10**6, 10**6, 100)
        full.setattr(measuring.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(UserError, match=r"faces: a copy of 9 images .* has 1e-07 GB left; store=DIR"):
            measuring.resized(here, "faces", PreparedPixels(8, 3))
    path = data / "faces" / "3.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"3\.png.*mend or remove it"):
        measuring.resized(here, "faces", PreparedPixels(8, 3))
    assert not list((tmp_path / "tables" / "images").glob("*.npy"))
