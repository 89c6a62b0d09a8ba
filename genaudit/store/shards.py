"""Shards: the files of the row store. Each holds some images' digests and rows, and checksums.

A shard is a safetensors file with the tensors `digests` (n, 16) uint8, `rows` (n, D) float32 and `checks` (m, 4) uint8,
the CRC-32 of each block of rows. Its metadata name the fingerprint that the rows were measured under, the rows of a
block, and the SHA-256 over these, the digests and the checks: the head. Opening a shard reads and verifies its head;
rows are verified block by block whenever they are read. What is verified is what is asked for.

Where a measure has attachments (a picture or a map beside each row) the file holds for each the tensors
`attachments.NAME` (n, ...) and `checks.NAME`, in blocks of its own. Metadata list names, dtypes, shapes and blocks, and
the SHA-256 covers these and the checks too. Reading rows reads nothing of them.

A shard is written to a temporary name and renamed, so a process that is killed leaves no torn shard; one that was torn
or altered all the same is noticed, set aside and measured again. Shards are only added, under names that no two
processes share, so any number of processes and hosts may fill one folder at the same time without locks.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.reading import Refused, open_regular_descriptor

SUFFIX = ".shard"
DIGEST = 16  # bytes
CHECK = 4  # bytes
BLOCK_BYTES = 16 << 10  # read and verified at least: a few rows of features, hundreds of a few numbers
HEAD_BYTES = 16 << 10  # read at once when a shard is opened: all of one that holds a row of 2,048 features
RUN_BYTES = 8 << 20  # read at a time at most, but a block at least; twice as much takes a tenth longer
FLOAT = np.dtype("<f4")

Arrays = Mapping[str, np.ndarray]  # by name


class TornShard(Exception):
    """A shard whose contents do not agree with its checksums, or that cannot be read as a shard.

    `path` is set where rows were read.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Table:
    """An array of a shard: its rows (n, D), or an attachment of them (n, ...). Row i lies at `offset + i·size`.

    `block` rows have a checksum each, `checks` (m, 4) uint8.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    block: int
    checks: np.ndarray

    @property
    def size(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, rows: np.ndarray, descriptor: int | None = None) -> np.ndarray:
        """Rows (k, ...) by their indices (k,), verified.

        Args:
            descriptor: of the open file; None opens it.

        Raises:
            TornShard: their blocks are not as they were written.
        """
        with contextlib.ExitStack() as stack:
            if descriptor is None:
                descriptor = stack.enter_context(open(self.path, "rb")).fileno()
            if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):  # neighbours: no copy
                first, last = int(rows[0]) // self.block, int(rows[-1]) // self.block + 1
                if last - first <= self._run:
                    return self._blocks(descriptor, first, last)[rows[0] - first * self.block :][: len(rows)]
            out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
            ascending = bool((rows[1:] >= rows[:-1]).all())
            order = slice(None) if ascending else np.argsort(rows, kind="stable")
            wanted = rows[order]
            for first, last in self._runs(wanted // self.block):
                found = self._blocks(descriptor, first, last)
                start, stop = np.searchsorted(wanted, (first * self.block, last * self.block))
                places = slice(start, stop) if isinstance(order, slice) else order[start:stop]
                out[places] = found[wanted[start:stop] - first * self.block]
        return out

    def verify(self) -> None:
        """Reads all of it, some at a time; raises `TornShard` where it is not as it was written."""
        with open(self.path, "rb") as file:
            for first, last in self._runs(np.arange(len(self.checks))):
                self._blocks(file.fileno(), first, last)

    @property
    def _run(self) -> int:  # blocks that are read at a time at most
        return max(1, RUN_BYTES // max(1, self.block * self.size))

    def _runs(self, blocks: np.ndarray) -> Iterator[tuple[int, int]]:
        """Blocks (sorted) as runs [first, last) of neighbours."""
        distinct = np.unique(blocks)
        breaks = np.flatnonzero(np.diff(distinct) != 1) + 1
        for begin, end in itertools.pairwise([0, *breaks.tolist(), len(distinct)]):
            for start in range(begin, end, self._run):
                stop = min(start + self._run, end)
                yield int(distinct[start]), int(distinct[stop - 1]) + 1

    def _blocks(self, descriptor: int, first: int, last: int) -> np.ndarray:
        """The rows of blocks [first, last)."""
        size, count = self.block * self.size, min(last * self.block, self.shape[0]) - first * self.block
        data = _read_at(descriptor, self.offset + first * size, count * self.size)
        view = data.data
        for place in range(last - first):
            if _check(view[place * size : (place + 1) * size]) != self.checks[first + place].tobytes():
                raise TornShard("the checksum of rows does not agree", self.path)
        return data.view(self.dtype).reshape(count, *self.shape[1:])


@dataclass(frozen=True)
class Shard:
    """A shard with a verified head: digests (n,) of 16 bytes each, rows (n, D), attachments (n, ...) by name."""

    path: Path
    digests: np.ndarray
    rows: Table
    attachments: Mapping[str, Table]

    def __len__(self) -> int:
        return len(self.digests)


def write_shard(
    folder: Path, digests: np.ndarray, rows: np.ndarray, fingerprint: str = "", attachments: Arrays | None = None
) -> Path:
    """Writes (n, 16) uint8 digests, (n, D) float32 rows and attachments (n, ...) as a new shard; returns its path."""
    from safetensors.numpy import save

    digests = np.ascontiguousarray(digests, dtype=np.uint8)
    rows = np.ascontiguousarray(rows, dtype=FLOAT)
    block, checks = _checks(rows)
    tensors, about = {"checks": checks}, {"fingerprint": fingerprint, "block": str(block)}
    if attachments:
        beside, about["attachments"] = _attached(attachments)
        tensors |= beside
    every = [tensors[name] for name in tensors if name.startswith("checks")]
    about["sha256"] = _head(about, rows.shape, digests, *every)
    # names sort by time, so that the oldest row wins where two processes measured the same image
    path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}{SUFFIX}"
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors | {"digests": digests, "rows": rows}, metadata=about))
    return path


def _attached(attachments: Arrays) -> tuple[dict[str, np.ndarray], str]:
    """Attachments and their checksums as tensors, and what the metadata say of them."""
    tensors, said = {}, []
    for name, given in attachments.items():
        array = np.ascontiguousarray(given, dtype=given.dtype.newbyteorder("<"))
        block, tensors[f"checks.{name}"] = _checks(array)
        tensors[f"attachments.{name}"] = array
        said.append([name, array.dtype.name, array.shape[1:], block])
    return tensors, json.dumps(said)


def _checks(array: np.ndarray) -> tuple[int, np.ndarray]:
    """How many rows of an array (n, ...) are a block, and the blocks' checksums (m, 4)."""
    data = array.reshape(len(array), -1).view(np.uint8)
    block = max(1, BLOCK_BYTES // max(1, data.shape[1]))
    checks = [_check(data[start : start + block].reshape(-1).data) for start in range(0, len(data), block)]
    return block, np.frombuffer(b"".join(checks), np.uint8).reshape(-1, CHECK)


def read_shard(path: Path, fingerprint: str | None = None) -> Shard:
    """Reads and verifies a shard's head.

    Args:
        fingerprint: what its rows must have been measured under; None takes any.

    Raises:
        TornShard: truncated, altered, not a shard, or one of another measure; the message says what was seen.
    """
    try:
        descriptor = open_regular_descriptor(os.fspath(path))
    except Refused as error:
        raise TornShard(str(error.strerror)) from None
    try:
        return _shard(path, _Head.of(descriptor), fingerprint)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError, MemoryError, OverflowError) as error:
        raise TornShard(f"not readable as a shard ({error})") from None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Head:
    """An open shard: its size, its first bytes (of a small one the whole head, in one call), and where data begin."""

    descriptor: int
    size: int
    first: bytes
    header: Any
    start: int

    @classmethod
    def of(cls, descriptor: int) -> _Head:
        first = os.pread(descriptor, HEAD_BYTES, 0)
        length = int.from_bytes(first[:8], "little")
        if not 0 < length < 1 << 20:
            raise TornShard("no header")
        size = os.fstat(descriptor).st_size
        text = first[8 : 8 + length]
        if len(text) < length:
            text = _read_at(descriptor, 8, length).tobytes()
        return cls(descriptor, size, first, json.loads(text.decode()), 8 + length)

    def tensor(self, name: str) -> np.ndarray:
        """The bytes of a tensor."""
        begin, end = self.header[name]["data_offsets"]
        if not 0 <= begin <= end <= self.size - self.start:
            raise TornShard("truncated")
        if self.start + end <= len(self.first):
            return np.frombuffer(self.first[self.start + begin : self.start + end], np.uint8)  # the rest is let go
        return _read_at(self.descriptor, self.start + begin, end - begin)


