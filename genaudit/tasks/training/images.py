"""Images of a role as one array of prepared pixels, for training."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.data import ImageSet
from genaudit.errors import UserError
from genaudit.output import told
from genaudit.store.measuring import prepared_batches
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import open_role, source_of
from genaudit.tasks.run.settings import Settings

IN_MEMORY_BYTES = 1 << 30  # larger arrays lie in the run's folder and are read where they are needed
PREPARED = "images.npy"
AT_ONCE = 256


class Preparation(Protocol):
    """How an image becomes pixels, such as `genaudit.measures.piad.PreparedPixels`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every prepared image."""

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(H', W', 3) uint8 => (H, W, C) uint8, or with further channels that are left out."""


def images_of(cfg: Any, role: str, settings: Settings) -> ImageSet | None:
    """The images that play a role; None where nothing was given.

    Raises:
        UserError: features or moments were given.
    """
    source = source_of(cfg.get(role))
    if source is None:
        return None
    images = open_role(role, source, settings)
    if not isinstance(images, ImageSet):
        raise UserError(f"{role}: {images.source} holds no images")
    return images


def read_pixels(
    images: ImageSet, preparation: Preparation, settings: Settings, folder: Path | None = None
) -> tuple[np.ndarray, ImageSet]:
    """All images prepared, (N, C, H, W) uint8, and the set without the damaged ones.

    Args:
        folder: where an array that is too large for memory goes; its size is said before, and a finished one of the
            same images is used again.

    Raises:
        UserError: the folder has too little room.
    """
    shape = preparation.shape
    large = folder is not None and len(images) * math.prod(shape) > IN_MEMORY_BYTES
    while True:
        try:
            if not large:
                array: Any = np.empty((len(images), *shape), np.uint8)
                _fill(array, images, preparation, settings)
                return array, images
            assert folder is not None
            path = folder / f"{images.digest[:16]}.{PREPARED}"
            if not path.is_file():
                _announce(images, shape, path)
                with atomic_write(path) as temporary:
                    array = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(images), *shape))
                    _fill(array, images, preparation, settings)
                    array.flush()
            return np.load(path, mmap_mode="r"), images
        except _Damaged as damaged:
            images = images.without(damaged.reasons)


def _announce(images: ImageSet, shape: tuple[int, int, int], path: Path) -> None:
    """Says how large a copy will be; refuses one that the disk cannot hold before hours went into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size, free = len(images) * math.prod(shape), shutil.disk_usage(path.parent).free
    copy = f"{images.policy.role}: a copy of {len(images):,} prepared images, {size / 1e9:.3g} GB"
    if size > free:
        raise UserError(f"{copy}, is needed in {path.parent}, which has {free / 1e9:.3g} GB left; out= names another")
    told.note(f"{copy}, in {path}")


class _Damaged(Exception):
    """Some images cannot be read, index => reason: an array of all of them has gaps."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(f"{len(reasons)} images are damaged")
        self.reasons = reasons


def _fill(array: np.ndarray, images: ImageSet, preparation: Preparation, settings: Settings) -> None:
    """Fills the array.

    Raises:
        _Damaged: some images cannot be read.
    """
    damaged: dict[int, str] = {}
    batches = prepared_batches(
        images,
        range(len(images)),
        preparation.apply,
        batch_size=AT_ONCE,
        workers=settings.engine.decode_workers,
    )
    with Progress(settings.progress).bar(f"prepare {images.policy.role}", len(images)) as advance:
        for indices, pixels, bad in batches:
            damaged |= {index: error.reason for index, error in bad}
            if indices:
                array[indices] = pixels[:, : preparation.shape[0]]
            advance(len(indices) + len(bad))
    if damaged:
        raise _Damaged(damaged)
