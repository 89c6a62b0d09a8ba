"""The row store: a content-addressed cache of measured rows, and the measuring loop that fills it.

The key of a row is the image's digest with the measure's fingerprint: not paths, names or times. A renamed, copied or
growing folder reuses every row that it can.

N images, D numbers a row.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data import ImageSet
from genaudit.data.image_set import set_digest
from genaudit.errors import UserError
from genaudit.measures.measure import Measure, fingerprint
from genaudit.stats.torch_state import exact_float32, neutral, one_thread
from genaudit.store.index import Index, as_keys
from genaudit.store.prefetch import prepared_batches
from genaudit.store.rows import Rows
from genaudit.store.shards import DIGEST, write_shard

if TYPE_CHECKING:
    import torch

FIRST_SHARD_SECONDS = 5.0  # a run that is killed loses at most the shard in flight;
LAST_SHARD_SECONDS = 60.0  # its span doubles, so that a long run does not leave thousands of small files
SHARD_BYTES = 64 << 20
SETS = "sets"  # the folder of the image sets that are remembered

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Engine:
    """How to run a network: device ("cpu", "cuda:0", "mps"), precision, batch size and workers (None: chosen)."""

    device: str = "cpu"
    precision: str = "float32"
    batch_size: int | None = None
    workers: int | None = None

    @property
    def decode_workers(self) -> int:
        """As given; else as many as a GPU has cores to wait for, and few where the network itself needs the cores."""
        if self.workers is not None:
            return self.workers
        cores = os.cpu_count() or 1
        return max(1, cores // 4) if self.device == "cpu" else min(cores, 16)


@dataclass
class Measured:
    """What came of measuring a set: rows in its order, or the images that turned out to be damaged.

    `rows` is None where `damaged` (index => reason) is not empty: leave those images out and ask again.
    """

    rows: Rows | None
    fingerprint: str
    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    damaged: dict[int, str] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)


class Store:
    """Rows under a folder, one subfolder a fingerprint.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def measure(
        self,
        images: ImageSet,
        measure: Measure,
        engine: Engine,
        *,
        share: tuple[int, int] = (0, 1),
        agree: Callable[[np.ndarray], np.ndarray] | None = None,
        advance: Callable[[int], contextlib.AbstractContextManager[Advance]] | None = None,
    ) -> Measured:
        """Rows of all images, measured where the store lacks them.

        Args:
            images: what to measure. measure: how. engine: on what.
            share: (rank, ranks); this process measures every ranks-th of the missing images, from the rank-th on.
                With several ranks the rows are complete once all have come here: ask again after a barrier.
            agree: this rank's missing images => those that all ranks share out: each must have the same list, and the
                others may have filled in some by now.
            advance: called with the number of missing images; gives a context manager around a function that is
                told how many were measured (a progress bar).
        """
        started = time.perf_counter()
        key = fingerprint(measure, engine.precision)
        folder = self.root / key[:2] / key
        index = Index.read(folder)
        wanted = as_keys(images.digests)
        index.verify(wanted)
        missing = index.missing(wanted)
        mine = (missing if agree is None else agree(missing))[share[0] :: share[1]]
        result = Measured(None, key, torn=index.torn)
        if len(mine):
            self._describe(folder, measure, engine)
            with (advance or _silent)(len(mine)) as done:
                result.damaged = _fill(folder, images, mine, measure, engine, done)
            result.computed = len(mine) - len(result.damaged)
            index = Index.read(folder, known=index)
        result.reused = len(wanted) - result.computed - len(result.damaged)
        if not result.damaged and not len(index.missing(wanted)):
            result.rows = index.rows(wanted, measure.columns)
        result.seconds = time.perf_counter() - started
        return result

    def stored(self, measure: Measure, engine: Engine) -> StoredRows:
        """What the store holds of a measure now, for rows that come one by one."""
        key = fingerprint(measure, engine.precision)
        folder = self.root / key[:2] / key
        return StoredRows(folder, Index.read(folder), lambda: self._describe(folder, measure, engine))

    def remember(self, digests: np.ndarray, digest: str) -> None:
        """Keeps the digests (N, 16) of a set's images in order under the set's own digest (hex), for `rows_of`.

        A store that cannot be written keeps none: the rows are there, and no result is lost for it.
        """
        if self._digests_of(digest) is not None:
            return
        folder = self.root / SETS
        temporary = folder / f"{digest}.{os.getpid()}.tmp"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "wb") as file:
                    np.save(file, np.ascontiguousarray(digests, np.uint8))
                os.replace(temporary, folder / f"{digest}.npy")
            finally:
                temporary.unlink(missing_ok=True)

    def rows_of(self, digest: str, key: str) -> Rows | None:
        """The rows of a remembered set by its digest and a measure's fingerprint; None where some are not here."""
        if not (digest.isalnum() and key.isalnum()):
            return None
        digests, folder = self._digests_of(digest), self.root / key[:2] / key
        if digests is None:
            return None
        index, wanted = Index.read(folder), as_keys(digests)
        index.verify(wanted)
        return None if len(index.missing(wanted)) else index.rows(wanted, None)

    def _digests_of(self, digest: str) -> np.ndarray | None:
        """The digests (N, 16) of a remembered set; None where it is not here or damaged."""
        try:
            digests: np.ndarray = np.load(self.root / SETS / f"{digest}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        whole = digests.ndim == 2 and digests.shape[1] == DIGEST and set_digest(digests) == digest
        return digests if whole else None

    def _describe(self, folder: Path, measure: Measure, engine: Engine) -> None:
        """Leaves beside the shards what they are rows of, for people who look into the folder.

        Raises:
            UserError: the folder cannot be written, before anything is measured for it.
        """
        _try_writing(self.root, folder)
        path = folder / "measure.json"
        if path.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"measure.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(measure.describe(engine.precision), indent=1, sort_keys=True))
        os.replace(temporary, path)


def _try_writing(root: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
    except OSError as error:
        raise UserError(
            f"store={root}: it cannot be written ({error.strerror}); store=DIR or GENAUDIT_STORE=DIR names another"
        ) from error


class StoredRows:
    """A measure's rows as they were in the store when it was read, and a writer of more."""

    def __init__(self, folder: Path, index: Index, describe: Callable[[], None]) -> None:
        self._folder, self._index, self._describe = folder, index, describe

    def find(self, digests: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The row (D,) of each digest (16 bytes) that the store holds."""
        if not digests:
            return {}
        wanted = as_keys(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST))
        self._index.verify(wanted)
        absent = set(self._index.missing(wanted).tolist())
        # a digest that occurs twice is missing once: compare by what it is
        lacking = {digests[place] for place in absent}
        held = [place for place, digest in enumerate(digests) if digest not in lacking]
        if not held:
            return {}
        rows = self._index.rows(wanted[held], None)
        return {digests[place]: row for place, row in zip(held, rows[:], strict=True)}

    @contextlib.contextmanager
    def writer(self) -> Iterator[_ShardWriter]:
        """Takes rows by `add(digests, rows)`; they are shards, at the latest, when it is left."""
        self._describe()
        with _ShardWriter(self._folder) as writer:
            yield writer


def _fill(
    folder: Path, images: ImageSet, missing: np.ndarray, measure: Measure, engine: Engine, advance: Advance
) -> dict[int, str]:
    """Measures images into new shards; returns the damaged ones, index => reason."""

    batch_size = engine.batch_size or measure.batch_size(engine.device)
    unit = measure.batch_unit(engine.device) if hasattr(measure, "batch_unit") else 1
    batch_size = -(-batch_size // unit) * unit
    damaged: dict[int, str] = {}
    batches = prepared_batches(
        images, missing.tolist(), measure.prepare, batch_size=batch_size, workers=engine.decode_workers
    )
    pending: deque[tuple[np.ndarray, Callable[[], torch.Tensor]]] = deque()
    with (
        neutral(),
        exact_float32(engine.device),
        _ShardWriter(folder) as writer,
        _in_flight(pending, writer),
        running(engine.device) as run,
    ):
        meter = measure.open(engine.device, engine.precision)

        def collect(leave: int) -> None:
            while len(pending) > leave:
                digests, rows = pending.popleft()
                writer.add(digests, rows().cpu().numpy()[: len(digests)])
                advance(len(digests))

        for indices, pixels, bad in batches:
            for index, error in bad:
                damaged[index] = error.reason
            if bad and images.policy.on_error == "fail":
                return damaged
            if not indices:
                continue
            digests = images.digests[indices]
            batch = to_device(padded(pixels, batch_size), engine.device)
            pending.append((digests, run.start(meter, batch, repeated(digests, batch_size))))
            collect(run.ahead)
        collect(0)
    return damaged


@contextlib.contextmanager
def _in_flight(pending: deque[tuple[np.ndarray, Callable[[], torch.Tensor]]], writer: _ShardWriter) -> Iterator[None]:
    """Keeps the rows of batches that had begun when measuring was interrupted; `running` has waited for them."""
    try:
        yield
    except KeyboardInterrupt:
        for digests, rows in pending:
            with contextlib.suppress(Exception):  # it had not begun, or failed by itself
                writer.add(digests, rows().cpu().numpy()[: len(digests)])
        raise


class _Running:
    """Runs batches so that the processor is never idle while rows are collected.

    On a CPU every core works on a batch of its own with one thread: no core waits for another at every layer, as
    the threads of one batch do, and a busy machine slows measuring no more than anything else. Elsewhere a batch is
    queued on the device, which works on it while the rows of the one before come back.
    """

    def __init__(self, pool: ThreadPoolExecutor | None, ahead: int) -> None:
        self.pool = pool
        self.ahead = ahead

    def start(self, meter: Any, batch: torch.Tensor, digests: list[bytes]) -> Callable[[], torch.Tensor]:
        """Starts a batch; the function it returns waits for its rows."""
        if self.pool is not None:
            result: Callable[[], torch.Tensor] = self.pool.submit(meter, batch, digests).result
            return result
        rows: torch.Tensor = meter(batch, digests)
        return lambda: rows


@contextlib.contextmanager
def running(device: str) -> Iterator[_Running]:
    import torch

    if device != "cpu":
        yield _Running(None, ahead=1)
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, "measure", initializer=one_thread) as pool:
        try:
            yield _Running(pool, ahead=2 * threads)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _ShardWriter:
    """Collects rows and writes them as shards, by time and size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.span = FIRST_SHARD_SECONDS
        self.started = time.monotonic()
        self.digests: list[np.ndarray] = []
        self.rows: list[np.ndarray] = []
        self.bytes = 0

    def __enter__(self) -> _ShardWriter:
        return self

    def add(self, digests: np.ndarray, rows: np.ndarray) -> None:
        self.digests.append(digests)
        self.rows.append(rows)
        self.bytes += rows.nbytes
        if self.bytes >= SHARD_BYTES or time.monotonic() - self.started >= self.span:
            self.flush()
            self.span = min(2 * self.span, LAST_SHARD_SECONDS)

    def flush(self) -> None:
        if self.rows:
            write_shard(self.folder, np.concatenate(self.digests), np.concatenate(self.rows), self.folder.name)
        self.digests, self.rows, self.bytes = [], [], 0
        self.started = time.monotonic()

    def __exit__(self, *exc_info: Any) -> None:
        # also when interrupted or when a later image fails: what was measured is kept
        self.flush()


def padded(pixels: np.ndarray, batch_size: int) -> np.ndarray:
    """The batch at its full size, the last image repeated: kernels, and so the last bits, never depend on the rest."""
    lacking = batch_size - len(pixels)
    if lacking == 0:
        return pixels
    tail = np.repeat(pixels[-1:].transpose(0, 2, 3, 1), lacking, axis=0)
    return np.concatenate([pixels.transpose(0, 2, 3, 1), tail]).transpose(0, 3, 1, 2)


def repeated(digests: np.ndarray, batch_size: int) -> list[bytes]:
    listed = [digest.tobytes() for digest in digests]
    return listed + listed[-1:] * (batch_size - len(listed))


def to_device(pixels: np.ndarray, device: str) -> torch.Tensor:
    import torch

    batch = torch.from_numpy(pixels)
    if device.startswith("cuda"):
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


@contextlib.contextmanager
def _silent(total: int) -> Iterator[Advance]:
    yield lambda done: None
