"""Attachments: each image gets back what was measured beside its own row, whatever the order, the shard or the rank."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from genaudit.data import ImageSet, open_images
from genaudit.errors import UserError
from genaudit.measures.measure import fingerprint
from genaudit.store import Engine, Rows, Store, measuring, shards, upkeep
from genaudit.store.shards import TornShard, read_shard, write_shard
from genaudit.store.stream import RowStream

ENGINE = Engine(batch_size=4, workers=0)
DTYPES = ("bool", "uint8", "int16", "int64", "float16", "float32", "float64")


class Stamped:
    """Rows: the mean of each channel. Beside each the image's digest, which says whose it is, and its corner."""

    columns = ("red", "green", "blue")
    weights_sha256 = ""
    attachments: ClassVar[Any] = {"stamp": ("uint8", (16,)), "corner": ("float32", (3, None, 8))}

    def __init__(self, name: str = "stamped", *, network: str | None = None, most: int = 99) -> None:
        self.name, self.shared_network, self.most = name, network, most

    def describe(self, precision: str) -> dict[str, Any]:
        return {"measure": self.name}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image[:8, :8])

    def batch_size(self, device: str) -> int:
        return 4

    def given(self, images: torch.Tensor, digests: Sequence[bytes]) -> Any:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        stamps = torch.tensor([list(digest) for digest in digests], dtype=torch.uint8)
        return images.float().mean((2, 3)), {"corner": images.float(), "stamp": stamps}

    def open(self, device: str, precision: str) -> Any:
        return self.given

    def open_together(self, measures: Sequence[Any], device: str, precision: str) -> Any:
        return lambda images, digests: [each.given(images, digests) for each in measures]


class Plain(Stamped):
    attachments = None

    def given(self, images: torch.Tensor, digests: Sequence[bytes]) -> Any:
        return super().given(images, digests)[0]


@pytest.fixture
def images(make_images: Callable[..., Path]) -> ImageSet:
    found = open_images(str(make_images("a", 21)))
    assert isinstance(found, ImageSet)
    return found


def check(images: ImageSet, rows: Rows | None) -> None:
    """Rows and attachments are those of the images, in their order; they say themselves whose they are."""
    assert rows is not None
    corners = np.stack([images.read(index)[:8, :8].transpose(2, 0, 1) for index in range(len(images))])
    np.testing.assert_allclose(rows[:], corners.mean((2, 3)), rtol=1e-6)
    beside = rows.attachments
    assert set(beside) == {"stamp", "corner"}
    assert np.array_equal(beside["stamp"][:], images.digests)
    assert np.array_equal(beside["corner"][:], corners)
    assert beside["corner"].shape == corners.shape
    assert np.array_equal(beside["stamp"][len(images) - 1], images.digests[-1])


def folder_of(root: Path, measure: Any) -> Path:
    key = fingerprint(measure, "float32")
    return root / key[:2] / key


@given(data=st.data(), n=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_in_any_order_for_every_type_and_shape(
    data: st.DataObject, n: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kinds = data.draw(
        st.lists(st.tuples(st.sampled_from(DTYPES), arrays.array_shapes(min_dims=0, max_dims=3)), max_size=3)
    )
    rng = np.random.default_rng(0)
    written = {f"a{i}": rng.normal(scale=99, size=(n, *shape)).astype(dtype) for i, (dtype, shape) in enumerate(kinds)}
    digests, rows = rng.integers(0, 256, (n, 16), dtype=np.uint8), rng.normal(size=(n, 2)).astype(np.float32)
    shard = read_shard(write_shard(tmp_path_factory.mktemp("shard"), digests, rows, "x", written), "x")
    order = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1)))
    found = Rows(lambda again: ([shard], np.zeros(len(order), int), order))
    assert np.array_equal(found[:], rows[order])
    assert set(found.attachments) == set(written)
    some = np.array(data.draw(st.lists(st.integers(0, len(order) - 1))), dtype=int)
    for name, array in written.items():
        read = found.attachments[name]
        assert (read.shape, read.dtype) == ((len(order), *array.shape[1:]), array.dtype)
        assert np.array_equal(np.asarray(read), array[order])
        assert np.array_equal(read[some], array[order][some])
        assert np.array_equal(read.subset(some)[::-1], array[order][some][::-1])


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_goes_unnoticed(position: int, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(1)
    digests, rows = rng.integers(0, 256, (3, 16), dtype=np.uint8), np.zeros((3, 2), np.float32)
    beside = {"map": rng.normal(size=(3, 4, 4)).astype(np.float32), "picture": rng.integers(0, 9, (3, 5), np.uint8)}
    path = write_shard(tmp_path_factory.mktemp("shard"), digests, rows, "x", beside)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        shard = read_shard(path, "x")
        found = {name: table.read(np.arange(3)) for name, table in shard.attachments.items()}
    except TornShard:
        return
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in beside.items()}
    path.write_bytes(content[: position % len(content)])
    with pytest.raises(TornShard):
        read_shard(path, "x")


