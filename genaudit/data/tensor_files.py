"""Arrays of .pt, .safetensors and .h5 files: small ones are held, others read by rows. Nothing is unpickled."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections import Counter
from typing import Any

from genaudit.data.bad_image import UnusableFile
from genaudit.data.file_rows import HELD_BYTES, FileRows, tensor_rows
from genaudit.data.ignored import other_arrays
from genaudit.errors import reason_of
from genaudit.reading import load_torch, open_regular

_CHUNK_BYTES = 1 << 30  # of HDF5: reading one image unpacks every chunk that it touches
_SAFETENSORS = {"U8": "u1", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}


def open_pt(path: str, others: Counter[str]) -> Any:
    """The tensor of a .pt file: the tensor itself, or of a dictionary `images`, `data` or the only 4-D one."""
    tensor, mapped = _load_pt(path, others)
    if not mapped:
        return tensor
    rows = tensor_rows(path, tensor)
    return rows if rows is not None else _load_pt(path, others, mapped=False)[0]


def _load_pt(path: str, others: Counter[str], *, mapped: bool = True) -> tuple[Any, bool]:
    """The tensor, and whether it is a map of the file, which must not be read from: see `genaudit.data.file_rows`."""

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
        raise UnusableFile(
            "is damaged, or holds Python objects besides tensors, which are never unpickled; expected one tensor"
        ) from error
    except Exception as error:
        raise UnusableFile(f"is not a .pt file that can be read ({reason_of(error)})") from error
    if _is_plain(content):
        return content, mapped
    if isinstance(content, dict):
        tensors = {str(key): value for key, value in content.items() if _is_plain(value)}
        return tensors[_choose({key: tuple(value.shape) for key, value in tensors.items()}, others)], mapped
    raise UnusableFile(f"holds a {type(content).__name__}; expected a tensor, or a dictionary with the key images")


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor whose numbers lie in memory one beside the other: not sparse, nested or quantised."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested)
    )


def open_safetensors(path: str, others: Counter[str]) -> Any:
    """A tensor of a .safetensors file, read row by row at the place that its header names."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as checked:  # refuses headers that lie
            shapes = {key: tuple(checked.get_slice(key).get_shape()) for key in checked.keys()}  # noqa: SIM118
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except Exception as error:
        raise UnusableFile(f"is not a .safetensors file that can be read ({reason_of(error)})") from error
    key = _choose(shapes, others)
    kind, offset = header[key]["dtype"], 8 + length + header[key]["data_offsets"][0]
    if kind not in _SAFETENSORS:
        raise UnusableFile(f"holds {key} of type {kind}; images must be U8 or floats")
    return FileRows(path, offset, shapes[key], _SAFETENSORS[kind], widen=kind == "BF16")


def open_h5(path: str, others: Counter[str]) -> Any:
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
            raise UnusableFile("keeps its images in other files; expected a file that holds them itself")
        if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > _CHUNK_BYTES:
            raise UnusableFile(f"has chunks of shape {dataset.chunks}; expected chunks of a few images")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise UnusableFile(f"is not an HDF5 file that can be read ({reason_of(error)})") from error
    return dataset


def _choose(shapes: dict[str, tuple[int, ...]], others: Counter[str]) -> str:
    """Which of a file's arrays holds the images; those that may hold images too are counted in `others`."""
    named = [key for key in ("images", "data") if key in shapes]
    four = [key for key, shape in shapes.items() if len(shape) == 4]
    three = [key for key, shape in shapes.items() if len(shape) == 3]
    chosen = named[:1] or (four if len(four) == 1 else three if not four and len(three) == 1 else [])
    if chosen:
        others.update(other_arrays(shapes, chosen[0]))
        return chosen[0]
    found = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items())[:10]) or "no array"
    raise UnusableFile(f"holds {found}; images would be named images or data, or be the only array with four axes")
