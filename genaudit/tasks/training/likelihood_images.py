"""Images as a density model's training takes them: whole sets of pixels that are indexed by batch.

N images, B images of a batch, C channels (1 where the model has one), H height, W width.
"""

from __future__ import annotations

import io
import math
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data import DamagedImage, ImageSet
from genaudit.errors import UserError, reason_of
from genaudit.likelihood.dequantisation import to_pixels
from genaudit.measures.canvas import Canvas
from genaudit.reading import open_regular, read_text
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.training.images import images_of, read_pixels

IN_MEMORY_BYTES = 4 << 30  # more pixels stay where they are, and are decoded again for every batch


@dataclass(frozen=True)
class Placement:
    """How an image becomes the model's pixels: (C, H, W), in its own size where all have the same, else padded."""

    shape: tuple[int, int, int]
    canvas: Canvas | None

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(H', W', 3) uint8 => (H, W, C) uint8."""

        image = image if self.canvas is None else self.canvas.place(image)
        pixels: np.ndarray = to_pixels(image[None], channels=self.shape[0])[0].permute(1, 2, 0).numpy()
        return pixels


class LikelihoodImages:
    """A source; `self[indices]` are (B, H, W, C) uint8, of their own size where all have the same, else padded.

    Attributes:
        set: the images that could be read.
    """

    def __init__(self, role: str, images: ImageSet, shape: tuple[int, int, int], settings: Settings) -> None:
        """
        Args:
            role: the key that named them. shape: (C, S, S) of the model that they are for.

        Raises:
            UserError: images larger than the model's.
        """
        self.set, self.role = images, role
        largest = images.sizes.max(axis=1)
        if largest.max() > shape[1]:
            first = int((largest > shape[1]).argmax())
            height, width = images.sizes[first]
            raise UserError(
                f"{role}: {images.names[first]} is {height}x{width}, larger than the model's {shape[1]}x{shape[1]}; "
                f"give likelihood.model.size={largest.max()}, or images resized to the model's size"
            )
        same = bool((images.sizes == images.sizes[0]).all())
        height, width = images.sizes[0] if same else shape[1:]
        self._placement = Placement((shape[0], int(height), int(width)), None if same else Canvas(shape[1]))
        self._pixels: np.ndarray | None = None
        if len(images) * math.prod(self._placement.shape) <= IN_MEMORY_BYTES:
            self._pixels, self.set = read_pixels(images, self._placement, settings)

    def __len__(self) -> int:
        return len(self.set)

    def __getitem__(self, indices: Any) -> np.ndarray:
        if self._pixels is not None:
            return self._pixels[indices].transpose(0, 2, 3, 1)
        chosen = np.arange(len(self.set))[indices]
        try:
            return np.stack([self._placement.apply(self.set.read(int(i))) for i in chosen])
        except DamagedImage as error:
            raise UserError(f"{self.role}: {error}. Mend or remove it.") from error


def likelihood_images(cfg: Any, role: str, shape: tuple[int, int, int], settings: Settings) -> LikelihoodImages | None:
    """The images that a key of the configuration names; None where it names none."""
    images = images_of(cfg, role, settings)
    return None if images is None else LikelihoodImages(role, images, shape, settings)


def labels_of(given: str | None, images: LikelihoodImages, classes: int) -> np.ndarray | None:
    """The class of each training image (N,), 0 to classes - 1; None for a model of one class.

    Args:
        given: a .npy, or a .txt with an integer per line, in the order of the images; None takes the names of the
            folders that they lie in, sorted.

    Raises:
        UserError: there are not as many labels as images, or not as many classes as the model has.
    """
    if classes == 1:
        if given is not None:
            raise UserError("labels= is for a class-conditional model: give likelihood.model.classes too")
        return None
    if given is None:
        folders = [name.rpartition("/")[0].split("/")[-1] for name in images.set.names]
        names = sorted(set(folders))
        if len(names) != classes:
            raise UserError(
                f"train: {images.set.source} has {len(names)} folders of images, and likelihood.model.classes is "
                f"{classes}; a folder for each class, or labels=FILE, is needed"
            )
        return np.array([names.index(folder) for folder in folders], np.int64)
    labels = _read_labels(Path(given).expanduser())
    if len(labels) != len(images):
        raise UserError(f"labels: {given} has {len(labels):,} labels, and there are {len(images):,} training images")
    if not ((labels >= 0) & (labels < classes)).all():
        raise UserError(f"labels: {given} holds labels outside 0 to {classes - 1} (likelihood.model.classes={classes})")
    return labels


def _numbers(path: Path) -> np.ndarray:
    if path.suffix == ".npy":  # `np.load` would take a zip of that name too, `np.loadtxt` unpack what is packed
        with open_regular(path) as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            return array
    return np.loadtxt(io.StringIO(read_text(path)), ndmin=1)


def _read_labels(path: Path) -> np.ndarray:
    try:
        found = _numbers(path)
        labels = found.astype(np.int64)
        whole = labels.ndim == 1 and bool((labels == found).all())
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError, OverflowError, tokenize.TokenError) as error:
        raise UserError(f"labels: {path} cannot be read as labels ({reason_of(error)})") from None
    if not whole:
        raise UserError(f"labels: {path} must hold one integer per image")
    return labels
