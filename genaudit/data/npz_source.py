"""What an .npz holds: images, pictures of several sizes, feature rows, or moments. N images, D features.

Images are named `arr_0` (ADM) or `images`; rows `features` `(N, D)` (clean-fid: `feats`); moments `mu` `(D,)` and
`sigma` `(D, D)`, as pytorch-fid, clean-fid and ADM's evaluator store them. Beside them may stand ADM's `mu_s` and
`sigma_s`, the moments of spatial features (sFID). A reference that holds images and moments (ADM's `VIRTUAL_*.npz`) is
both: the moments are of FID's Inception, and stand for the images in metrics that are distances to a Gaussian.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data.arrays import ArrayReader, LazyRows, list_array
from genaudit.data.bad_image import UnusableFile
from genaudit.data.columns import CLASS, PROMPT, Column, as_words
from genaudit.data.decode import check_pixels
from genaudit.data.features import FeatureSet, Moments, feature_set, moments
from genaudit.data.ignored import other_arrays
from genaudit.data.image_set import Listing
from genaudit.data.memory import check_memory
from genaudit.data.numpy_files import npz_keys, npz_member, npz_shapes
from genaudit.data.reader import Entry, PixelReader

_TEXT_BYTES = 4096  # of what `genaudit moments` says of a file
FID = "fid_inception"  # the feature model of moments that stand beside images
ARRAYS = {CLASS: ("labels", "label", "arr_1"), PROMPT: ("prompts", "prompt")}
_ABOUT = ("feature_model", "weights_sha256", "fingerprint", "preparation", "precision", "genaudit")


def open_npz(path: Path, role: str) -> Listing | FeatureSet | Moments:
    keys = npz_keys(path)
    for key in ("arr_0", "images"):
        if key in keys:
            shapes = npz_shapes(path)
            pictures = _pictures(shapes)
            if key == "arr_0" and len(pictures) > 1:  # np.savez(file, *images)
                sizes = [shapes[name] for name in pictures]
                reader = PicturesReader(LazyRows(partial(_NpzPictures, os.fspath(path), pictures)), sizes)
                return Listing([f"{path.name}[{name}]" for name in pictures], reader)
            listing = list_array(LazyRows(partial(npz_member, os.fspath(path), key)), path.name, role, "HWC")
            stored = moments_of(path, keys, role) if role == "reference" and {"mu", "sigma"} <= set(keys) else None
            if stored is not None:
                stored = replace(stored, by_network={FID: stored})
            columns = _columns(path, len(listing.names))
            return replace(listing, ignored=dict(other_arrays(shapes, key)), moments=stored, columns=columns)
    for key in ("features", "feats"):
        if key in keys:
            rows = feature_set(npz_member(os.fspath(path), key), path.name, str(path), role)
            return replace(rows, columns=_columns(path, len(rows)))
    if "mu" in keys and "sigma" in keys:
        return moments_of(path, keys, role)
    raise UnusableFile(
        f"holds {_listed(keys)}; images would be named arr_0 or images, feature rows features, moments mu and sigma"
    )


@dataclass(frozen=True)
class NpzArray:
    """An array (N,) of an .npz as text: whole numbers in decimal, so that they meet folders of these names."""

    path: str
    key: str

    def __call__(self) -> Sequence[str]:
        return as_words(npz_member(self.path, self.key), f"{self.path}: {self.key}")


def _columns(path: Path, count: int) -> dict[str, Column]:
    """The arrays that hold a class or a prompt of each of `count` images."""
    shapes, found = npz_shapes(path, "biufSU"), {}
    for column, names in ARRAYS.items():
        key = next((name for name in names if shapes.get(name) in ((count,), (count, 1))), None)
        if key is not None:
            found[column] = NpzArray(os.fspath(path), key)
    return dict(found)


def _pictures(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The arrays arr_0, arr_1, ... where each of them is one picture (H, W, C)."""
    named = [key for key in shapes if re.fullmatch(r"arr_\d+", key)]
    fits = all(len(shapes[key]) == 3 and shapes[key][2] in (3, 4) and shapes[key][0] > 4 for key in named)
    return sorted(named, key=lambda key: int(key[4:])) if fits else []


class PicturesReader(ArrayReader):
    """Pictures (H, W, C) of sizes of their own, `shapes` in their order."""

    def __init__(self, rows: Any, shapes: list[tuple[int, ...]]) -> None:
        super().__init__(rows, "HWC")
        self.shapes = shapes

    def scan(self, index: int, max_pixels: int) -> Entry:
        height, width = self.shapes[index][:2]
        check_pixels(height, width, max_pixels)  # before the picture is unpacked
        return PixelReader.scan(self, index, max_pixels)


class _NpzPictures:
    """The pictures of an .npz, each an array of its own."""

    def __init__(self, path: str, keys: list[str]) -> None:
        self._file = np.load(path, allow_pickle=False)
        self._keys = keys
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> np.ndarray:
        with self._lock:
            picture: np.ndarray = self._file[self._keys[index]]
        return picture


def moments_of(path: Path, keys: list[str], role: str, mu: str = "mu", sigma: str = "sigma") -> Moments:
    """Moments of an .npz, with `n` and where they come from, as far as the file says."""
    if mu not in keys or sigma not in keys:
        raise UnusableFile(f"holds {_listed(keys)}; {mu} and {sigma} are needed")
    text = os.fspath(path)
    n = npz_member(text, "n") if "n" in keys else None
    about = {key: _words(text, key) for key in (*_ABOUT, "fingerprint_s") if key in keys}
    fingerprint_s = about.pop("fingerprint_s", "")
    covariance = npz_member(text, sigma)
    check_memory(3 * 8 * math.prod(covariance.shape), sigma, "expected features of fewer dimensions")
    pooled = moments(npz_member(text, mu), covariance, n, text, role, about)
    if (mu, sigma) != ("mu", "sigma") or not {"mu_s", "sigma_s"} <= set(keys):
        return pooled
    about = about | {"fingerprint": fingerprint_s}
    covariance = npz_member(text, "sigma_s")
    check_memory(3 * 8 * math.prod(covariance.shape), "sigma_s", "expected features of fewer dimensions")
    spatial = moments(npz_member(text, "mu_s"), covariance, n, text, role, about)
    return replace(pooled, spatial=spatial)


def _words(path: str, key: str) -> str:
    array = npz_member(path, key)
    if array.size != 1 or array.dtype.kind not in "US" or array.nbytes > _TEXT_BYTES:
        raise UnusableFile(
            f"holds an array {key} of shape {array.shape} and type {array.dtype}; expected one short text"
        )
    return str(array.reshape(-1)[0])


def _listed(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:20]) or "no array"
