"""Shards: the files of the row store. Each holds some images' digests and rows, and a checksum.

A shard is a safetensors file with the tensors `digests` (n, 16) uint8 and `rows` (n, D) float32 and, as metadata,
the SHA-256 over both. It is written to a temporary name and renamed, so a process that is killed leaves no torn
shard; one that was torn or altered all the same is noticed by its checksum, set aside and measured again.

Shards are only added, under names that no two processes share, so any number of processes and hosts may fill one
folder at the same time without locks.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genaudit.reading import Refused, open_regular

SUFFIX = ".shard"
DIGEST = 16  # bytes


class TornShard(Exception):
    """A shard whose contents do not agree with its checksum, or that cannot be read as a shard."""


@dataclass(frozen=True)
class Shard:
    """A verified shard: where its rows lie. `digests` is (n,) of 16 bytes each; row i starts at `offset + i·4·dim`."""

    path: Path
    digests: np.ndarray
    offset: int
    dim: int

    def __len__(self) -> int:
        return len(self.digests)


def write_shard(folder: Path, digests: np.ndarray, rows: np.ndarray) -> Path:
    """Writes (n, 16) uint8 digests and (n, D) float32 rows as a new shard; returns its path."""
    from safetensors.numpy import save

    digests = np.ascontiguousarray(digests, dtype=np.uint8)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    payload = save({"digests": digests, "rows": rows}, metadata={"sha256": _checksum(digests, rows)})
    folder.mkdir(parents=True, exist_ok=True)
    # names sort by time, so that the oldest row wins where two processes measured the same image
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
    temporary = folder / f"{name}.tmp"
    temporary.write_bytes(payload)
    path = folder / f"{name}{SUFFIX}"
    os.replace(temporary, path)
    return path


def read_shard(path: Path) -> Shard:
    """Verifies a shard and returns where its rows lie.

    Raises:
        TornShard: truncated, altered, or not a shard; the message says what was seen.
    """
    try:
        with open_regular(path) as file:
            header_size = int.from_bytes(file.read(8), "little")
            if not 0 < header_size < 1 << 20:
                raise TornShard("no header")
            header = json.loads(file.read(header_size))
            start = 8 + header_size
            n, width = header["digests"]["shape"]
            dim = header["rows"]["shape"][1]
            if width != DIGEST or header["rows"]["shape"][0] != n or header["rows"]["dtype"] != "F32":
                raise TornShard("unexpected shapes")
            digests = _tensor(file, start, header["digests"], np.dtype(np.uint8)).reshape(n, DIGEST)
            rows = _tensor(file, start, header["rows"], np.dtype("<f4")).reshape(n, dim)
            if _checksum(digests, rows) != header["__metadata__"]["sha256"]:
                raise TornShard("the checksum does not agree")
    except Refused as error:
        raise TornShard(error.strerror) from None
    except (KeyError, ValueError, TypeError, IndexError, RecursionError, MemoryError, OverflowError) as error:
        raise TornShard(f"not readable as a shard ({error})") from None
    return Shard(path, digests.view(f"S{DIGEST}").reshape(n), start + header["rows"]["data_offsets"][0], dim)


def set_aside(path: Path) -> None:
    """Renames a torn shard, so that it is kept for inspection and never read again."""
    try:
        os.replace(path, path.with_suffix(".torn"))
    except FileNotFoundError:  # another process was faster
        return


def _tensor(file: object, start: int, entry: dict[str, list[int]], dtype: np.dtype) -> np.ndarray:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= os.fstat(file.fileno()).st_size:  # type: ignore[attr-defined]
        raise TornShard("truncated")
    file.seek(start + begin)  # type: ignore[attr-defined]
    data = file.read(end - begin)  # type: ignore[attr-defined]
    if len(data) != end - begin:
        raise TornShard("truncated")
    return np.frombuffer(data, dtype=dtype)


def _checksum(digests: np.ndarray, rows: np.ndarray) -> str:
    checksum = hashlib.sha256(digests.data)
    checksum.update(rows.data)
    return checksum.hexdigest()