def test_a_shard_of_the_version_before_is_read_and_rows_alone_are_written_as_then(tmp_path: Path) -> None:
    """The format of shards without attachments, written out: others wrote and will read them."""
    digests, rows = np.arange(48, dtype=np.uint8).reshape(3, 16), np.arange(6, dtype="<f4").reshape(3, 2)
    checks = np.frombuffer(zlib.crc32(rows.tobytes()).to_bytes(4, "little"), np.uint8).reshape(1, 4)
    head = hashlib.sha256(b'["key", 3, 2, 2048]' + digests.tobytes() + checks.tobytes()).hexdigest()
    about = {"fingerprint": "key", "block": "2048", "sha256": head}
    before = tmp_path / "before.shard"
    before.write_bytes(save({"digests": digests, "checks": checks, "rows": rows}, metadata=about))
    shard = read_shard(before, "key")
    assert np.array_equal(shard.rows.read(np.arange(3)), rows)
    assert shard.attachments == {}
    now = write_shard(tmp_path, digests, rows, "key").read_bytes()
    assert len(now) == before.stat().st_size  # metadata have no order
    length = int.from_bytes(now[:8], "little")
    assert json.loads(now[8 : 8 + length]) == json.loads(before.read_bytes()[8 : 8 + length])
    assert now[8 + length :] == before.read_bytes()[8 + length :]


