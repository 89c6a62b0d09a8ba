"""Shards: what is written is what is read, and damage never goes unnoticed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudit.store.measuring import ShardWriter
from genaudit.store.rows import Rows
from genaudit.store.shards import Shard, TornShard, read_shard, write_shard


def _shard(folder: Path, n: int = 5, dim: int = 3, seed: int = 0) -> tuple[Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    digests = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    rows = rng.normal(size=(n, dim)).astype(np.float32)
    return write_shard(folder, digests, rows), digests, rows


def test_a_shard_reads_back_what_was_written(tmp_path: Path) -> None:
    path, digests, rows = _shard(tmp_path)
    shard = read_shard(path)
    assert shard.digests.tobytes() == digests.tobytes()
    assert np.array_equal(rows_of(shard), rows)
    assert not list(tmp_path.glob("*.tmp"))


def rows_of(shard: Shard) -> np.ndarray:
    return Rows(lambda again: ([shard], np.zeros(len(shard), int), np.arange(len(shard))))[:]


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_goes_unnoticed(position: int, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, _, _ = _shard(tmp_path_factory.mktemp("shard"))
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        shard = read_shard(path)
        read = shard.rows.read(np.arange(5))
    except TornShard:
        return
    # a flip in the header's padding or names changes nothing that is read: the rows must then be the right ones
    original, _, rows = _shard(tmp_path_factory.mktemp("original"))
    assert shard.digests.tobytes() == read_shard(original).digests.tobytes()
    assert np.array_equal(read, rows)


@given(length=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_truncated_shard_is_torn(length: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, _, _ = _shard(tmp_path_factory.mktemp("shard"))
    data = path.read_bytes()
    path.write_bytes(data[: min(length, len(data) - 1)])
    with pytest.raises(TornShard):
        read_shard(path)


@given(seed=st.integers(0, 1000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_rows_index_like_an_array(seed: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(seed)
    shards, arrays = [], []
    for part in range(3):
        path, _, rows = _shard(folder, n=int(rng.integers(1, 7)), dim=4, seed=seed * 10 + part)
        shards.append(read_shard(path))
        arrays.append(rows)
    shard_of = np.repeat(np.arange(3), [len(a) for a in arrays])
    row_of = np.concatenate([np.arange(len(a)) for a in arrays])
    order = rng.permutation(len(shard_of))
    expected = np.concatenate(arrays)[order]
    rows = Rows(lambda again: (shards, shard_of[order], row_of[order]))
    n = len(expected)
    start, stop = data.draw(st.integers(-n, n)), data.draw(st.integers(-n, 2 * n))
    step = data.draw(st.sampled_from([1, 2, -1]))
    some = data.draw(st.lists(st.integers(-n, n - 1)))
    assert rows.shape == expected.shape
    assert np.array_equal(rows[start:stop:step], expected[start:stop:step])
    assert np.array_equal(rows[np.array(some, dtype=int)], expected[np.array(some, dtype=int)])
    assert np.array_equal(rows[0], expected[0])
    assert np.array_equal(rows[:, 1], expected[:, 1])
    assert np.array_equal(rows[expected[:, 0] > 0], expected[expected[:, 0] > 0])
    assert np.array_equal(np.asarray(rows), expected)
    rows.close()
    assert np.array_equal(rows[0], expected[0])


@given(seed=st.integers(0, 1000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_rows_of_any_blocks_are_read_and_only_damaged_blocks_refused(
    seed: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(1, 40)), int(rng.choice([1, 700, 3000, 5000]))
    path, _, rows = _shard(tmp_path_factory.mktemp("shard"), n, dim, seed)
    shard = read_shard(path)
    wanted = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), dtype=int)
    assert np.array_equal(shard.rows.read(wanted), rows[wanted])
    hit = data.draw(st.integers(0, n - 1))
    content = bytearray(path.read_bytes())
    content[shard.rows.offset + (hit * dim + int(rng.integers(dim))) * 4] ^= 4
    path.write_bytes(content)
    if np.any(wanted // shard.rows.block == hit // shard.rows.block):
        with pytest.raises(TornShard):
            shard.rows.read(wanted)
    else:
        assert np.array_equal(shard.rows.read(wanted), rows[wanted])


def test_a_shard_of_another_measure_is_refused(tmp_path: Path) -> None:
    path = write_shard(tmp_path, np.zeros((1, 16), np.uint8), np.zeros((1, 2), np.float32), "one")
    assert len(read_shard(path, "one")) == 1
    with pytest.raises(TornShard, match="another measure"):
        read_shard(path, "other")


def test_a_shard_from_before_blocks_had_checksums_is_read(tmp_path: Path) -> None:
    import hashlib

    from safetensors.numpy import save

    digests, rows = np.arange(48, dtype=np.uint8).reshape(3, 16), np.arange(6, dtype=np.float32).reshape(3, 2)
    checksum = hashlib.sha256(digests.tobytes() + rows.tobytes()).hexdigest()
    path = tmp_path / "old.shard"
    payload = save({"digests": digests, "rows": rows}, metadata={"sha256": checksum})
    path.write_bytes(payload)
    assert np.array_equal(rows_of(read_shard(path, "any")), rows)
    path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(TornShard):
        read_shard(path)


@pytest.mark.parametrize("rows", [1, 3, 2000])
def test_a_head_is_verified_wherever_it_lies(tmp_path: Path, rows: int) -> None:
    """Of small shards all of it is in the first bytes that are read, of large ones nothing."""
    digests = np.random.default_rng(0).integers(0, 256, (rows, 16), np.uint8)
    path = write_shard(tmp_path / "a", digests, np.ones((rows, 700), np.float32), "a")
    good = path.read_bytes()
    assert read_shard(path, "a").digests.tobytes() == digests.tobytes()
    start = good.index(digests[-1].tobytes())
    path.write_bytes(good[:start] + bytes([good[start] ^ 1]) + good[start + 1 :])
    with pytest.raises(TornShard, match="checksum"):
        read_shard(path, "a")


def test_shards_come_at_spans_that_double_and_stay_below_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run loses at most a minute, and a long one leaves no thousands of files: a row a second, 300 rows."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with ShardWriter(tmp_path / "spans") as writer:
        written = [0]
        for second in range(1, 301):
            clock[0] = second
            writer.add(np.full((1, 16), second % 256, np.uint8), np.zeros((1, 3), np.float32))
            if len(list((tmp_path / "spans").glob("*"))) == len(written):
                written.append(second)
    assert written == [0, 5, 15, 35, 75, 135, 195, 255]  # spans of 5, 10, 20, 40 and then 60 seconds
    assert sum(len(read_shard(path)) for path in (tmp_path / "spans").glob("*")) == 300
    monkeypatch.setattr("genaudit.store.measuring.SHARD_BYTES", 36)  # three rows of three numbers
    with ShardWriter(tmp_path / "sizes") as writer:
        for number in range(7):
            writer.add(np.full((1, 16), number, np.uint8), np.zeros((1, 3), np.float32))
    assert sorted(len(read_shard(path)) for path in (tmp_path / "sizes").glob("*")) == [1, 3, 3]
