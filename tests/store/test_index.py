"""The index of a store: a shortcut that is never believed, whatever becomes of it or of the shards."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudit.atomic import sweep
from genaudit.store import index as module
from genaudit.store import shards as shards_module
from genaudit.store.index import NAME, StoreIndex, as_keys
from genaudit.store.shards import write_shard

DIM = 3


def rows_for(digests: np.ndarray) -> np.ndarray:
    """The row of an image, made from its digest."""
    return digests[:, :DIM].astype(np.float32) + digests[:, 3:4]


def digests_of(numbers: list[int]) -> np.ndarray:
    return np.array([np.random.default_rng(n).integers(0, 256, 16, dtype=np.uint8) for n in numbers]).reshape(-1, 16)


def fill(folder: Path, groups: list[list[int]]) -> list[Path]:
    paths = []
    for numbers in groups:
        digests = digests_of(numbers)
        paths.append(write_shard(folder, digests, rows_for(digests), folder.name))
    return paths


def check(folder: Path, numbers: list[int], absent: list[int]) -> StoreIndex:
    """What the folder says of these images; `absent` are those that must be measured again."""
    index = StoreIndex.read(folder)
    digests = digests_of(numbers)
    wanted = as_keys(digests)
    index.verify(wanted)
    missing = index.missing(wanted)
    assert sorted({numbers[i] for i in missing}) == sorted(set(absent))
    there = np.array([n not in absent for n in numbers], dtype=bool)
    assert np.array_equal(np.asarray(index.rows(wanted[there], None)).reshape(-1, DIM), rows_for(digests[there]))
    return index


numbers = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), min_size=1, max_size=5)


@given(before=numbers, after=numbers, asked=st.lists(st.integers(0, 15), min_size=1), data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_index_and_shards_of_any_age_give_every_row_that_is_there(
    before: list[list[int]],
    after: list[list[int]],
    asked: list[int],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    first = fill(folder, before)
    StoreIndex.read(folder).save()
    groups = dict(zip([*first, *fill(folder, after)], [*before, *after], strict=True))
    for path in data.draw(st.lists(st.sampled_from(list(groups)), unique=True)):
        path.unlink()
        del groups[path]
    here = {n for group in groups.values() for n in group}
    check(folder, asked, [n for n in asked if n not in here])


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), asked=st.lists(st.integers(0, 9), min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_damaged_shard_behind_an_index_is_set_aside_as_soon_as_it_is_asked(
    position: int, bit: int, asked: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    damaged, _ = fill(folder, [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8, 9]])
    StoreIndex.read(folder).save()
    content = bytearray(damaged.read_bytes())
    content[position % len(content)] ^= 1 << bit
    damaged.write_bytes(content)
    index = StoreIndex.read(folder)
    assert not index.torn  # nothing was asked yet
    wanted = as_keys(digests_of(asked))
    index.verify(wanted)
    lacking = {0, 1, 2, 3} & set(asked) if index.torn else set()
    assert damaged.exists() != bool(index.torn)
    check(folder, asked, sorted(lacking))


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), length=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_damaged_index_is_made_again(
    position: int, bit: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    fill(folder, [[0, 1], [2]])
    StoreIndex.read(folder).save()
    content = bytearray((folder / NAME).read_bytes())
    content[position % len(content)] ^= 1 << bit
    (folder / NAME).write_bytes(content)
    check(folder, [0, 1, 2, 3], [3])
    (folder / NAME).write_bytes(content[:length])
    check(folder, [0, 1, 2, 3], [3])


def test_an_index_of_other_shards_of_the_same_names_is_not_believed(tmp_path: Path) -> None:
    folder, other = tmp_path / "a", tmp_path / "b"
    (path,) = fill(folder, [[0, 1, 2]])
    StoreIndex.read(folder).save()
    (stranger,) = fill(other, [[3, 4, 5]])
    os.replace(stranger, path)
    check(folder, [0, 3], [0, 3])
    assert len(list(folder.glob("*.torn"))) == 1


def test_of_two_rows_the_oldest_shards_wins_with_and_without_an_index(tmp_path: Path) -> None:
    folder, digests = tmp_path / "rows", digests_of([0])
    for value in (1.0, 2.0, 3.0):
        write_shard(folder, digests, np.full((1, DIM), value, np.float32), folder.name)
    for _ in range(2):
        index = StoreIndex.read(folder)
        assert np.asarray(index.rows(as_keys(digests), None)).tolist() == [[1.0] * DIM]
        index.save()


def test_opening_reads_no_shard_that_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rows"
    fill(folder, [[n] for n in range(40)])
    monkeypatch.setattr(module, "UNKNOWN", 32)
    StoreIndex.read(folder)  # so many unknown shards that it leaves an index
    assert (folder / NAME).exists()
    opened: list[str] = []
    original = module.read_shard
    monkeypatch.setattr(module, "read_shard", lambda path, key: opened.append(path.name) or original(path, key))
    check(folder, [3, 17, 3], [])
    assert len(opened) == 2


def test_only_the_blocks_of_the_rows_that_are_asked_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, digests = tmp_path / "rows", digests_of(list(range(100)))
    write_shard(folder, digests, np.zeros((100, 4096), np.float32), folder.name)  # a row a block
    read: list[int] = []
    original = shards_module._read_at

    def counted(descriptor: int, offset: int, size: int) -> bytearray:
        read.append(size)
        return original(descriptor, offset, size)

    monkeypatch.setattr(shards_module, "_read_at", counted)
    StoreIndex.read(folder).verify(as_keys(digests[[5, 6, 90]]))
    assert sum(read) == 100 * (16 + 4) + 3 * 4096 * 4  # digests and checks of all, rows of three


def test_rows_whose_shards_another_process_has_compacted_are_found_again(tmp_path: Path) -> None:
    folder, digests = tmp_path / "rows", digests_of([0, 1, 2])
    old = fill(folder, [[0], [1, 2]])
    rows = StoreIndex.read(folder).rows(as_keys(digests), None)
    fill(folder, [[0, 1, 2]])
    for path in old:
        path.unlink()
    assert np.array_equal(rows[:], rows_for(digests))


def test_temporary_files_of_killed_processes_are_swept_and_young_ones_kept(tmp_path: Path) -> None:
    for name, age in (("a.tmp", 2 * 86_400), ("b.tmp", 60), ("c.shard", 2 * 86_400)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert [path.name for path in sweep(tmp_path)] == ["a.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tmp", "c.shard"]
