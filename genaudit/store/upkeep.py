"""Looking after a row store: how big it is by measure; removing, verifying and compacting what is in it.

Any of it may run while other processes fill the store: a shard is removed only after what it holds that is still wanted
stands in another one, and readers look again where a shard is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.atomic import STALE_SECONDS, sweep
from genaudit.store.index import NAME, StoreIndex, as_keys
from genaudit.store.measuring import SHARD_BYTES
from genaudit.store.shards import SUFFIX, TornShard, read_shard, set_aside, write_shard
from genaudit.store.store import SETS

DAY = 86_400.0


@dataclass(frozen=True)
class Held:
    """What a store holds of one measure.

    Attributes:
        folder: its name is the fingerprint. name: of the measure, for people. rows, shards, bytes: all of them; rows
            that two shards hold count twice. torn: damaged shards that were set aside. newest: when the last shard was
            written, seconds since 1970.
    """

    folder: Path
    name: str
    rows: int
    shards: int
    bytes: int
    torn: int
    newest: float


def held(root: Path) -> list[Held]:
    """What the store holds by measure, the largest first."""
    found = []
    for folder in folders(root):
        files = [(path, stat) for path in folder.iterdir() if (stat := _stat(path)) is not None]
        shards = [stat for path, stat in files if path.suffix == SUFFIX]
        index = StoreIndex.read(folder)
        found.append(
            Held(
                folder,
                measure_name(folder),
                len(index.entries),
                len(shards),
                sum(stat.st_size for _, stat in files),
                sum(path.suffix == ".torn" for path, _ in files),
                max((stat.st_mtime for stat in shards), default=0.0),
            )
        )
    return sorted(found, key=lambda each: -each.bytes)


def folders(root: Path) -> Iterator[Path]:
    """The folders of the measures, by fingerprint."""
    for two in sorted(root.glob("[0-9a-f][0-9a-f]")):
        yield from sorted(folder for folder in two.iterdir() if folder.is_dir() and folder.name.startswith(two.name))


def measure_name(folder: Path) -> str:
    """What the rows of a folder are, as reports name it."""
    try:
        about: Any = json.loads((folder / "measure.json").read_text())
        model = about.get("feature_model")
        name = model.get("name") if isinstance(model, dict) else None
        return " ".join(str(part) for part in (about.get("measure"), name) if part) or "unknown"
    except (OSError, ValueError, AttributeError):
        return "unknown"


def matches(folder: Path, measure: str | None) -> bool:
    """Whether a folder is of the measure: part of its name, or 6 characters or more of its fingerprint."""
    if measure is None:
        return True
    return measure.lower() in measure_name(folder).lower() or (len(measure) >= 6 and folder.name.startswith(measure))


def prune(root: Path, *, older_than: float | None, measure: str | None) -> tuple[int, int]:
    """Removes shards that were written more than `older_than` days ago (None: all), of a measure (None: of any).

    Damaged ones that were set aside go by the same rule. Returns how many files and bytes it removed.
    """
    files = size = 0
    for folder in folders(root):
        if not matches(folder, measure):
            continue
        sweep(folder)
        for path in sorted(folder.iterdir()):
            stat = _stat(path)
            old = stat is not None and (older_than is None or time.time() - stat.st_mtime > older_than * DAY)
            if stat is not None and old and path.suffix in (SUFFIX, ".torn"):
                path.unlink(missing_ok=True)
                files, size = files + 1, size + stat.st_size
        _after_removal(folder)
    if measure is None:
        _prune_sets(root / SETS, older_than)
    return files, size


def _prune_sets(folder: Path, older_than: float | None) -> None:
    """Removes lists of image sets that are too old; the next evaluation of a set writes its list again."""
    sweep(folder)
    for path in folder.glob("*.npy"):
        stat = _stat(path)
        if stat is not None and (older_than is None or time.time() - stat.st_mtime > older_than * DAY):
            path.unlink(missing_ok=True)


def verify(root: Path, measure: str | None = None) -> tuple[int, list[str]]:
    """Reads every shard and sets damaged ones aside. Returns how many were whole, and the others."""
    whole, torn = 0, []
    for folder in folders(root):
        if not matches(folder, measure):
            continue
        sweep(folder)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                shard = read_shard(path, folder.name)
                for table in (shard.rows, *shard.attachments.values()):
                    table.verify()
                whole += 1
            except FileNotFoundError:  # another process was faster
                continue
            except TornShard as error:
                set_aside(path)
                torn.append(f"{path}: {error}")
        _after_removal(folder)
    return whole, torn


def compact(root: Path, measure: str | None = None) -> tuple[int, int, int]:
    """Writes the rows of many shards into few, each image's once; returns shards before, shards after, bytes saved."""
    before = after = saved = 0
    for folder in folders(root):
        if matches(folder, measure):
            sweep(folder)
            counts = _compact(folder)
            before, after, saved = before + counts[0], after + counts[1], saved + counts[2]
    return before, after, saved


def _compact(folder: Path) -> tuple[int, int, int]:
    index = StoreIndex.read(folder)
    old = [folder / name for name in index.names]
    sizes = _size(old)
    rows = sum(1 for _ in _distinct(index))
    dim = max(1, (sizes // max(rows, 1)) // 4)
    most = max(1, SHARD_BYTES // (4 * dim))  # rows of a shard, about
    if len(old) <= max(1, -(-rows // most)):
        index.save()
        return len(old), len(old), 0
    digests = index.entries["digest"]
    index.verify(digests)  # sets damaged shards aside: what they held is measured again
    index.verify_attachments()
    old = [folder / name for name in index.names]
    distinct = index.entries[list(_distinct(index))]
    order = np.lexsort(
        (distinct["row"], distinct["shard"])
    )  # by age, so that what was measured together stays together
    keys = np.ascontiguousarray(distinct["digest"][order])
    new = []
    for start in range(0, len(keys), most):
        part = keys[start : start + most]
        raw = np.frombuffer(part.tobytes(), np.uint8).reshape(-1, as_keys(np.zeros((1, 16), np.uint8)).itemsize)
        taken = index.rows(part, None)
        attachments = {name: each[:] for name, each in taken.attachments.items()}
        new.append(write_shard(folder, raw, taken[:], folder.name, attachments))
    for path in old:
        path.unlink(missing_ok=True)
    StoreIndex.read(folder).save()
    return len(old), len(new), sizes - _size(new)


def _distinct(index: StoreIndex) -> Iterator[int]:
    """The entries' places, of equal digests only the first."""
    digests = index.entries["digest"]
    first = np.ones(len(digests), bool)
    first[1:] = digests[1:] != digests[:-1]
    yield from np.flatnonzero(first).tolist()


def _after_removal(folder: Path) -> None:
    """The index of what is left; a folder without a shard goes."""
    if any(folder.glob(f"*{SUFFIX}")):
        StoreIndex.read(folder).save()
        return
    left = {path.name for path in folder.iterdir()} - {NAME, "measure.json"}
    if not left:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def _size(paths: list[Path]) -> int:
    return sum(stat.st_size for path in paths if (stat := _stat(path)) is not None)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


__all__ = ["STALE_SECONDS", "Held", "compact", "folders", "held", "matches", "measure_name", "prune", "verify"]
