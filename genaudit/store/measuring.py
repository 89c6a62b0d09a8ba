"""What the measuring loop runs on: the engine's settings, images decoded ahead, batches in flight, shards.

Threads suffice for decoding: Pillow decodes and resizes, and hashing runs, without holding Python's lock, and nothing
has to be copied between processes. B images of a batch, S side in pixels.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from genaudit.data import DamagedImage, ImageSet
from genaudit.data.memory import PREPARED
from genaudit.stats.process_state import one_thread
from genaudit.store.shards import write_shard

if TYPE_CHECKING:
    import torch

FIRST_SHARD_SECONDS = 5.0  # a run that is killed loses at most the shard in flight;
LAST_SHARD_SECONDS = 60.0  # its span doubles, so that a long run does not leave thousands of small files
SHARD_BYTES = 64 << 20

Advance = Callable[[int], None]
T = TypeVar("T")
Prepare = Callable[[np.ndarray], np.ndarray]


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


class _Running:
    """Runs batches so that the processor is never idle while rows are collected.

    On a CPU every core works on a batch of its own with one thread: no core waits for another at every layer, as
    the threads of one batch do, and a busy machine slows measuring no more than anything else. Elsewhere a batch is
    queued on the device, which works on it while the rows of the one before come back.
    """

    def __init__(self, pool: ThreadPoolExecutor | None, ahead: int) -> None:
        self.pool = pool
        self.ahead = ahead

    def start(self, meter: Callable[..., T], batch: torch.Tensor, digests: list[bytes]) -> Callable[[], T]:
        """Starts a batch; the function it returns waits for what the meter gives."""
        if self.pool is not None:
            return self.pool.submit(meter, batch, digests).result
        rows = meter(batch, digests)
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


class ShardWriter:
    """Collects rows, and attachments by `names`, and writes them as shards, by time and size."""

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self.folder, self.names = folder, names
        self.span = FIRST_SHARD_SECONDS
        self.waiting: list[tuple[np.ndarray, ...]] = []
        self.bytes, self.started = 0, time.monotonic()

    def __enter__(self) -> ShardWriter:
        return self

    def add(self, digests: np.ndarray, rows: np.ndarray, *attachments: np.ndarray) -> None:
        self.waiting.append((digests, rows, *attachments))
        self.bytes += sum(array.nbytes for array in (rows, *attachments))
        if self.bytes >= SHARD_BYTES or time.monotonic() - self.started >= self.span:
            self.flush()
            self.span = min(2 * self.span, LAST_SHARD_SECONDS)

    def flush(self) -> None:
        if self.waiting:
            digests, rows, *beside = (np.concatenate(each) for each in zip(*self.waiting, strict=True))
            write_shard(self.folder, digests, rows, self.folder.name, dict(zip(self.names, beside, strict=True)))
        self.waiting, self.bytes, self.started = [], 0, time.monotonic()

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


def prepared_images(
    images: ImageSet,
    indices: Sequence[int],
    prepare: Callable[[int, np.ndarray], T],
    *,
    group: int,
    workers: int,
    ahead: int = 4,
) -> Iterator[list[tuple[int, T | DamagedImage]]]:
    """Yields groups of `(index, what was prepared)` in order; each image is read and decoded once.

    Args:
        images, indices: what to read, in this order.
        prepare: index and image (H, W, 3) uint8 => what is kept of it, called in a worker.
        group: images that are handed on at a time.
        workers: threads; 0 reads in the caller's thread.
        ahead: groups decoded ahead of the consumer.
    """

    def load(index: int) -> T | DamagedImage:
        height, width = images.sizes[index]
        try:
            with PREPARED.claim(3 * int(height) * int(width)):
                return prepare(index, images.read(index))
        except DamagedImage as damaged:
            return damaged

    groups = [list(indices[i : i + group]) for i in range(0, len(indices), group)]
    if workers == 0:
        try:
            for members in groups:
                yield [(index, load(index)) for index in members]
        finally:
            images.close()
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[list[tuple[int, Future[T | DamagedImage]]]] = deque()
        try:
            for members in groups:
                waiting.append([(index, pool.submit(load, index)) for index in members])
                if len(waiting) > ahead:
                    yield [(index, future.result()) for index, future in waiting.popleft()]
            while waiting:
                yield [(index, future.result()) for index, future in waiting.popleft()]
        finally:  # where the consumer stopped early: decode nothing more
            pool.shutdown(wait=True, cancel_futures=True)
            images.close()


def prepared_batches(
    images: ImageSet, indices: Sequence[int], prepare: Prepare, *, batch_size: int, workers: int, ahead: int = 4
) -> Iterator[tuple[list[int], np.ndarray, list[tuple[int, DamagedImage]]]]:
    """Yields `(indices, pixels (B, 3, S, S) uint8, damaged)` in order; damaged images are left out of the pixels.

    Args:
        images, indices, workers, ahead: as for `prepared_images`, in batches.
        prepare: (H, W, 3) uint8 => (S, S, 3) uint8, called in a worker.
        batch_size: images per batch; a batch with damaged images, and the last, is smaller.
    """
    for loaded in prepared_images(
        images, indices, lambda _, image: prepare(image), group=batch_size, workers=workers, ahead=ahead
    ):
        good = [(index, image) for index, image in loaded if isinstance(image, np.ndarray)]
        damaged = [(index, image) for index, image in loaded if isinstance(image, DamagedImage)]
        yield [index for index, _ in good], stacked([image for _, image in good]), damaged


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """(S, S, 3) each => (B, 3, S, S) as a view of (B, S, S, 3): channels-last, what convolutions want."""
    return np.stack(images).transpose(0, 3, 1, 2) if images else np.empty((0, 3, 0, 0), np.uint8)
