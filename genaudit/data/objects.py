"""Images that come from Python objects: a torch Dataset, or a callable that samples a model.

N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genaudit.data.arrays import canonical, is_tensor, rounding_of, to_numpy
from genaudit.data.bad_image import BadImage
from genaudit.data.decode import seen
from genaudit.data.image_set import Listing
from genaudit.data.reader import PixelReader
from genaudit.errors import UserError

DEFAULT_SAMPLES = 1000
_BATCH = 64


class DatasetReader(PixelReader):
    """Items of a map-style dataset, one thread at a time since a dataset need not be thread-safe."""

    changed = "differs each time it is read; a dataset without random augmentation would be right"

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._lock = threading.Lock()

    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        with self._lock:
            try:
                item = self.dataset[index]
            except Exception as error:
                raise BadImage(f"raised {type(error).__name__}: {error}") from error
        return item_pixels(item)

    def __getstate__(self) -> Any:
        return self.dataset

    def __setstate__(self, state: Any) -> None:
        self.__init__(state)  # type: ignore[misc]


class SampledReader(PixelReader):
    """Images drawn from a model, held in memory as uint8."""

    def __init__(self, images: list[tuple[np.ndarray, str]]) -> None:
        self.images = images

    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        return self.images[index]


def list_dataset(dataset: Any, role: str, limit: int | None = None) -> Listing:
    """The items of a torch Dataset: an image, (image, label, ...) or {"image": ...}; PIL, tensor or array.

    Each item is read when it is scanned and again when it is measured; where the two differ (random augmentation)
    the image is refused.

    Raises:
        UserError: no item.
    """
    count = len(dataset)
    if count == 0:
        raise UserError(f"{role}: the dataset {type(dataset).__name__} holds no item.")
    count = count if limit is None else min(limit, count)
    return Listing([f"{type(dataset).__name__}[{i}]" for i in range(count)], DatasetReader(dataset))


def draw(sample: Callable[..., Any], role: str, limit: int | None, seed: int) -> Listing:
    """Draws images from `sample(n, generator) -> (n, C, H, W)`, `limit` of them or else 1,000.

    Batches of at most 64 are drawn one after the other with one `torch.Generator` on the CPU, seeded with `seed`.
    The drawn images are what is digested and measured; they stay in memory as uint8.

    Raises:
        UserError: something else than n images came back, or their values cannot be used.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    label = getattr(sample, "__name__", type(sample).__name__)
    total = DEFAULT_SAMPLES if limit is None else limit
    images: list[tuple[np.ndarray, str]] = []
    while len(images) < total:
        n = min(_BATCH, total - len(images))
        with torch.no_grad():
            batch = sample(n, generator)
        shape = tuple(getattr(batch, "shape", ()))
        if len(shape) != 4 or shape[0] != n:
            got = f"shape {shape}" if shape else f"a {type(batch).__name__}"
            raise UserError(f"{role}: {label}({n}, generator) returned {got}; ({n}, C, H, W) would be right.")
        rounding = rounding_of(batch)
        for row in to_numpy(batch):
            try:
                images.append(canonical(row, "CHW", rounding))
            except BadImage as error:
                raise UserError(f"{role}: image {len(images)} that {label} drew {error}.") from error
    return Listing([f"{label}[{i}]" for i in range(total)], SampledReader(images))


def item_pixels(item: Any) -> tuple[np.ndarray, str]:
    """A dataset's item as `(H, W, 3)` uint8 and its mode; raises BadImage where it holds no image."""
    if isinstance(item, Mapping):
        item = next((item[key] for key in ("image", "img") if key in item), None)
    elif isinstance(item, (tuple, list)) and len(item) > 0:
        item = item[0]
    if is_tensor(item):
        return canonical(to_numpy(item), "CHW", rounding_of(item))
    if isinstance(item, np.ndarray):
        return canonical(item, "HWC")
    if hasattr(item, "mode") and hasattr(item, "convert"):
        return seen(item)
    raise BadImage(f"is a {type(item).__name__}; a PIL image, a tensor (C, H, W) or an array (H, W, C) would be right")
