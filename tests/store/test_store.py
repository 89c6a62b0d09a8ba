"""The row store: each image is measured once, whatever it is called and whoever asks."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.data import ImageSet, open_images
from genaudit.errors import UserError
from genaudit.store import Engine, Store

ENGINE = Engine(batch_size=4, workers=2)


class MeanColour:
    """A measure without a network: the mean of each channel; remembers what it was asked to measure."""

    name = "mean colour"
    columns = ("red", "green", "blue")
    weights_sha256 = ""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.measured: list[bytes] = []

    def describe(self, precision: str) -> dict[str, Any]:
        return {"measure": self.name, "version": self.version, "precision": precision}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image[:8, :8])

    def batch_size(self, device: str) -> int:
        return 4

    def open(self, device: str, precision: str) -> Any:
        def meter(images: torch.Tensor, digests: list[bytes]) -> torch.Tensor:
            assert images.shape == (len(digests), 3, 8, 8)
            self.measured += digests
            return images.float().mean((2, 3))

        return meter


def test_rows_are_in_the_order_of_the_images(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images = open_images(str(make_images("a", 11)))
    expected = np.stack([images.read(i)[:8, :8].reshape(-1, 3).mean(0) for i in range(11)])
    measured = Store(tmp_path / "rows").measure(images, MeanColour(), ENGINE)
    assert (measured.computed, measured.reused) == (11, 0)
    np.testing.assert_allclose(np.asarray(measured.rows), expected, rtol=1e-6)
    shuffled = images.subset([7, 0, 3])
    again = Store(tmp_path / "rows").measure(shuffled, MeanColour(), ENGINE)
    assert (again.computed, again.reused) == (0, 3)
    assert np.array_equal(np.asarray(again.rows), np.asarray(measured.rows)[[7, 0, 3]])


def test_renamed_copied_and_growing_folders_reuse_rows(make_images: Callable[..., Path], tmp_path: Path) -> None:
    first, store = make_images("a", 6), Store(tmp_path / "rows")
    store.measure(open_images(str(first)), MeanColour(), ENGINE)
    second = tmp_path / "renamed"
    second.mkdir()
    for index, path in enumerate(sorted(first.iterdir())):
        shutil.copy(path, second / f"z{9 - index}.png")
    shutil.copy(sorted(make_images("b", 3, seed=1).iterdir())[0], second / "new.png")
    measured = store.measure(open_images(str(second)), MeanColour(), ENGINE)
    assert (measured.computed, measured.reused) == (1, 6)


def test_equal_images_are_measured_once(make_images: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_images("a", 3)
    for copy in range(4):
        shutil.copy(folder / "0000.png", folder / f"copy{copy}.png")
    measure = MeanColour()
    measured = Store(tmp_path / "rows").measure(open_images(str(folder)), measure, ENGINE)
    assert (measured.computed, measured.reused) == (3, 4)
    assert len(set(measure.measured)) == 3
    assert measured.rows is not None
    assert len(measured.rows) == 7


def test_another_measure_or_precision_has_rows_of_its_own(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images, store = open_images(str(make_images("a", 3))), Store(tmp_path / "rows")
    assert store.measure(images, MeanColour(1), ENGINE).computed == 3
    assert store.measure(images, MeanColour(2), ENGINE).computed == 3
    assert store.measure(images, MeanColour(1), Engine(precision="float64")).computed == 3
    assert store.measure(images, MeanColour(1), Engine(batch_size=1, workers=0)).computed == 0


def test_a_torn_shard_is_set_aside_and_measured_again(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images, store = open_images(str(make_images("a", 5))), Store(tmp_path / "rows")
    before = np.asarray(store.measure(images, MeanColour(), ENGINE).rows)
    (shard,) = (tmp_path / "rows").rglob("*.shard")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    measured = store.measure(images, MeanColour(), ENGINE)
    assert measured.computed == 5
    assert len(measured.torn) == 1
    assert np.array_equal(np.asarray(measured.rows), before)
    assert len(list((tmp_path / "rows").rglob("*.torn"))) == 1
    assert not store.measure(images, MeanColour(), ENGINE).torn


def test_ranks_measure_disjoint_shares_that_complete_each_other(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images, store = open_images(str(make_images("a", 7))), Store(tmp_path / "rows")
    # the third rank asks when the others have finished, so nothing but its own share was missing before
    lists = [MeanColour() for _ in range(3)]
    assert store.measure(images, lists[0], ENGINE, share=(0, 1)).computed == 7
    shutil.rmtree(tmp_path / "rows")
    first = store.measure(images, lists[1], ENGINE, share=(0, 2))
    assert first.computed == 4
    assert first.rows is None
    second = store.measure(images, lists[2], ENGINE, share=(0, 1))
    assert second.computed == 3
    assert second.rows is not None
    assert set(lists[1].measured) | set(lists[2].measured) == set(lists[0].measured)
    assert not set(lists[1].measured) & set(lists[2].measured)


def test_damaged_images_are_reported_and_the_others_kept(make_images: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_images("a", 9)
    data = (folder / "0004.png").read_bytes()
    (folder / "0004.png").write_bytes(data[: len(data) // 2])  # the header is whole: only decoding finds it
    images = open_images(str(folder), on_error="skip", max_skipped=0.5)
    store = Store(tmp_path / "rows")
    measured = store.measure(images, MeanColour(), ENGINE)
    assert measured.rows is None
    assert list(measured.damaged) == [4]
    assert measured.computed == 8
    rest = store.measure(images.without(measured.damaged), MeanColour(), ENGINE)
    assert (rest.computed, rest.reused) == (0, 8)


def test_a_batch_is_always_whole_so_that_rows_do_not_depend_on_its_company(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images = open_images(str(make_images("a", 5)))
    sizes = []

    class Recording(MeanColour):
        def open(self, device: str, precision: str) -> Any:
            inner = super().open(device, precision)

            def meter(batch: torch.Tensor, digests: list[bytes]) -> torch.Tensor:
                sizes.append(len(batch))
                return inner(batch, digests)

            return meter

    Store(tmp_path / "rows").measure(images, Recording(), ENGINE)
    assert sizes == [4, 4]


def test_an_interrupted_run_keeps_what_it_measured(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images, store = open_images(str(make_images("a", 12))), Store(tmp_path / "rows")

    class Stopping(MeanColour):
        def open(self, device: str, precision: str) -> Any:
            inner = super().open(device, precision)

            def meter(batch: torch.Tensor, digests: list[bytes]) -> torch.Tensor:
                if len(self.measured) >= 8:
                    raise KeyboardInterrupt
                return inner(batch, digests)

            return meter

    with pytest.raises(KeyboardInterrupt):
        store.measure(images, Stopping(), ENGINE)
    measured = store.measure(images, MeanColour(), ENGINE)
    assert (measured.computed, measured.reused) == (4, 8)


def test_batches_that_had_begun_when_reading_was_interrupted_are_kept(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose rows wait to be collected: the fifth batch is being read, the four before it have begun."""
    images, store, read = open_images(str(make_images("a", 20))), Store(tmp_path / "rows"), ImageSet.read
    measure, begun = MeanColour(), threading.Semaphore(0)

    def beginning(device: str, precision: str) -> Any:
        inner = MeanColour.open(measure, device, precision)

        def meter(images: torch.Tensor, digests: list[bytes]) -> torch.Tensor:
            begun.release()
            rows: torch.Tensor = inner(images, digests)
            return rows

        return meter

    def stopping(self: ImageSet, index: int) -> np.ndarray:
        if index == 17:  # a busy machine may not have come to the fourth batch yet
            assert all(begun.acquire(timeout=60) for _ in range(4))
            raise KeyboardInterrupt
        return read(self, index)

    monkeypatch.setattr(measure, "open", beginning)
    monkeypatch.setattr(ImageSet, "read", stopping)
    with pytest.raises(KeyboardInterrupt):
        store.measure(images, measure, Engine(workers=0))
    monkeypatch.setattr(ImageSet, "read", read)
    measured = store.measure(images, MeanColour(), Engine(workers=0))
    assert (measured.computed, measured.reused) == (4, 16)


def test_an_unreadable_source_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing"):
        open_images(str(tmp_path / "nothing"))


def test_a_remembered_set_leads_to_its_rows_a_damaged_list_is_written_again_and_a_full_store_loses_nothing(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images, store = open_images(str(make_images("a", 5))), Store(tmp_path / "store")
    measured = store.measure(images, MeanColour(), ENGINE)
    assert store.rows_of(images.digest, measured.fingerprint) is None
    for _ in range(2):
        store.remember(images.digests, images.digest)
        found = store.rows_of(images.digest, measured.fingerprint)
        assert found is not None
        assert measured.rows is not None
        assert np.array_equal(found[:], measured.rows[:])
        (kept,) = (tmp_path / "store" / "sets").iterdir()
        kept.write_bytes(kept.read_bytes()[:-3] + b"abc")
        assert store.rows_of(images.digest, measured.fingerprint) is None
    (tmp_path / "file").write_text("")
    Store(tmp_path / "file").remember(images.digests, images.digest)