def _shard(path: Path, head: _Head, fingerprint: str | None) -> Shard:
    header, about = head.header, head.header["__metadata__"]
    (n, width), (count, dim) = header["digests"]["shape"], header["rows"]["shape"]
    if width != DIGEST or count != n or header["rows"]["dtype"] != "F32" or min(n, dim) < 1:
        raise TornShard("unexpected shapes")
    digests = head.tensor("digests").reshape(n, DIGEST)
    if "checks" not in header:
        return _of_before_blocks(path, head, digests, dim)
    rows = _table(path, head, "rows", "checks", (n, dim), FLOAT, int(about["block"]))
    attachments = _attachments(path, head, n) if "attachments" in about else {}
    checks = [table.checks for table in (rows, *attachments.values())]
    if fingerprint is not None and about["fingerprint"] != fingerprint:
        raise TornShard("holds rows of another measure")
    if _head(about, (n, dim), digests, *checks) != about["sha256"]:
        raise TornShard("the checksum does not agree")
    return Shard(path, digests.view(f"S{DIGEST}").reshape(n), rows, attachments)


def _attachments(path: Path, head: _Head, count: int) -> dict[str, Table]:
    tables = {}
    for name, kind, shape, block in json.loads(head.header["__metadata__"]["attachments"]):
        dtype = np.dtype(kind).newbyteorder("<")
        if dtype.kind not in "biuf" or min(shape, default=0) < 0:
            raise TornShard("unexpected type or shape")
        tables[name] = _table(path, head, f"attachments.{name}", f"checks.{name}", (count, *shape), dtype, block)
    return tables


