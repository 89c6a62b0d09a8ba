"""Batches of prepared images, decoded by worker threads ahead of the network.

Threads suffice: Pillow decodes and resizes, and hashing runs, without holding Python's lock, and nothing has to be
copied between processes. B images of a batch, S side in pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from genaudit.data import DamagedImage, ImageSet
from genaudit.data.memory import PREPARED

Prepare = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")


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
