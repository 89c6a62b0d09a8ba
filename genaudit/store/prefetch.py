"""Batches of prepared images, decoded by worker threads ahead of the network.

Threads suffice: Pillow decodes and resizes, and hashing runs, without holding Python's lock, and nothing has to be
copied between processes. B images of a batch, S side in pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from genaudit.data import DamagedImage, ImageSet
from genaudit.data.memory import PREPARED

Prepare = Callable[[np.ndarray], np.ndarray]


def prepared_batches(
    images: ImageSet, indices: Sequence[int], prepare: Prepare, *, batch_size: int, workers: int, ahead: int = 4
) -> Iterator[tuple[list[int], np.ndarray, list[tuple[int, DamagedImage]]]]:
    """Yields `(indices, pixels (B, 3, S, S) uint8, damaged)` in order; damaged images are left out of the pixels.

    Args:
        images, indices: what to read, in this order.
        prepare: (H, W, 3) uint8 => (S, S, 3) uint8, called in a worker.
        batch_size: images per batch; a batch with damaged images, and the last, is smaller.
        workers: threads; 0 reads in the caller's thread.
        ahead: batches decoded ahead of the consumer.
    """

    def load(index: int) -> np.ndarray | DamagedImage:
        height, width = images.sizes[index]
        try:
            with PREPARED.claim(3 * int(height) * int(width)):
                return prepare(images.read(index))
        except DamagedImage as damaged:
            return damaged

    groups = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
    if workers == 0:
        try:
            for group in groups:
                yield _batch(group, [load(index) for index in group])
        finally:
            images.close()
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[list[int], list[Future[np.ndarray | DamagedImage]]]] = deque()
        try:
            for group in groups:
                waiting.append((group, [pool.submit(load, index) for index in group]))
                if len(waiting) > ahead:
                    group, futures = waiting.popleft()
                    yield _batch(group, [future.result() for future in futures])
            while waiting:
                group, futures = waiting.popleft()
                yield _batch(group, [future.result() for future in futures])
        finally:  # where the consumer stopped early: decode nothing more
            pool.shutdown(wait=True, cancel_futures=True)
            images.close()


def _batch(
    group: list[int], loaded: Sequence[np.ndarray | DamagedImage]
) -> tuple[list[int], np.ndarray, list[tuple[int, DamagedImage]]]:
    good = [(i, image) for i, image in zip(group, loaded, strict=True) if isinstance(image, np.ndarray)]
    damaged = [(i, image) for i, image in zip(group, loaded, strict=True) if isinstance(image, DamagedImage)]
    # (B, S, S, 3) in memory seen as (B, 3, S, S): channels-last, what convolutions want
    pixels = np.stack([image for _, image in good]).transpose(0, 3, 1, 2) if good else np.empty((0, 3, 0, 0), np.uint8)
    return [i for i, _ in good], pixels, damaged
