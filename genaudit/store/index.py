"""Where each image's row lies in a folder of shards, found without opening the shards.

The index is kept in the folder as the file `index`, with its own checksum: the names of shards, and every digest with
its shard and row, sorted. It is only a shortcut. What it says of a row is compared with the shard when the row is read;
shards that it does not know are read, those that are gone are passed over, and a damaged index is made again.

N digests, S shards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.store.rows import Rows
from genaudit.store.shards import DIGEST, SUFFIX, Shard, TornShard, read_shard, set_aside

NAME = "index"
MAGIC = b"genaudit index 1\n"
ENTRY = np.dtype([("digest", f"S{DIGEST}"), ("shard", "<u4"), ("row", "<u4")])
LISTINGS = 100  # of a folder that changes while it is read, at most
UNKNOWN = 32  # shards that may be unknown to the file before it is written again, or an eighth of those that it knows
KEPT_BYTES = 64 << 20  # of rows that are kept in memory once they were read to be verified
PROBED = 64  # shards that are opened one after another before the others are opened side by side
SLOW_SECONDS = 2e-3  # a shard: less is Python's own time, which threads do not share


@dataclass
class StoreIndex:
    """The digests of a folder's shards.

    Attributes:
        folder: of the shards. names: (S) file names, sorted by time.
        entries: (N,) sorted by digest, equal ones by shard. torn: what was set aside, for people.
    """

    folder: Path
    names: list[str] = field(default_factory=list)
    entries: np.ndarray = field(default_factory=lambda: np.empty(0, ENTRY))
    torn: list[str] = field(default_factory=list)
    _heads: dict[str, Shard] = field(default_factory=dict)
    _kept: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # what `_read` gave to `verify`

    @classmethod
    def read(cls, folder: Path, known: StoreIndex | None = None) -> StoreIndex:
        """The index of a folder as it is now; `known` is what was read of it before.

        A compaction meanwhile writes new shards before it removes old ones; a listing that was begun before may lack
        both. So the folder is listed again until it stays as it was.
        """
        here = _listed(folder)
        for _ in range(LISTINGS):
            known, listed = cls._of(folder, here, known), here
            here = _listed(folder)
            if here == listed:
                break
        assert known is not None
        return known

    @classmethod
    def _of(cls, folder: Path, here: set[str], known: StoreIndex | None) -> StoreIndex:
        before = known or _load(folder)
        torn = list(known.torn) if known else []
        heads = dict(known._heads) if known else {}
        new = sorted(here - set(before.names))
        shards = _heads(folder, new, torn)
        heads |= {shard.path.name: shard for shard in shards}
        gone = len(set(before.names) - here)
        if not shards and not gone:
            return cls(folder, before.names, before.entries, torn, heads)
        names = sorted({*(here & set(before.names)), *(shard.path.name for shard in shards)})
        index = cls(folder, names, _merged(before, shards, names), torn, heads)
        if len(shards) + gone >= max(UNKNOWN, len(before.names) // 8):
            index.save()
        return index

    def save(self) -> None:
        """Writes the index into the folder, if it may be written to."""
        text = "\n".join(self.names).encode()
        body = b"".join([len(text).to_bytes(8, "little"), text, self.entries.tobytes()])
        with contextlib.suppress(OSError), atomic_write(self.folder / NAME) as temporary:
            temporary.write_bytes(MAGIC + hashlib.sha256(body).digest() + body)

    def missing(self, wanted: np.ndarray) -> np.ndarray:
        """Indices of the digests without a row, each distinct one once, in order."""
        _, present = self._find(wanted)
        absent = np.flatnonzero(~present)
        _, first = np.unique(wanted[absent], return_index=True)
        return absent[np.sort(first)]

    def verify(self, wanted: np.ndarray) -> None:
        """Reads the rows of the digests that the index knows; shards that do not give them are set aside."""
        while True:
            position, present = self._find(wanted)
            position = np.unique(position[present])
            try:
                self._kept = self._read(position)
                return
            except TornShard as error:
                self._set_aside(error)
            except FileNotFoundError:  # set aside, removed or compacted by another process just now
                self._refresh()

    def verify_attachments(self) -> None:
        """Reads those of the shards whose rows were verified, some at a time; damaged shards are set aside."""
        for shard in list(self._heads.values()):
            try:
                for table in shard.attachments.values():
                    table.verify()
            except TornShard as error:
                self._set_aside(error)
            except FileNotFoundError:
                self._refresh()

    def _read(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Digests of entries, where their rows are, and rows; None where they are too many to keep."""
        kept: list[np.ndarray] | None = None
        order: list[np.ndarray] = []
        for shard, rows, places in self._by_shard(position):
            if kept is None and shard.rows.size * len(position) <= KEPT_BYTES:
                kept = []
            step = max(1, KEPT_BYTES // shard.rows.size)
            for start in range(0, len(rows), step):
                read = shard.rows.read(rows[start : start + step])
                if kept is not None:
                    kept.append(read)
            order.append(places)
        if kept is None:
            return None
        place_of = np.empty(len(position), np.int64)
        place_of[np.concatenate(order)] = np.arange(len(position))
        return self.entries["digest"][position], place_of, kept[0] if len(kept) == 1 else np.concatenate(kept)

    def rows(self, wanted: np.ndarray, columns: tuple[str, ...] | None) -> Rows:
        """The rows of digests that all have one."""
        if self._kept is not None and len(self._kept[0]):
            digests, place_of, rows = self._kept
            position = np.minimum(np.searchsorted(digests, wanted), len(digests) - 1)
            if np.array_equal(digests[position], wanted):
                return Rows(lambda again: self._located(wanted, again), columns, rows[place_of[position]])
        return Rows(lambda again: self._located(wanted, again), columns)

    def _located(self, wanted: np.ndarray, again: bool) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        """The shards with (N,) each row's shard and place in it; `again` looks at the folder first."""
        if again:
            self._refresh()
        while True:
            position, present = self._find(wanted)
            if not present.all():
                raise OSError(f"{self.folder}: rows are gone that were there before; run again to measure them again")
            entries = self.entries[position]
            used, shard_of = np.unique(entries["shard"], return_inverse=True)
            try:
                shards = [self._head(self.names[number]) for number in used]
                return shards, shard_of, entries["row"].astype(np.int64)
            except TornShard as error:
                self._set_aside(error)
            except FileNotFoundError:
                self._refresh()

    def _by_shard(self, position: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Each shard of some entries, their rows and places, after a look at whether it holds those digests there."""
        entries = self.entries[position]
        if not len(entries):
            return
        order = np.lexsort((entries["row"], entries["shard"]))
        numbers, starts = np.unique(entries["shard"][order], return_index=True)
        for number, places in zip(numbers, np.split(order, starts[1:]), strict=True):
            group = entries[places]
            shard = self._head(self.names[number])
            rows = group["row"].astype(np.int64)
            if int(rows.max()) >= len(shard) or not np.array_equal(shard.digests[rows], group["digest"]):
                raise TornShard("does not hold the images that the index says", shard.path)
            yield shard, rows, places

    def _head(self, name: str) -> Shard:
        if name not in self._heads:
            path = self.folder / name
            try:
                self._heads[name] = read_shard(path, self.folder.name)
            except TornShard as error:
                raise TornShard(str(error), path) from None
        return self._heads[name]

    def _set_aside(self, error: TornShard) -> None:
        if error.path is not None:
            set_aside(error.path)
            self.torn.append(f"{error.path.name}: {error}")
        self._refresh()

    def _refresh(self) -> None:
        now = StoreIndex.read(self.folder, self)
        self.names, self.entries, self.torn = now.names, now.entries, now.torn
        self._heads = {name: shard for name, shard in now._heads.items() if name in set(now.names)}

    def _find(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The position of each wanted digest among the entries, and whether it is there."""
        digests = self.entries["digest"]
        if not len(digests):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
        position = np.searchsorted(digests, wanted)
        position[position == len(digests)] = 0
        return position, digests[position] == wanted


def as_keys(digests: np.ndarray | Sequence[bytes]) -> np.ndarray:
    """(N, 16) uint8 => (N,) of 16-byte strings."""
    array = np.ascontiguousarray(digests, dtype=np.uint8)
    return array.view(f"S{DIGEST}").reshape(len(array))


def _listed(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.name.endswith(SUFFIX)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _heads(folder: Path, names: Iterable[str], torn: list[str]) -> list[Shard]:
    """The shards of these names, those that are torn set aside."""

    def head(name: str) -> Shard | None:
        path = folder / name
        try:
            return read_shard(path, folder.name)
        except FileNotFoundError:  # set aside by another process just now
            return None
        except TornShard as error:
            set_aside(path)
            torn.append(f"{name}: {error}")
            return None

    names = list(names)
    started = time.perf_counter()
    read = [head(name) for name in names[:PROBED]]
    if time.perf_counter() - started < SLOW_SECONDS * PROBED:
        read += map(head, names[PROBED:])
    else:
        with ThreadPoolExecutor(4) as pool:
            read += pool.map(head, names[PROBED:])
    return [shard for shard in read if shard is not None]


def _merged(before: StoreIndex, shards: Sequence[Shard], names: Sequence[str]) -> np.ndarray:
    """The entries of the shards that are left and of new ones, by digest; of equal ones the oldest comes first."""
    number = {name: i for i, name in enumerate(names)}
    renumbered = np.array([number.get(name, len(names)) for name in before.names], dtype=np.int64)
    kept = before.entries.copy()
    if len(kept):
        kept["shard"] = renumbered[kept["shard"]]
        kept = kept[kept["shard"] < len(names)]
    sizes = np.array([len(shard) for shard in shards], dtype=np.int64)
    added = np.empty(sizes.sum(), ENTRY)
    if len(added):
        added["digest"] = np.concatenate([shard.digests for shard in shards])
        added["shard"] = np.repeat([number[shard.path.name] for shard in shards], sizes)
        added["row"] = np.arange(len(added)) - np.repeat(sizes.cumsum() - sizes, sizes)
    entries = np.concatenate([kept, added])
    order = np.argsort(entries["digest"], kind="stable")
    entries = entries[order]
    same = entries["digest"][1:] == entries["digest"][:-1]
    if same.any():
        entries = entries[np.lexsort((entries["shard"], entries["digest"]))]
    return entries


def _load(folder: Path) -> StoreIndex:
    """The index file; an empty index where there is none, or a damaged one."""
    try:
        data = (folder / NAME).read_bytes()
        start = len(MAGIC) + 32
        body = memoryview(data)[start:]
        if not data.startswith(MAGIC) or hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
            return StoreIndex(folder)
        size = int.from_bytes(body[:8], "little")
        names = bytes(body[8 : 8 + size]).decode().split("\n") if size else []
        return StoreIndex(folder, names, np.frombuffer(body[8 + size :], ENTRY))
    except (OSError, ValueError):
        return StoreIndex(folder)
