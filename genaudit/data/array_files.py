"""Arrays in files as sources: .npy, .npz, .pt, .safetensors, .h5, and statistics in .pkl."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from genaudit.data.arrays import Layout, LazyRows, list_array
from genaudit.data.bad_image import UnusableFile
from genaudit.data.features import FeatureSet, Moments
from genaudit.data.image_set import Listing
from genaudit.data.npz_source import moments_of, open_npz
from genaudit.data.numpy_files import MOST_PACKED, map_npy, npz_keys
from genaudit.data.statistics_files import EXTENSIONS as PICKLES
from genaudit.data.statistics_files import open_pickle, open_torch_statistics
from genaudit.data.tensor_files import open_h5, open_pt, open_safetensors
from genaudit.errors import UserError

ARRAY_EXTENSIONS = (".npz", ".npy", ".pt", ".pth", ".safetensors", ".h5", ".hdf5")


@dataclass(frozen=True)
class MomentsFile:
    """Mean and covariance of an .npz, as a source, whatever else the file holds.

    Attributes:
        path: the file. mu, sigma: the names of its arrays.
    """

    path: str
    mu: str = "mu"
    sigma: str = "sigma"

    def __str__(self) -> str:
        return f"{self.path} ({self.mu}, {self.sigma})"

    def open_source(self) -> Moments:
        """The moments.

        Raises:
            UserError: no such file, a damaged one, or no moments of these names in it.
        """
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise UserError(f"reference: {self.path} is no file; an .npz with mu and sigma is needed.")
        try:
            return moments_of(path, npz_keys(path), "reference", self.mu, self.sigma)
        except UnusableFile as error:
            raise UserError(f"reference: {path} {error}.") from error


def open_array_file(path: Path, role: str) -> Listing | FeatureSet | Moments:
    """The images, features or moments of an array file.

    Raises:
        UserError: a damaged file, pickled objects, or no array of the right name, shape, type and values.
    """
    kind = path.suffix.lower()
    others: Counter[str] = Counter()  # filled when the file is opened
    try:
        if kind == ".npz":
            return open_npz(path, role)
        if kind in PICKLES:
            return open_pickle(path, role)
        if kind in (".pt", ".pth") and (statistics := open_torch_statistics(path, role)) is not None:
            return statistics
        layout: Layout = "HWC"
        if kind == ".npy":
            rows = LazyRows(partial(map_npy, os.fspath(path)))
        elif kind == ".safetensors":
            rows = LazyRows(partial(open_safetensors, os.fspath(path), others))
            layout = "CHW"
        elif kind in (".h5", ".hdf5"):
            rows = LazyRows(partial(open_h5, os.fspath(path), others))
        else:
            rows = LazyRows(partial(open_pt, os.fspath(path), others))
            layout = "CHW"
        _check_claim(rows, path)
        listing = list_array(rows, path.name, role, layout)
        return replace(listing, ignored=dict(others))
    except UnusableFile as error:
        raise UserError(f"{role}: {path} {error}.") from error


def _check_claim(rows: LazyRows, path: Path) -> None:
    """Refuses an array that cannot lie in its file: names, digests and rows would be made of nothing."""
    values, size = math.prod(rows.shape), path.stat().st_size
    if values > MOST_PACKED * size:
        raise UnusableFile(f"claims {values:,} values of shape {rows.shape} and has only {size:,} bytes")
