"""How an ImageSet gets at its images: readers that scan an image once and read it as often as asked.

A reader opens its files lazily, gives the same pixels from any thread, and is picklable (handles are reopened).
`scan` is the pass that touches every image before anything is measured: digest, mode and size, without decoding
files. H rows, W columns.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from genaudit.data.decode import BadImage, check_pixels, decode, probe
from genaudit.data.digest import array_digest, file_digest

T = TypeVar("T")

_BLOCK = 2048  # images handed to the threads at once: bounds the futures, not the images in memory


class Entry(NamedTuple):
    """What the scan keeps of one image."""

    digest: bytes
    mode: str
    height: int
    width: int


class Reader(ABC):
    """Images by position. Both methods raise BadImage for what cannot be used."""

    @abstractmethod
    def scan(self, index: int, max_pixels: int) -> Entry:
        """Digest, mode and size of one image."""

    @abstractmethod
    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        """The image as `(H, W, 3)` uint8; `digest` is what the scan found."""

    def close(self) -> None:  # noqa: B027 (most have nothing open)
        """Closes what is open; the next read opens it again. No other thread may be reading."""


class EncodedReader(Reader):
    """Images that are encoded files, wherever their bytes lie."""

    @abstractmethod
    def fetch(self, index: int) -> bytes:
        """The file's bytes; raises BadImage or OSError."""

    def scan(self, index: int, max_pixels: int) -> Entry:
        data = self._fetch(index)
        header = probe(data, max_pixels)
        return Entry(file_digest(data), header.mode, header.height, header.width)

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        data = self._fetch(index)
        if file_digest(data) != digest:  # its row would be stored under another image's address
            raise BadImage("has changed since it was first read")
        return decode(data, max_pixels)

    def _fetch(self, index: int) -> bytes:
        try:
            return self.fetch(index)
        except OSError as error:
            raise BadImage(f"cannot be read ({error.strerror or error})") from error


class PixelReader(Reader):
    """Images that are arrays already. `verify` compares the digest again at each read."""

    verify = False

    @abstractmethod
    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        """The canonical `(H, W, 3)` uint8 pixels, and the mode that they had ("RGB", "L", "RGBA float", ...)."""

    def scan(self, index: int, max_pixels: int) -> Entry:
        pixels, mode = self.pixels(index)
        check_pixels(pixels.shape[0], pixels.shape[1], max_pixels)
        return Entry(array_digest(pixels), mode, pixels.shape[0], pixels.shape[1])

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        pixels, _ = self.pixels(index)
        if self.verify and array_digest(pixels) != digest:
            raise BadImage("differs each time it is read; a dataset without random augmentation would be right")
        return pixels


class FileReader(EncodedReader):
    """Files on disk, `root / name` each."""

    def __init__(self, root: str | Path, names: Sequence[str]) -> None:
        self.root = os.fspath(root)
        self.names = names

    def fetch(self, index: int) -> bytes:
        with open(os.path.join(self.root, self.names[index]), "rb") as file:
            return file.read()


class JoinedReader(Reader):
    """Several readers, one after the other."""

    def __init__(self, readers: Sequence[Reader], lengths: Sequence[int]) -> None:
        self.readers = list(readers)
        self.ends = np.cumsum(lengths)

    def _locate(self, index: int) -> tuple[Reader, int]:
        which = int(np.searchsorted(self.ends, index, side="right"))
        return self.readers[which], index - (int(self.ends[which - 1]) if which else 0)

    def scan(self, index: int, max_pixels: int) -> Entry:
        reader, inner = self._locate(index)
        return reader.scan(inner, max_pixels)

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        reader, inner = self._locate(index)
        return reader.read(inner, digest, max_pixels)

    def close(self) -> None:
        for reader in self.readers:
            reader.close()


class PositionedFile:
    """A file read at offsets by many threads at once; opened at the first read, reopened after pickling."""

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._file: Any = None

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer where the file ends."""
        with self._lock:
            if self._file is None:
                self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (lives as long as the reader)
            if not hasattr(os, "pread"):  # Windows
                self._file.seek(offset)
                data: bytes = self._file.read(length)
                return data
            descriptor = self._file.fileno()
        return os.pread(descriptor, length, offset)

    def close(self) -> None:
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def ordered_map(function: Callable[[int], T], count: int, workers: int) -> Iterator[T]:
    """`function(0), function(1), ...` in order, on `workers` threads; 0 or 1 computes in this thread."""
    if workers <= 1:
        yield from map(function, range(count))
        return
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, _BLOCK):
            yield from pool.map(function, range(start, min(start + _BLOCK, count)))
