"""Reads files that may come from anyone: regular files only, never more bytes than they may have.

A named pipe, a device or a socket under the name of an image or a model would hang the reader or fill the memory, so
what a name stands for is looked at before it is opened, and again once it is open. All refusals are `OSError`s with
a predicate as their `strerror`, so that whoever reports a file that cannot be read reports these too.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

PathLike = str | os.PathLike[str]

JSON_BYTES = 64 << 20  # a report of a thousand metrics is far below
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# without blocking: what was a file a moment ago may be a pipe now
_READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_TORCH_PICKLE = b"\x80\x02"  # the beginning of torch's format before 1.6, and of a bare pickle


class Refused(OSError):
    """A file that is not read although it could be opened; `strerror` is the reason."""


def check_regular(path: PathLike) -> os.stat_result:
    """The status of a regular file, links followed; the file is not opened.

    Raises:
        OSError: there is nothing, or a folder, named pipe, socket or device.
    """
    try:
        status = os.stat(path)
    except ValueError:  # a NUL in the name
        raise Refused(errno.EINVAL, "the name holds a NUL character", os.fspath(path)) from None
    _refuse_other_kinds(status.st_mode, path)
    return status


def _refuse_other_kinds(mode: int, path: PathLike) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "a special file")
        raise Refused(errno.EINVAL, f"it is {kind}, not a regular file", os.fspath(path))


def open_regular(path: PathLike) -> IO[bytes]:
    """A regular file, open for reading bytes.

    Raises:
        OSError: as `check_regular`.
    """
    descriptor = open_regular_descriptor(path)
    try:
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_regular_descriptor(path: PathLike) -> int:
    """As `open_regular`, a descriptor that the caller closes: a third of the time, where many files are opened."""
    check_regular(path)
    descriptor = os.open(path, _READING)
    try:
        _refuse_other_kinds(os.fstat(descriptor).st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_bytes(path: PathLike, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
        OSError: as `check_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(size + 1)  # one more: it may grow while it is read
        if len(data) > size:
            raise Refused(errno.EBUSY, "it grows while it is read", os.fspath(path))
        if size > limit:
            raise Refused(errno.EFBIG, f"it has {size:,} bytes, more than {limit:,}", os.fspath(path))
        return data


def gunzipped(path: PathLike, limit: int) -> bytes:
    """What a gzip file of at most `limit` bytes unpacks to, where that has at most `limit` bytes too.

    Raises:
        OSError: as `read_bytes`, or it is cut off, damaged, or unpacks to more.
    """
    import gzip
    import zlib

    packed = read_bytes(path, limit)
    try:
        with gzip.open(io.BytesIO(packed)) as stream:
            data = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused(errno.EINVAL, f"it is cut off or damaged ({error})", os.fspath(path)) from None
    if len(data) > limit:
        raise Refused(errno.EFBIG, f"it unpacks to more than {limit:,} bytes", os.fspath(path))
    return data


def read_text(path: PathLike, limit: int = JSON_BYTES, encoding: str = "utf-8") -> str:
    """The text of a regular file; OSError as `read_bytes`, UnicodeDecodeError where it is not text."""
    return read_bytes(path, limit).decode(encoding)


def read_json(path: PathLike, limit: int = JSON_BYTES) -> Any:
    """A JSON document whose numbers are all finite.

    Raises:
        OSError: as `read_bytes`. ValueError: not UTF-8, not JSON, nested too deep, or a number that is NaN or infinite.
    """
    return parse_json(read_text(path, limit))


def parse_json(text: str | bytes) -> Any:
    """See `read_json`."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def sha256_of_file(path: PathLike) -> str:
    """The SHA-256 of a regular file, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def load_torch(source: PathLike | bytes, *, mmap: bool = False) -> Any:
    """What `torch.save` wrote of tensors and plain values, on the CPU. No code of the file runs.

    Beyond `weights_only` the kinds of archives that torch has read by running them are refused before torch sees
    them: TorchScript, and the tar of torch before 0.1.10.

    Args:
        source: a file, or its bytes. mmap: map the tensors in place of reading them (files since torch 1.6).

    Raises:
        OSError: not a regular file. ValueError: a file of another kind.
        Exception: whatever else a damaged file makes of torch's reader; pickle.UnpicklingError for other objects.
    """
    import torch

    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        start = file.read(4)
        if start == b"PK\x03\x04":
            _refuse_programs(file)
        elif not start.startswith(_TORCH_PICKLE):
            raise ValueError("it is no file of torch.save")
        file.seek(0)
        if isinstance(source, bytes) or not mmap:
            return torch.load(file, map_location="cpu", weights_only=True)
    return torch.load(source, map_location="cpu", weights_only=True, mmap=True)


def is_program(path: PathLike) -> bool:
    """Whether a file is a program that torch wrote (TorchScript, `torch.export`); nothing of it is run.

    Raises:
        OSError: not a regular file.
    """
    with open_regular(path) as file:
        if file.read(4) != b"PK\x03\x04":
            return False
        try:
            return _holds_program(file)
        except ValueError:  # damaged: whoever reads it says so
            return False


def _refuse_programs(file: IO[bytes]) -> None:
    """Raises ValueError where a zip is a program and not tensors: TorchScript, or `torch.export`."""
    if _holds_program(file):
        raise ValueError("it is a program (TorchScript or torch.export), not tensors")


def _holds_program(file: IO[bytes]) -> bool:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"its archive is damaged ({error})") from None
    return any(name == "constants.pkl" or name.startswith(("code/", "models/")) for name in names)


def expanded(path: PathLike) -> Path:
    """`Path(path).expanduser()`; the path as it is where there is no home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