def _of_before_blocks(path: Path, head: _Head, digests: np.ndarray, dim: int) -> Shard:
    """A shard with one checksum for all of it."""
    data, about = head.tensor("rows"), head.header["__metadata__"]
    if len(data) != 4 * dim * len(digests) or _sha256(digests, data) != about["sha256"]:
        raise TornShard("the checksum does not agree")
    check = np.frombuffer(_check(data.data), np.uint8).reshape(1, CHECK)
    offset = head.start + head.header["rows"]["data_offsets"][0]
    rows = Table(path, (len(digests), dim), FLOAT, offset, len(digests), check)
    return Shard(path, digests.view(f"S{DIGEST}").reshape(-1), rows, {})


def _table(path: Path, head: _Head, name: str, checks: str, shape: tuple[int, ...], dtype: Any, block: int) -> Table:
    """An array of the file, of the length that it must have, with its checksums."""
    begin, end = head.header[name]["data_offsets"]
    table = Table(path, shape, dtype, head.start + begin, block, head.tensor(checks).reshape(-1, CHECK))
    whole = end - begin == shape[0] * table.size and head.start + end <= head.size
    if not whole or block < 1 or len(table.checks) != -(-shape[0] // block):
        raise TornShard("truncated, or of unexpected shapes")
    return table


def set_aside(path: Path) -> None:
    """Renames a torn shard, so that it is kept for inspection and never read again."""
    try:
        os.replace(path, path.with_suffix(".torn"))
    except FileNotFoundError:  # another process was faster
        return


def _read_at(descriptor: int, offset: int, size: int) -> np.ndarray:
    data = np.empty(size, np.uint8)
    target = memoryview(data)  # type: ignore[arg-type]
    while len(target):
        got = os.preadv(descriptor, [target], offset)
        if got == 0:
            raise TornShard("truncated")
        target, offset = target[got:], offset + got
    return data


def _check(data: Any) -> bytes:
    return zlib.crc32(data).to_bytes(CHECK, "little")  # against decay, not against people; it is four times as fast


def _head(about: Mapping[str, str], shape: tuple[int, ...], *parts: np.ndarray) -> str:
    """The SHA-256 over fingerprint, shape, block and what is said of attachments, over digests and checksums."""
    said = f"[{json.dumps(about['fingerprint'])}, {shape[0]}, {shape[1]}, {about['block']}]"
    return _sha256(np.frombuffer((said + about.get("attachments", "")).encode(), np.uint8), *parts)


def _sha256(*parts: np.ndarray) -> str:
    return hashlib.sha256(b"".join([part.tobytes() for part in parts])).hexdigest()
