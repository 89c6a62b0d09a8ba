"""Images that come from Python objects: lists, a torch Dataset or DataLoader, a callable that samples a model.

N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudit.data.arrays import Layout, canonical, is_tensor, numbers_of, picture_layout, rounding_of
from genaudit.data.bad_image import BadImage
from genaudit.data.columns import CLASS, classes_of
from genaudit.data.columns import KEYS as LABEL_KEYS
from genaudit.data.decode import seen
from genaudit.data.image_set import Listing
from genaudit.data.reader import PixelReader
from genaudit.errors import UserError
from genaudit.stats.arrays import to_numpy

DEFAULT_SAMPLES = 1000
KEYS = ("image", "img", "pixel_values", "png", "jpg", "jpeg", "webp")  # of an item's image, the first that it has
_BATCH = 64


class DatasetReader(PixelReader):
    """Items of a map-style dataset, one thread at a time since a dataset need not be thread-safe."""

    changed = "differs each time it is read; expected a dataset without random augmentation"

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


@dataclass(frozen=True)
class ItemLabels:
    """The class of each item of a dataset: the second part of `(image, label)`, or the label in `{"label": ...}`."""

    dataset: Any

    def __call__(self) -> list[str]:
        return [self._label(self.dataset[index]) for index in range(len(self.dataset))]

    def _label(self, item: Any) -> str:
        label = None
        if isinstance(item, Mapping):
            label = next((item[key] for key in LABEL_KEYS[CLASS] if key in item), None)
        elif isinstance(item, tuple) and len(item) > 1:
            label = item[1]
        if label is not None and hasattr(label, "item") and getattr(label, "ndim", 1) == 0:
            label = label.item()
        return str(label) if isinstance(label, (str, int)) else ""


class SampledReader(PixelReader):
    """Images drawn from a model, held in memory as uint8."""

    def __init__(self, images: list[tuple[np.ndarray, str]]) -> None:
        self.images = images

    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        return self.images[index]


def list_dataset(dataset: Any, role: str) -> Listing:
    """The items of a list or torch Dataset: an image, (image, label, ...) or {"image": ...}; PIL, tensor or array.

    Each item is read when it is scanned and again when it is measured; where the two differ (random augmentation)
    the image is refused.

    Raises:
        UserError: no item.
    """
    count = len(dataset)
    if count == 0:
        raise UserError(f"{role}: the dataset {type(dataset).__name__} holds no item.")
    names = [f"{type(dataset).__name__}[{i}]" for i in range(count)]
    columns = classes_of(dataset) or {CLASS: ItemLabels(dataset)}
    return Listing(names, DatasetReader(dataset), columns=columns)


def draw(sample: Callable[..., Any], role: str, count: int | None, seed: int) -> Listing:
    """Draws `count` images, or else 1,000, from `sample(n, generator) -> (n, C, H, W)`.

    Batches of at most 64 are drawn one after the other with one `torch.Generator` on the CPU, seeded with `seed`.
    The drawn images are what is digested and measured; they stay in memory as uint8.

    Raises:
        UserError: something else than n images came back, or their values cannot be used.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    label = getattr(sample, "__name__", type(sample).__name__)
    total = DEFAULT_SAMPLES if count is None else count
    images: list[tuple[np.ndarray, str]] = []
    while len(images) < total:
        n = min(_BATCH, total - len(images))
        with torch.no_grad():
            batch = _sampled(sample, n, generator, f"{role}: {label}")
        shape = tuple(getattr(batch, "shape", ()))
        if len(shape) != 4 or shape[0] != n:
            got = f"shape {shape}" if shape else f"a {type(batch).__name__}"
            raise UserError(f"{role}: {label}({n}, generator) returned {got}; expected ({n}, C, H, W).")
        images += _images_of(batch, role, f"that {label} drew", len(images))
    return Listing([f"{label}[{i}]" for i in range(total)], SampledReader(images))


def _sampled(sample: Callable[..., Any], n: int, generator: Any, name: str) -> Any:
    """What a callable draws; a mistake within it comes out as its own."""
    try:
        inspect.signature(sample).bind(n, generator)
    except TypeError as error:
        raise UserError(f"{name} must take (n, generator): {error}.") from None
    except ValueError:  # a built-in function without a signature
        pass
    return sample(n, generator)


