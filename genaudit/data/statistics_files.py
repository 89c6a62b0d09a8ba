"""Statistics that other tools keep as pickles: moments by network, or features.

    EDM2              {num_images, fid: {mu, sigma}, fd_dinov2: {mu, sigma}}
    StyleGAN2-ADA, 3  {num_items, raw_mean, raw_cov, all_features, ...}: sums over images; the covariance divides by N
    torch-fidelity    {mu, sigma}, in a file of torch

Nothing is unpickled (`genaudit.data.plain_pickle`). N images, D features.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data.bad_image import UnusableFile
from genaudit.data.features import FeatureSet, Moments, feature_set, moments
from genaudit.data.memory import check_memory
from genaudit.data.npz_source import FID
from genaudit.data.numpy_files import UNREADABLE
from genaudit.data.plain_pickle import NotPlain, read_plain
from genaudit.reading import read_bytes

EXTENSIONS = (".pkl", ".pickle")
MOST_BYTES = 4 << 30
_NETWORKS = {"fid": FID, "fd_dinov2": "dinov2_l14"}  # the feature models that EDM2's names stand for


def open_pickle(path: Path, role: str) -> FeatureSet | Moments:
    """The statistics of a pickle.

    Raises:
        UnusableFile: damaged, another kind of pickle, or no statistics in it. UserError: statistics that are none.
    """
    check_memory(2 * path.stat().st_size, "it", "statistics of fewer dimensions would be right")
    return _statistics(read_bytes(path, MOST_BYTES), path, role)


def open_torch_statistics(path: Path, role: str) -> Moments | None:
    """The moments of a file of torch-fidelity; None where the file holds none, or tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > path.stat().st_size:
                return None
            data = archive.read(names[0])
    except UNREADABLE:
        return None
    try:
        found = _statistics(data, path, role)
    except UnusableFile:
        return None
    return found if isinstance(found, Moments) else None


def _statistics(data: bytes, path: Path, role: str) -> FeatureSet | Moments:
    try:
        content = read_plain(data)
    except NotPlain as error:
        raise UnusableFile(f"is no file of statistics: {error}; nothing in it was run") from None
    if not isinstance(content, dict):
        raise UnusableFile(f"holds a {type(content).__name__}; expected mu and sigma, or EDM2's or StyleGAN's names")
    source = str(path)
    n = _number(content.get("num_images"))
    if _are_moments(content):
        return moments(content["mu"], content["sigma"], n, source, role)
    if known := {_NETWORKS[key]: each for key, each in content.items() if key in _NETWORKS and _are_moments(each)}:
        each = {name: moments(found["mu"], found["sigma"], n, source, role) for name, found in known.items()}
        return replace(next(iter(each.values())), by_network=each)
    if isinstance(content.get("raw_mean"), np.ndarray) and isinstance(content.get("raw_cov"), np.ndarray):
        return _of_sums(content, source, role)
    features = content.get("all_features")
    if isinstance(features, list) and features and all(isinstance(each, np.ndarray) for each in features):
        try:
            rows = np.concatenate(features)
        except ValueError as error:
            raise UnusableFile(f"is damaged: its features do not fit together ({error})") from None
        return feature_set(rows, path.name, source, role)
    raise UnusableFile(
        f"holds {', '.join(str(key)[:40] for key in list(content)[:20]) or 'nothing'}; expected mu and sigma, fid or "
        "fd_dinov2 (EDM2), or raw_mean and raw_cov (StyleGAN)"
    )


def _of_sums(content: Mapping[str, Any], source: str, role: str) -> Moments:
    """StyleGAN's sums over images: mean = sum x / N, covariance = sum x x' / N - mean mean'."""
    count = content.get("num_items")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count < 1 << 48:
        raise UnusableFile("holds sums, and num_items is no number of images")
    mean, covariance = content["raw_mean"].astype(np.float64), content["raw_cov"].astype(np.float64)
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UnusableFile(f"holds raw_mean of shape {mean.shape} and raw_cov of shape {covariance.shape}")
    mean /= count
    return moments(mean, covariance / count - np.outer(mean, mean), _number(count), source, role)


def _are_moments(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(key), np.ndarray) for key in ("mu", "sigma"))


def _number(found: Any) -> np.ndarray | None:
    return np.array(found) if isinstance(found, int) and not isinstance(found, bool) else None
