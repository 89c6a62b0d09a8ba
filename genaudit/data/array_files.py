"""Arrays in files: .npy, .npz, .pt, .safetensors, .h5. Nothing is unpickled; small ones are held, others read by rows.

An .npz may also hold `features` `(N, D)` (clean-fid: `feats`) in place of images, or the moments `mu` `(D,)` and
`sigma` `(D, D)` that pytorch-fid, clean-fid and ADM's evaluator store; images win where a file has both (ADM's
reference batches `VIRTUAL_*.npz`, whose moments are read with `dataset@reference=moments`). Beside them may stand ADM's
`mu_s` and `sigma_s`, the moments of spatial features (sFID). N images, D features.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import struct
import threading
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data.archive import zip_data_start
from genaudit.data.arrays import ArrayReader, Layout, LazyRows, list_array
from genaudit.data.bad_image import BadImage
from genaudit.data.bad_image import UnusableFile as _Refused
from genaudit.data.decode import check_pixels
from genaudit.data.digest import DIGEST_BYTES, array_digest
from genaudit.data.file_rows import HELD_BYTES, FileRows, stored_array, tensor_rows, verified
from genaudit.data.ignored import other_array
from genaudit.data.image_set import FeatureSet, Listing, Moments
from genaudit.data.reader import Entry, PixelReader, PositionedFile
from genaudit.errors import UserError
from genaudit.reading import load_torch, open_regular

ARRAY_EXTENSIONS = (".npz", ".npy", ".pt", ".pth", ".safetensors", ".h5", ".hdf5")

_BLOCK = 4096  # feature rows checked at once
_MOST_PACKED = 1032  # deflate, which zip and HDF5 compress with, makes no data shorter than this factor
_TEXT_BYTES = 4096  # of what `genaudit moments` says of a file
_CHUNK_BYTES = 1 << 30  # of HDF5: reading one image unpacks every chunk that it touches
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, BadImage, EOFError, OSError, NotImplementedError),
    *(ValueError, TypeError, KeyError, SyntaxError, OverflowError, MemoryError, RecursionError, RuntimeError),
    *(tokenize.TokenError, IndexError),
)  # what a damaged file makes of NumPy's and zipfile's readers
_ABOUT = ("feature_model", "weights_sha256", "fingerprint", "genaudit")


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
            return _moments_of(path, _keys(path), "reference", self.mu, self.sigma)
        except _Refused as error:
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
            return _open_npz(path, role)
        layout: Layout = "HWC"
        if kind == ".npy":
            rows = LazyRows(partial(_map_npy, os.fspath(path)))
        elif kind == ".safetensors":
            rows = LazyRows(partial(_open_safetensors, os.fspath(path), others))
            layout = "CHW"
        elif kind in (".h5", ".hdf5"):
            rows = LazyRows(partial(_open_h5, os.fspath(path), others))
        else:
            rows = LazyRows(partial(_open_pt, os.fspath(path), others))
            layout = "CHW"
        _check_claim(rows, path)
        listing = list_array(rows, path.name, role, layout)
        return replace(listing, ignored=dict(others))
    except _Refused as error:
        raise UserError(f"{role}: {path} {error}.") from error


def _check_claim(rows: LazyRows, path: Path) -> None:
    """Refuses an array that cannot lie in its file: names, digests and rows would be made of nothing."""
    values, size = math.prod(rows.shape), path.stat().st_size
    if values > _MOST_PACKED * size:
        raise _Refused(f"claims {values:,} values of shape {rows.shape} and has only {size:,} bytes")


def _check_memory(size: int, what: str, instead: str) -> None:
    """Refuses what would not fit into half of this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 33
    if size > memory // 2:
        raise _Refused(f"needs {size:,} bytes of memory for {what}, more than half of this machine's; {instead}")


