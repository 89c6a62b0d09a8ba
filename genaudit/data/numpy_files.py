"""Arrays of .npy and .npz files: small or compressed ones are held, others read by rows. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data.archive import zip_data_start
from genaudit.data.bad_image import BadImage, UnusableFile
from genaudit.data.file_rows import stored_array
from genaudit.data.memory import check_memory
from genaudit.data.reader import PositionedFile
from genaudit.reading import open_regular

MOST_PACKED = 1032  # deflate, which zip and HDF5 compress with, makes no data shorter than this factor
UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, BadImage, EOFError, OSError, NotImplementedError),
    *(ValueError, TypeError, KeyError, SyntaxError, OverflowError, MemoryError, RecursionError, RuntimeError),
    *(tokenize.TokenError, IndexError),
)  # what a damaged file makes of NumPy's and zipfile's readers


def map_npy(path: str) -> Any:
    try:
        with open_regular(path) as file:
            shape, fortran, dtype = _npy_header(file)
            if file.tell() + math.prod(shape) * dtype.itemsize > os.stat(path).st_size:
                raise UnusableFile(f"is cut off: it should hold {shape} values of type {dtype}")
            return stored_array(path, file.tell(), shape, dtype, fortran)
    except UNREADABLE as error:
        raise UnusableFile(f"is not an .npy file that can be read ({error})") from error


def npz_keys(path: Path) -> list[str]:
    """The names of the arrays of an .npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except UNREADABLE as error:
        raise UnusableFile(f"is not an .npz file that can be read ({error})") from error


def npz_shapes(path: Path, kinds: str = "f") -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of bytes and of NumPy's kinds, by name; an array that cannot be read has none."""
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with contextlib.suppress(Exception), archive.open(member) as file:  # the array that is used says why
                shape, _, dtype = _npy_header(file)
                _check_packed(member, file.tell(), math.prod(shape) * dtype.itemsize)
                if dtype == np.uint8 or dtype.kind in kinds:
                    shapes[member.filename.removesuffix(".npy")] = shape
    return shapes


def npz_member(path: str, key: str) -> Any:
    """An array of an .npz: held, or rows of the file where it is large and stored (np.savez)."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        member = archive.getinfo(f"{key}.npy" if f"{key}.npy" in names else key)
        if member.flag_bits & 0x1:
            raise UnusableFile("is encrypted")
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
                raise UnusableFile(f"is damaged: it ends inside {key}")
            return stored_array(path, start, shape, dtype, fortran)
        except UNREADABLE as error:
            raise UnusableFile(f"is damaged at {key} ({error})") from error


def _check_packed(member: zipfile.ZipInfo, header: int, size: int) -> None:
    """Refuses an array whose bytes are not those that its member has, or can have."""
    key = member.filename.removesuffix(".npy")
    if header + size != member.file_size:
        raise UnusableFile(f"is damaged: {key} has {member.file_size - header:,} bytes, not {size:,}")
    if member.compress_type != zipfile.ZIP_STORED:
        if size > MOST_PACKED * (member.compress_size + 64):
            raise UnusableFile(f"is damaged: {key} cannot unpack to {size:,} bytes")
        check_memory(size, key, "np.savez in place of np.savez_compressed makes it readable in place")


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise UnusableFile("holds pickled Python objects, which are never loaded; expected plain number arrays")
    if any(side < 0 for side in shape) or math.prod(shape) > np.iinfo(np.int64).max or dtype.itemsize == 0:
        raise UnusableFile(f"is damaged: it claims an array of shape {shape} and type {dtype}")
    return shape, fortran, dtype
