"""The digest of what a file or a folder holds, by which a step of `reproduce` knows its images and weights."""

from __future__ import annotations

import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from genaudit.errors import UserError
from genaudit.reading import sha256_of_file


def contents(path: Path) -> str:
    """The SHA-256, in hex, of a file, or of all files below a folder with their names.

    Names count: labels and splits are read from them. Where the folder lies, times and permissions do not. Within a
    process a file that nobody touched since is not read again.

    Raises:
        UserError: something cannot be read.
    """
    try:
        if not path.is_dir():
            return _of_file(path)
        files = sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
            digests = pool.map(_of_file, files)
            listed = (f"{file.relative_to(path).as_posix()}\0{one}\n" for file, one in zip(files, digests, strict=True))
            digest = hashlib.sha256()
            for line in listed:
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read ({error.strerror or error})") from error


def _of_file(path: Path) -> str:
    stat = path.stat()
    return _hashed(os.fspath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=1 << 16)
def _hashed(path: str, *_stat: int) -> str:
    return sha256_of_file(path)