def test_every_image_gets_its_own_whatever_was_there_before(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of a batch each, a network that two measures share, batches that do not fit, images measured before."""
    monkeypatch.setattr(measuring, "FIRST_SHARD_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "LAST_SHARD_SECONDS", 0.0)
    store, rng = Store(tmp_path / "rows"), np.random.default_rng(0)
    store.measure(images.subset([3, 11, 4]), Stamped("one", network="n"), ENGINE)
    store.measure(images.subset([20, 3]), Stamped("two", network="n"), ENGINE)
    order = rng.permutation(21)
    mixed = images.subset([*order, *order[:5]])  # some of them twice
    trio = [Stamped("one", network="n"), Stamped("two", network="n", most=3), Plain("three", network="n")]
    with pytest.warns(RuntimeWarning, match="do not fit"):
        one, two, three = store.measure_all(mixed, trio, ENGINE)
    assert (one.computed, two.computed, three.computed) == (18, 19, 21)
    check(mixed, one.rows)
    check(mixed, two.rows)
    assert three.rows is not None
    assert three.rows.attachments == {}
    check(images, store.measure(images, trio[0], ENGINE).rows)
    store.remember(images.digests, images.digest)
    check(images, store.rows_of(images.digest, one.fingerprint))


def test_two_ranks_and_a_stream_fill_one_store(images: ImageSet, tmp_path: Path) -> None:
    store, lacks = Store(tmp_path / "rows"), np.ones((1, 21), bool)
    for rank in (1, 0):
        share: dict[str, Any] = {"share": (rank, 2), "agree": lambda mine: lacks}
        store.measure(images.subset(range(21)), Stamped(), ENGINE, **share)
    measured = store.measure(images, Stamped(), ENGINE)
    assert measured.computed == 0
    check(images, measured.rows)
    with RowStream(Store(tmp_path / "stream"), Stamped(), ENGINE) as stream:
        rows, _ = stream.rows(images.subset([5, 2]))
    assert np.array_equal(rows, np.asarray(measured.rows)[[5, 2]])
    check(images.subset([2, 5]), Store(tmp_path / "stream").measure(images.subset([2, 5]), Stamped(), ENGINE).rows)


def test_a_measure_that_stops_keeps_what_belongs_together(images: ImageSet, tmp_path: Path) -> None:
    class Stopping(Stamped):
        left = 3

        def given(self, images: torch.Tensor, digests: Sequence[bytes]) -> Any:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().given(images, digests)

    store = Store(tmp_path / "rows")
    with pytest.raises(KeyboardInterrupt):
        store.measure(images, Stopping(), ENGINE)
    measured = store.measure(images, Stamped(), ENGINE)
    assert measured.reused == 12
    check(images, measured.rows)


def one_by_one(images: ImageSet, root: Path) -> list[Path]:
    for index in range(len(images)):
        Store(root).measure(images.subset([index]), Stamped(), ENGINE)
    return sorted(folder_of(root, Stamped()).glob("*.shard"))


def damage(path: Path, name: str) -> None:
    """Flips a bit of an attachment, which no head holds."""
    table, content = read_shard(path).attachments[name], bytearray(path.read_bytes())
    content[table.offset] ^= 1
    path.write_bytes(content)


def test_compaction_keeps_each_images_and_readers_meanwhile_find_them(images: ImageSet, tmp_path: Path) -> None:
    some = images.subset(range(9))
    one_by_one(some, tmp_path)
    one_by_one(some.subset([2, 1]), tmp_path)
    rows = Store(tmp_path).measure(some, Stamped(), ENGINE).rows
    assert upkeep.compact(tmp_path)[:2] == (9, 1)
    check(some, rows)  # which had been located in the shards that are gone
    check(some.subset([8, 0, 4]), Store(tmp_path).measure(some.subset([8, 0, 4]), Stamped(), ENGINE).rows)


def test_damage_of_an_attachment_costs_its_own_shard_and_is_measured_again(images: ImageSet, tmp_path: Path) -> None:
    some = images.subset(range(6))
    for clean in (upkeep.compact, upkeep.verify):
        root = tmp_path / clean.__name__
        damage(one_by_one(some, root)[3], "corner")
        clean(root)
        assert len(list(folder_of(root, Stamped()).glob("*.torn"))) == 1
        measured = Store(root).measure(some, Stamped(), ENGINE)
        assert measured.computed == 1
        check(some, measured.rows)
    damage(one_by_one(some, tmp_path / "read")[3], "corner")
    found = Store(tmp_path / "read").measure(some, Stamped(), ENGINE)
    assert found.rows is not None
    assert found.computed == 0
    assert found.rows[:].shape == (6, 3)  # rows are read without them
    corners = found.rows.attachments["corner"]
    assert len(corners[[0, 5]]) == 2
    with pytest.raises(UserError, match=r"is damaged .*run again"):
        corners[3]
    again = Store(tmp_path / "read").measure(some, Stamped(), ENGINE)
    assert again.computed == 1
    check(some, again.rows)


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = np.random.default_rng(0).integers(0, 256, (500, 16), dtype=np.uint8)
    rows, maps = np.ones((500, 1), np.float32), np.ones((500, 64, 64), np.float32)  # of 16 KiB, a block each
    path = write_shard(tmp_path, digests, rows, "x", {"map": maps})
    read: list[int] = []
    original = shards._read_at
    monkeypatch.setattr(shards, "_read_at", lambda d, offset, size: read.append(size) or original(d, offset, size))
    shard = read_shard(path, "x")
    found = Rows(lambda again: ([shard], np.zeros(500, int), np.arange(500)))
    assert found[:].shape == (500, 1)
    assert sum(read) == 500 * (16 + 4 + 4) + 4  # digests, checks of the maps, rows with one check
    read.clear()
    assert found.attachments["map"][[499, 7, 8]].shape == (3, 64, 64)
    assert sum(read) == 3 * maps[0].nbytes


def test_declaring_other_attachments_measures_again(images: ImageSet, tmp_path: Path) -> None:
    class Fewer(Stamped):
        attachments: ClassVar[Any] = {"stamp": ("uint8", (16,))}

        def given(self, images: torch.Tensor, digests: Sequence[bytes]) -> Any:
            rows, beside = super().given(images, digests)
            return rows, {"stamp": beside["stamp"]}

    store = Store(tmp_path)
    assert [store.measure(images, each, ENGINE).computed for each in (Plain(), Fewer(), Stamped(), Plain())] == [
        21,
        21,
        21,
        0,
    ]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"stamp": ("uint8", (16,))}, r"declares the attachments stamp and gave corner, stamp"),
        (None, r"declares the attachments none and gave corner, stamp"),
        (
            {"stamp": ("uint8", (16,)), "corner": ("uint8", (3, 8, 8))},
            r"corner as uint8 \(4, 3, 8, 8\) and gave float32",
        ),
        (
            {"stamp": ("uint8", (15,)), "corner": ("float32", (3, 8, 8))},
            r"stamp as uint8 \(4, 15\) and gave uint8 \(4, 16\)",
        ),
    ],
)
def test_what_a_measure_gives_is_held_against_what_it_declares(
    declared: Any, said: str, images: ImageSet, tmp_path: Path
) -> None:
    measure = type("Other", (Stamped,), {"attachments": declared})()
    with pytest.raises(UserError, match=said):
        Store(tmp_path).measure(images, measure, ENGINE)