def is_loader(source: Any) -> bool:
    """Whether `source` is a torch DataLoader; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.utils.data.DataLoader)


def draw_loader(loader: Any, role: str) -> Listing:
    """The images of one pass through a torch DataLoader, which stay in memory as uint8.

    A batch is (B, C, H, W), or a tuple, list or dictionary that holds one (found as `item_pixels` finds an item's
    image), or a list of images; without batches (`batch_size=None`) it may be one picture, as an array may be. The
    order of a loader that shuffles is the pass's.

    Raises:
        UserError: no image, or values that cannot be used.
    """
    images: list[tuple[np.ndarray, str]] = []
    for given in loader:
        batch = _batch_of(given)
        if loader.batch_sampler is None and _is_one(batch, f"{role}: an item of the DataLoader"):
            batch = [batch]
        images += _images_of(batch, role, "of the DataLoader", len(images))
    if not images:
        raise UserError(f"{role}: the DataLoader holds no image.")
    return Listing([f"DataLoader[{i}]" for i in range(len(images))], SampledReader(images))


def _batch_of(batch: Any) -> Any:
    """What a loader gives as (B, C, H, W), or as a list of images: `[images, labels]` is told by its axes."""
    if not isinstance(batch, (list, tuple)) or not batch:
        return _image_of(batch)
    axes = [len(getattr(part, "shape", ())) for part in batch]
    together = axes[0] == 4 or (axes[0] == 3 and len(set(axes)) > 1)
    return batch[0] if together else batch


def _is_one(item: Any, name: str) -> bool:
    """Whether an item of a loader without batches is one picture, and no batch that its dataset made."""
    shape = tuple(getattr(item, "shape", ()))
    if len(shape) != 3:
        return len(shape) == 2 or _is_picture(item)
    return picture_layout(shape, "CHW", f"{name} has shape {shape}") is not None


def _images_of(batch: Any, role: str, whence: str, start: int) -> list[tuple[np.ndarray, str]]:
    """The images of a batch, each as `item_pixels` gives it; the first has the number `start`."""
    if not isinstance(batch, (list, tuple)):
        if len(getattr(batch, "shape", ())) not in (3, 4):
            raise UserError(f"{role}: a batch {whence} is a {type(batch).__name__}; expected (B, C, H, W).")
        rounding = rounding_of(batch)
        batch = numbers_of(batch, f"{role}: a batch {whence}")
        usual: Layout = "CHW"
    images = []
    for place, row in enumerate(batch):
        try:
            images.append(canonical(row, usual, rounding) if isinstance(batch, np.ndarray) else item_pixels(row))
        except BadImage as error:
            raise UserError(f"{role}: image {start + place} {whence} {error}.") from error
    return images


def item_pixels(item: Any) -> tuple[np.ndarray, str]:
    """A dataset's item as `(H, W, 3)` uint8 and its mode; raises BadImage where it holds no image."""
    found = _image_of(item)
    if is_tensor(found) or isinstance(found, np.ndarray):
        try:
            numbers = to_numpy(found)
        except ValueError as error:
            raise BadImage(str(error)) from None
        return canonical(numbers, "CHW", rounding_of(found)) if is_tensor(found) else canonical(numbers, "HWC")
    if _is_picture(found):
        return seen(found)
    if isinstance(item, Mapping):
        raise BadImage(f"has the keys {', '.join(map(str, item))}, and none of them is plainly the image")
    raise BadImage(f"is a {type(found).__name__}; expected a PIL image, a tensor (C, H, W) or an array (H, W, C)")


def may_hold_image(item: Any) -> bool:
    """Whether a list's item is of a type that `item_pixels` looks into."""
    return isinstance(item, (Mapping, tuple, list)) or hasattr(item, "shape") or _is_picture(item)


def _image_of(item: Any) -> Any:
    """The image (or array of images) in an item: of a mapping by name, or the only one; of a tuple the first part."""
    if isinstance(item, Mapping):
        named = [item[key] for key in KEYS if key in item]
        images = [value for value in item.values() if _is_picture(value) or len(getattr(value, "shape", ())) >= 3]
        return named[0] if named else images[0] if len(images) == 1 else None
    return item[0] if isinstance(item, (tuple, list)) and item else item


def _is_picture(thing: Any) -> bool:
    """Whether it is a PIL image."""
    return hasattr(thing, "mode") and hasattr(thing, "convert")
