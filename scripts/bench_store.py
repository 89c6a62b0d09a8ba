"""How long a row store takes to open, as ratios to reading the same rows alone.

    python scripts/bench_store.py [--gigabytes 2] [--shards 100000] [--folder DIR]

- one role of 1,000 images whose rows of 1,280 numbers lie together, and another whose rows lie all over, in 2 GB;
- 1,000 images in a store of 100,000 shards of one row each, as many calls of a gate leave them, before and after
  `genaudit cache compact`.

"Reading alone" is one positioned read a row, or one for neighbours, from files that are open and known. Opening is what
`Store.measure` does before it measures: the index, the missing images, the verification of the rows that are asked for,
and the rows themselves. Of a first opening "alone" is the reading of the shards' heads, of a compaction that of the
shards, each file opened, read once and closed. The page cache is warm on both sides; wall times of the best of five.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genaudit.store import upkeep
from genaudit.store.index import NAME, StoreIndex, as_keys
from genaudit.store.shards import HEAD_BYTES, write_shard

DIM, ASKED, PER_SHARD = 1280, 1000, 12_500


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the fastest round."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def opened(folder: Path, wanted: np.ndarray) -> np.ndarray:
    """The rows, as a measuring run gets them."""
    index = StoreIndex.read(folder)
    index.verify(wanted)
    assert not len(index.missing(wanted))
    return np.asarray(index.rows(wanted, None))


def alone(folder: Path, wanted: np.ndarray) -> Callable[[], np.ndarray]:
    """Reads the same rows from files that are open, without looking at what they say."""
    rows = StoreIndex.read(folder).rows(wanted, None)
    places = [
        (os.open(rows._shards[shard].path, os.O_RDONLY), rows._shards[shard].rows.offset + row * rows.shape[1] * 4)
        for shard, row in zip(rows._shard_of.tolist(), rows._row_of.tolist(), strict=True)
    ]
    size = rows.shape[1] * 4
    runs: list[list[int]] = []
    for file, offset in places:
        if runs and runs[-1][0] == file and runs[-1][1] + runs[-1][2] == offset:
            runs[-1][2] += size
        else:
            runs.append([file, offset, size])

    def read() -> np.ndarray:
        out, start = np.empty(len(wanted) * size, np.uint8), 0
        for file, offset, length in runs:
            os.preadv(file, [out[start : start + length]], offset)
            start += length
        return out

    return read


def heads_alone(folder: Path, size: int = HEAD_BYTES) -> int:
    """Opens every shard and reads its beginning, without looking at what it says."""
    total = 0
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        file = os.open(entry.path, os.O_RDONLY)
        total += len(os.pread(file, size, 0))
        os.close(file)
    return total


def compared(what: str, folder: Path, wanted: np.ndarray) -> None:
    StoreIndex.read(folder)  # leaves an index where there is much to know
    ours, bare = best(lambda: opened(folder, wanted)), best(alone(folder, wanted))
    print(f"{what:<44}{1e3 * ours:10.1f} ms   {1e3 * bare:8.2f} ms alone   ratio {ours / bare:8.1f}", flush=True)


def large(root: Path, gigabytes: float) -> None:
    rng = np.random.default_rng(0)
    count = max(PER_SHARD, int(gigabytes * 1e9 / (4 * DIM)))
    folder = root / "large"
    digests = np.frombuffer(rng.bytes(16 * count), np.uint8).reshape(count, 16)
    for start in range(0, count, PER_SHARD):
        part = digests[start : start + PER_SHARD]
        write_shard(folder, part, rng.standard_normal((len(part), DIM), dtype=np.float32), folder.name)
    print(f"{count:,} rows of {DIM} in {len(list(folder.glob('*.shard')))} shards, {gigabytes:g} GB")
    keys = as_keys(digests)
    compared(f"{ASKED:,} rows that lie together", folder, keys[count // 2 : count // 2 + ASKED])
    StoreIndex.read(folder).save()
    compared(f"{ASKED:,} rows that lie together, with an index", folder, keys[count // 2 : count // 2 + ASKED])
    compared(f"{ASKED:,} rows that lie all over", folder, keys[rng.choice(count, ASKED, replace=False)])


def many(root: Path, shards: int) -> None:
    rng = np.random.default_rng(1)
    key = "ab" * 32
    folder = root / "many" / key[:2] / key
    digests = np.frombuffer(rng.bytes(16 * shards), np.uint8).reshape(shards, 16)
    row = rng.standard_normal((1, DIM), dtype=np.float32)
    for digest in digests:
        write_shard(folder, digest[None], row, key)
    print(f"{shards:,} shards of one row")
    keys = as_keys(digests)
    wanted = keys[rng.choice(shards, min(ASKED, shards), replace=False)]
    (folder / NAME).unlink(missing_ok=True)
    first, bare = best(lambda: opened(folder, wanted), 1), best(lambda: heads_alone(folder), 2)
    what = "first opening, which writes the index"
    print(f"{what:<44}{1e3 * first:10.1f} ms   {1e3 * bare:8.2f} ms alone   ratio {first / bare:8.1f}", flush=True)
    compared(f"{len(wanted):,} rows", folder, wanted)
    rows_alone = best(lambda: heads_alone(folder, 1 << 20), 1)
    seconds = best(lambda: upkeep.compact(root / "many"), 1)
    left = len(list(folder.glob("*.shard")))
    what = f"compaction into {left} shards"
    print(f"{what:<44}{1e3 * seconds:10.1f} ms   {1e3 * rows_alone:8.2f} ms alone   ratio {seconds / rows_alone:8.1f}")
    compared(f"{len(wanted):,} rows, compacted", folder, wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--folder", default=None, help="where to write; default: the temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as root:
        large(Path(root), arguments.gigabytes)
        many(Path(root), arguments.shards)


if __name__ == "__main__":
    main()