def _open_npz(path: Path, role: str) -> Listing | FeatureSet | Moments:
    keys = _keys(path)
    for key in ("arr_0", "images"):
        if key in keys:
            shapes = _npz_shapes(path)
            pictures = _pictures(shapes)
            if key == "arr_0" and len(pictures) > 1:  # np.savez(file, *images)
                sizes = [shapes[name] for name in pictures]
                reader = PicturesReader(LazyRows(partial(_NpzPictures, os.fspath(path), pictures)), sizes)
                return Listing([f"{path.name}[{name}]" for name in pictures], reader)
            listing = list_array(LazyRows(partial(_npz_member, os.fspath(path), key)), path.name, role, "HWC")
            return replace(listing, ignored=dict(_other_arrays(shapes, key)))
    for key in ("features", "feats"):
        if key in keys:
            return feature_set(_npz_member(os.fspath(path), key), path.name, str(path), role)
    if "mu" in keys and "sigma" in keys:
        return _moments_of(path, keys, role)
    raise _Refused(
        f"holds {_listed(keys)}; images would be named arr_0 or images, feature rows features, moments mu and sigma"
    )


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of bytes and floats, by name; an array that cannot be read has none."""
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with contextlib.suppress(Exception), archive.open(member) as file:  # the array that is used says why
                shape, _, dtype = _npy_header(file)
                _check_packed(member, file.tell(), math.prod(shape) * dtype.itemsize)
                if dtype == np.uint8 or dtype.kind == "f":
                    shapes[member.filename.removesuffix(".npy")] = shape
    return shapes


def _check_packed(member: zipfile.ZipInfo, header: int, size: int) -> None:
    """Refuses an array whose bytes are not those that its member has, or can have."""
    key = member.filename.removesuffix(".npy")
    if header + size != member.file_size:
        raise _Refused(f"is damaged: {key} has {member.file_size - header:,} bytes, not {size:,}")
    if member.compress_type != zipfile.ZIP_STORED:
        if size > _MOST_PACKED * (member.compress_size + 64):
            raise _Refused(f"is damaged: {key} cannot unpack to {size:,} bytes")
        _check_memory(size, key, "np.savez in place of np.savez_compressed makes it readable in place")


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


def _other_arrays(shapes: Mapping[str, tuple[int, ...]], chosen: str) -> Counter[str]:
    """Arrays that may hold images too, and how many: four axes with channels, or three axes."""
    return Counter(
        {
            other_array(key): shape[0]
            for key, shape in shapes.items()
            if key != chosen and (len(shape) == 3 or (len(shape) == 4 and {shape[1], shape[3]} & {1, 3, 4}))
        }
    )


def _keys(path: Path) -> list[str]:
    """The names of the arrays of an .npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _UNREADABLE as error:
        raise _Refused(f"is not an .npz file that can be read ({error})") from error


def _listed(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:20]) or "no array"


def _moments_of(path: Path, keys: list[str], role: str, mu: str = "mu", sigma: str = "sigma") -> Moments:
    """Moments of an .npz, with `n` and where they come from, as far as the file says."""
    if mu not in keys or sigma not in keys:
        raise _Refused(f"holds {_listed(keys)}; {mu} and {sigma} are needed")
    text = os.fspath(path)
    n = _npz_member(text, "n") if "n" in keys else None
    about = {key: _words(text, key) for key in (*_ABOUT, "fingerprint_s") if key in keys}
    fingerprint_s = about.pop("fingerprint_s", "")
    covariance = _npz_member(text, sigma)
    _check_memory(3 * 8 * math.prod(covariance.shape), sigma, "features of fewer dimensions would be right")
    pooled = moments(_npz_member(text, mu), covariance, n, text, role, about)
    if (mu, sigma) != ("mu", "sigma") or not {"mu_s", "sigma_s"} <= set(keys):
        return pooled
    about = about | {"fingerprint": fingerprint_s}
    covariance = _npz_member(text, "sigma_s")
    _check_memory(3 * 8 * math.prod(covariance.shape), "sigma_s", "features of fewer dimensions would be right")
    spatial = moments(_npz_member(text, "mu_s"), covariance, n, text, role, about)
    return replace(pooled, spatial=spatial)


def _words(path: str, key: str) -> str:
    found = _npz_member(path, key)
    if found.size != 1 or found.dtype.kind not in "US" or found.nbytes > _TEXT_BYTES:
        raise _Refused(f"holds an array {key} of shape {found.shape} and type {found.dtype}; one short text is needed")
    return str(found.reshape(-1)[0])


