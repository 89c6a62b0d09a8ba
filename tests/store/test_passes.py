"""One pass over the images for all measures: each image is decoded once, and rows are what each measure alone gives."""

from __future__ import annotations

import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.data import ImageSet, open_images
from genaudit.store import Engine, Store

ENGINE = Engine(batch_size=4, workers=2)


class Corner:
    """The mean colour of a corner of the image; counts what it prepares and runs."""

    columns = ("red", "green", "blue")
    weights_sha256 = ""

    def __init__(self, side: int, *, shift: float = 0, network: str | None = None, batch: int = 4) -> None:
        self.side, self.shift, self.shared_network, self.batch = side, shift, network, batch
        self.name, self.preparation = f"corner {side} {shift}", side
        self.prepared = 0
        self.measured: list[bytes] = []
        self.passes: list[int] = []  # measures of each batch

    def describe(self, precision: str) -> dict[str, Any]:
        return {"side": self.side, "shift": self.shift}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        self.prepared += 1
        return np.ascontiguousarray(image[: self.side, : self.side])

    def batch_size(self, device: str) -> int:
        return self.batch

    def open(self, device: str, precision: str) -> Any:
        meter = self.open_together([self], device, precision)
        return lambda images, digests: meter(images, digests)[0]

    def open_together(self, measures: Sequence[Any], device: str, precision: str) -> Any:
        def meter(images: torch.Tensor, digests: list[bytes]) -> list[torch.Tensor]:
            self.passes.append(len(measures))
            self.measured += digests
            return [images.float().mean((2, 3)) + each.shift for each in measures]

        return meter


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each image was decoded."""
    counted: Counter[str] = Counter()
    original = ImageSet.read

    def read(self: ImageSet, index: int) -> np.ndarray:
        counted[self.names[index]] += 1
        return original(self, index)

    monkeypatch.setattr(ImageSet, "read", read)
    return counted


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_are_those_of_each_measure_alone_and_every_image_is_decoded_once(
    workers: int, make_images: Callable[..., Path], tmp_path: Path, reads: Counter[str]
) -> None:
    images = open_images(str(make_images("a", 21)))

    def measures() -> list[Corner]:
        shared = [Corner(6, network="n"), Corner(6, shift=2, network="n")]
        return [Corner(8), Corner(5, batch=3), Corner(8, shift=1), *shared]

    engine = Engine(workers=workers)
    alone = [Store(tmp_path / "alone").measure(images, each, engine) for each in measures()]
    reads.clear()
    together = measures()
    results = Store(tmp_path / "together").measure_all(images, together, engine)
    assert reads == dict.fromkeys(images.names, 1)
    for one, other in zip(alone, results, strict=True):
        assert other.computed == 21
        assert one.fingerprint == other.fingerprint
        assert np.array_equal(np.asarray(one.rows), np.asarray(other.rows))
    # equal preparations are shared, and one forward pass gives the rows of both measures of a network
    assert sorted(each.prepared for each in together) == [0, 0, 21, 21, 21]
    assert set(together[3].passes) == {2}
    assert together[4].passes == []


def test_an_image_is_measured_only_for_what_it_lacks(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images, store = open_images(str(make_images("a", 12))), Store(tmp_path / "rows")
    store.measure(images.subset(range(8)), Corner(8), ENGINE)
    store.measure(images.subset(range(4, 12)), Corner(5), ENGINE)
    measures = [Corner(8), Corner(5), Corner(6, network="n"), Corner(6, shift=1, network="n")]
    results = store.measure_all(images, measures, ENGINE)
    assert [(each.computed, each.reused) for each in results] == [(4, 8), (4, 8), (12, 0), (12, 0)]
    digests = [each.tobytes() for each in images.digests]
    assert set(measures[0].measured) == set(digests[8:])
    assert set(measures[1].measured) == set(digests[:4])
    again = store.measure_all(images, measures, ENGINE)
    assert all(each.computed == 0 and each.rows is not None for each in again)


def test_rows_of_one_network_that_are_there_are_not_written_twice(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images, store = open_images(str(make_images("a", 8))), Store(tmp_path / "rows")
    store.measure(images.subset([0, 1, 2]), Corner(6, network="n"), ENGINE)
    first, second = store.measure_all(images, [Corner(6, network="n"), Corner(6, shift=1, network="n")], ENGINE)
    assert (first.computed, second.computed) == (5, 8)
    assert first.rows is not None
    assert second.rows is not None
    assert np.array_equal(np.asarray(first.rows) + 1, np.asarray(second.rows))


def test_a_damaged_image_is_so_for_all_measures(make_images: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_images("a", 9)
    data = (folder / "0004.png").read_bytes()
    (folder / "0004.png").write_bytes(data[: len(data) // 2])
    images = open_images(str(folder), on_error="skip", max_skipped=0.5)
    store = Store(tmp_path / "rows")
    results = store.measure_all(images, [Corner(8), Corner(5)], ENGINE)
    assert [list(each.damaged) for each in results] == [[4], [4]]
    assert [each.computed for each in results] == [8, 8]
    rest = store.measure_all(images.without(results[0].damaged), [Corner(8), Corner(5)], ENGINE)
    assert [(each.computed, each.reused) for each in rest] == [(0, 8), (0, 8)]


def test_ranks_share_images_and_each_decodes_its_own(
    make_images: Callable[..., Path], tmp_path: Path, reads: Counter[str]
) -> None:
    images, store = open_images(str(make_images("a", 11))), Store(tmp_path / "rows")
    store.measure(images.subset([0, 1, 2, 3]), Corner(8), ENGINE)
    reads.clear()
    agreed: list[np.ndarray] = []

    def agree(lacks: np.ndarray) -> np.ndarray:
        agreed.append(lacks)
        return agreed[0]

    for rank in range(2):
        store.measure_all(images, [Corner(8), Corner(5)], ENGINE, share=(rank, 2), agree=agree)
    assert reads == dict.fromkeys(images.names, 1)
    for side, measured in zip((8, 5), store.measure_all(images, [Corner(8), Corner(5)], ENGINE), strict=True):
        expected = [images.read(i)[:side, :side].mean((0, 1)) for i in range(len(images))]
        assert measured.rows is not None
        np.testing.assert_allclose(measured.rows[:], expected, rtol=1e-6)


def test_an_interrupted_pass_keeps_the_rows_of_every_measure(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images, store = open_images(str(make_images("a", 40))), Store(tmp_path / "rows")

    class Stopping(Corner):
        def open(self, device: str, precision: str) -> Any:
            inner = super().open(device, precision)

            def meter(batch: torch.Tensor, digests: list[bytes]) -> torch.Tensor:
                if len(self.measured) >= 24:
                    raise KeyboardInterrupt
                return inner(batch, digests)

            return meter

    with pytest.raises(KeyboardInterrupt):
        store.measure_all(images, [Stopping(8), Corner(5)], ENGINE)
    results = store.measure_all(images, [Corner(8), Corner(5)], ENGINE)
    assert results[0].reused == 24
    assert results[1].reused >= 16  # its batches of the groups before


@pytest.mark.parametrize("count", [100, 200])
def test_prepared_images_in_memory_do_not_grow_with_the_set(
    count: int, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Watched(Corner):
        def prepare(self, image: np.ndarray) -> np.ndarray:
            nonlocal most
            made = super().prepare(image).view(_Array)
            alive.add(made)
            most = max(most, len(alive))
            return made

    class _Array(np.ndarray):
        __hash__ = object.__hash__  # type: ignore[assignment]
        __eq__ = object.__eq__  # type: ignore[assignment]

    images = open_images(str(make_images("a", count)))
    Store(tmp_path / "rows").measure_all(images, [Watched(8), Watched(5, batch=3)], Engine(workers=2))
    # five groups of 16 decoded ahead and one being handed on, for two preparations, and what waits for a batch
    assert most <= 2 * (6 * 16 + 4)


class Named(Corner):
    """Rows that say which digest a batch's image came with, beside a colour that says which image it was."""

    columns = ("red", "first", "last")

    def open_together(self, measures: Sequence[Any], device: str, precision: str) -> Any:
        def meter(images: torch.Tensor, digests: list[bytes]) -> list[torch.Tensor]:
            colours = images[:, 0].float().mean((1, 2))
            ends = [torch.tensor([float(digest[place]) for digest in digests]) for place in (0, -1)]
            return [torch.stack([colours, *ends], dim=1) for _ in measures]

        return meter


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_comes_to_a_network_with_its_own_digest(
    workers: int, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    """From which a measure draws: 21 images in batches of 4, the last filled up; again where every third has a row."""
    images, store = open_images(str(make_images("a", 21))), Store(tmp_path / "rows")
    digests = images.digests.astype(np.float64)
    red = [images.read(index)[:8, :8, 0].mean() for index in range(21)]
    expected = np.stack([red, digests[:, 0], digests[:, -1]], axis=1)
    whole = store.measure(images, Named(8), Engine(workers=workers)).rows
    np.testing.assert_allclose(np.asarray(whole), expected, rtol=1e-6)
    partly = Store(tmp_path / "others")
    partly.measure(images.subset(range(0, 21, 3)), Named(8), Engine(workers=workers))
    rows = partly.measure(images, Named(8), Engine(workers=workers)).rows
    np.testing.assert_allclose(np.asarray(rows), expected, rtol=1e-6)


def test_a_bar_counts_images_and_time_is_shared_out(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib
    from collections.abc import Iterator

    told: list[int] = []

    @contextlib.contextmanager
    def bar(total: int) -> Iterator[Callable[[int], None]]:
        told.append(-total)
        yield told.append

    images = open_images(str(make_images("a", 10)))
    clock = [0.0]  # seconds, which only networks take
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    class Slow(Corner):
        seconds = 1.0

        def open_together(self, measures: Sequence[Any], device: str, precision: str) -> Any:
            meter = super().open_together(measures, device, precision)

            def slow(images: torch.Tensor, digests: list[bytes]) -> list[torch.Tensor]:
                clock[0] += self.seconds
                return meter(images, digests)

            return slow

    measures = [Slow(8), Slow(5, batch=3), Slow(6, network="n"), Slow(6, shift=1, network="n")]
    measures[0].seconds, measures[2].seconds = 3.0, 2.0
    results = Store(tmp_path / "rows").measure_all(images, measures, Engine(workers=0), advance=bar)
    assert told[0] == -10
    assert sum(told[1:]) == 10
    # three batches of four, or four of three; two measures of one network share its time
    assert [each.seconds for each in results] == pytest.approx([3 * 3, 4 * 1, 3 * 2 / 2, 3 * 2 / 2])


class Small(Corner):
    """Runs on a device that takes three images at a time."""

    def open_together(self, measures: Sequence[Any], device: str, precision: str) -> Any:
        meter = super().open_together(measures, device, precision)

        def limited(images: torch.Tensor, digests: list[bytes]) -> Any:
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return meter(images, digests)

        return limited


@pytest.mark.filterwarnings("ignore:.*do not fit")
def test_batches_that_do_not_fit_are_halved_and_the_rows_are_the_same(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images = open_images(str(make_images("a", 21)))
    engine = Engine(batch_size=16)
    pair = [Small(6, network="n"), Small(6, shift=2, network="n")]
    found = Store(tmp_path / "halved").measure_all(images, pair, engine)
    whole = Store(tmp_path / "whole").measure_all(images, [Corner(6), Corner(6, shift=2)], engine)
    for one, other in zip(found, whole, strict=True):
        assert np.array_equal(np.asarray(one.rows), np.asarray(other.rows))