def feature_set(features: np.ndarray, label: str, source: str, role: str) -> FeatureSet:
    """Rows `(N, D)` checked and digested, a block at a time.

    Raises:
        UserError: not a two-dimensional array of real floats, no row, or a value that is not finite.
    """
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind != "f":
        raise UserError(
            f"{role}: features of {source} have shape {features.shape} and type {features.dtype}; "
            f"expected (N, D) floats with N, D >= 1."
        )
    digests = np.empty((len(features), DIGEST_BYTES), dtype=np.uint8)
    for start in range(0, len(features), _BLOCK):
        block = np.asarray(features[start : start + _BLOCK])
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise UserError(f"{role}: features of {source} hold NaN or infinity in row {row}.")
        for i, row_values in enumerate(block):
            digests[start + i] = np.frombuffer(array_digest(row_values), dtype=np.uint8)
    held: Any = verified(features, digests, array_digest, f"{role}: {source}")
    return FeatureSet(source, [f"{label}[{i}]" for i in range(len(features))], held, digests)


def moments(
    mu: np.ndarray,
    sigma: np.ndarray,
    n: np.ndarray | None,
    source: str,
    role: str,
    about: Mapping[str, str] | None = None,
) -> Moments:
    """Mean `(D,)` and covariance `(D, D)`, checked.

    Raises:
        UserError: shapes that do not belong together, values that are not finite, or a covariance that is not
            symmetric or has a negative variance.
    """
    if mu.ndim != 1 or mu.size == 0 or sigma.shape != (mu.size, mu.size):
        raise UserError(
            f"{role}: {source} holds mu of shape {mu.shape} and sigma of shape {sigma.shape}; (D,) and (D, D) "
            f"would be right."
        )
    if mu.dtype.kind not in "fiu" or sigma.dtype.kind not in "fiu":
        raise UserError(f"{role}: mu and sigma of {source} have types {mu.dtype} and {sigma.dtype}, not real numbers.")
    mu, sigma = np.array(mu, dtype=np.float64), np.array(sigma, dtype=np.float64)
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{role}: mu or sigma of {source} holds NaN or infinity.")
    scale = float(np.abs(sigma).max())
    # float32 covariances computed blockwise are symmetric to a few units of 6e-8 relative to the largest entry
    if float(np.abs(sigma - sigma.T).max()) > 1e-4 * scale or float(sigma.diagonal().min()) < -1e-6 * scale:
        raise UserError(f"{role}: sigma of {source} is not a covariance: it must be symmetric with variances >= 0.")
    if n is not None and (n.size != 1 or n.dtype.kind not in "iuf" or not np.isfinite(n).all() or n.min() < 1):
        raise UserError(f"{role}: n of {source} must be one number, the count of images behind mu and sigma.")
    digest = array_digest(np.vstack([mu[None], sigma])).hex()
    return Moments(source, mu, sigma, None if n is None else int(n.reshape(-1)[0]), digest, about or {})


def _npz_member(path: str, key: str) -> Any:
    """An array of an .npz: held, or rows of the file where it is large and stored (np.savez)."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        member = archive.getinfo(f"{key}.npy" if f"{key}.npy" in names else key)
        if member.flag_bits & 0x1:
            raise _Refused("is encrypted")
        try:
            with archive.open(member) as file:
                shape, fortran, dtype = _npy_header(file)
                header = file.tell()
                size = math.prod(shape) * dtype.itemsize
                _check_packed(member, header, size)
                if member.compress_type != zipfile.ZIP_STORED:
                    flat = np.frombuffer(file.read(size), dtype=dtype)  # the zip's checksum is verified on the way
                    return flat.reshape(shape, order="F" if fortran else "C")
            start = zip_data_start(PositionedFile(path), member.header_offset) + header
            if start + size > os.stat(path).st_size:
                raise _Refused(f"is damaged: it ends inside {key}")
            return stored_array(path, start, shape, dtype, fortran)
        except _UNREADABLE as error:
            raise _Refused(f"is damaged at {key} ({error})") from error


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise _Refused("holds pickled Python objects, which are never loaded; expected plain number arrays")
    if any(side < 0 for side in shape) or math.prod(shape) > np.iinfo(np.int64).max or dtype.itemsize == 0:
        raise _Refused(f"is damaged: it claims an array of shape {shape} and type {dtype}")
    return shape, fortran, dtype


def _map_npy(path: str) -> Any:
    try:
        with open_regular(path) as file:
            shape, fortran, dtype = _npy_header(file)
            if file.tell() + math.prod(shape) * dtype.itemsize > os.stat(path).st_size:
                raise _Refused(f"is cut off: it should hold {shape} values of type {dtype}")
            return stored_array(path, file.tell(), shape, dtype, fortran)
    except _UNREADABLE as error:
        raise _Refused(f"is not an .npy file that can be read ({error})") from error


def _open_pt(path: str, others: Counter[str]) -> Any:
    """The tensor of a .pt file: the tensor itself, or of a dictionary `images`, `data` or the only 4-D one."""
    tensor, mapped = _load_pt(path, others)
    if not mapped:
        return tensor
    rows = tensor_rows(path, tensor)
    return rows if rows is not None else _load_pt(path, others, mapped=False)[0]


def _load_pt(path: str, others: Counter[str], *, mapped: bool = True) -> tuple[Any, bool]:
    """The tensor, and whether it is a map of the file, which must not be read from: see `genaudit.data.file_rows`."""
    import pickle

    mapped = mapped and os.path.getsize(path) > HELD_BYTES
    try:
        try:
            content = load_torch(path, mmap=mapped)
        except (RuntimeError, ValueError):  # the file format before torch 1.6 cannot be mapped
            if not mapped:
                raise
            mapped = False
            content = load_torch(path)
    except pickle.UnpicklingError as error:
        raise _Refused(
            "is damaged, or holds Python objects besides tensors, which are never unpickled; expected one tensor"
        ) from error
    except Exception as error:
        raise _Refused(f"is not a .pt file that can be read ({type(error).__name__}: {error})") from error
    if _is_plain(content):
        return content, mapped
    if isinstance(content, dict):
        tensors = {str(key): value for key, value in content.items() if _is_plain(value)}
        return tensors[_choose({key: tuple(value.shape) for key, value in tensors.items()}, others)], mapped
    raise _Refused(f"holds a {type(content).__name__}; expected a tensor, or a dictionary with the key images")


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor whose numbers lie in memory one beside the other: not sparse, nested or quantised."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested)
    )


_SAFETENSORS = {"U8": "u1", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}


def _open_safetensors(path: str, others: Counter[str]) -> Any:
    """A tensor of a .safetensors file, read row by row at the place that its header names."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as checked:  # refuses headers that lie
            shapes = {key: tuple(checked.get_slice(key).get_shape()) for key in checked.keys()}  # noqa: SIM118
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except Exception as error:
        raise _Refused(f"is not a .safetensors file that can be read ({error})") from error
    key = _choose(shapes, others)
    kind, offset = header[key]["dtype"], 8 + length + header[key]["data_offsets"][0]
    if kind not in _SAFETENSORS:
        raise _Refused(f"holds {key} of type {kind}; images must be U8 or floats")
    return FileRows(path, offset, shapes[key], _SAFETENSORS[kind], widen=kind == "BF16")


def _open_h5(path: str, others: Counter[str]) -> Any:
    """The dataset `images` or `data` of an HDF5 file, or its only 4-D one; nothing of other files.

    Links to other files are not followed (`visititems` follows none), and a dataset whose values lie in other files
    (external storage, virtual datasets) is refused: a file from elsewhere would read what it likes on this machine.
    """
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[name] = tuple(item.shape or ())

    try:
        file = h5py.File(path, "r")
        file.visititems(collect)
        dataset = file[_choose(shapes, others)]
        if dataset.external or dataset.is_virtual:
            raise _Refused("keeps its images in other files; a file that holds them itself would be right")
        if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > _CHUNK_BYTES:
            raise _Refused(f"has chunks of shape {dataset.chunks}; chunks of a few images would be right")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise _Refused(f"is not an HDF5 file that can be read ({error})") from error
    return dataset


def _choose(shapes: dict[str, tuple[int, ...]], others: Counter[str]) -> str:
    """Which of a file's arrays holds the images; those that may hold images too are counted in `others`."""
    named = [key for key in ("images", "data") if key in shapes]
    four = [key for key, shape in shapes.items() if len(shape) == 4]
    three = [key for key, shape in shapes.items() if len(shape) == 3]
    chosen = named[:1] or (four if len(four) == 1 else three if not four and len(three) == 1 else [])
    if chosen:
        others.update(_other_arrays(shapes, chosen[0]))
        return chosen[0]
    found = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items())[:10]) or "no array"
    raise _Refused(f"holds {found}; images would be named images or data, or be the only array with four axes")
