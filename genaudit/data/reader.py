"""How an ImageSet gets at its images: readers that scan an image once and read it as often as asked.

A reader opens its files lazily, gives the same pixels from any thread, and is picklable (handles are reopened).
`scan` is the pass that touches every image before anything is measured: digest, mode and size, without decoding
files. H rows, W columns.
"""

from __future__ import annotations

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from genaudit.data.bad_image import BadImage
from genaudit.data.decode import check_pixels, decode, probe
from genaudit.data.digest import array_digest, file_digest
from genaudit.data.encoding import Encoding
from genaudit.data.memory import BYTES
from genaudit.reading import check_regular, open_regular, read_bytes

T = TypeVar("T")

MAX_PIXELS = 100_000_000
_BLOCK = 2048  # images handed to the threads at once: bounds the futures, not the images in memory


class Entry(NamedTuple):
    """What the scan keeps of one image; `frames` as in `decode.Header`."""

    digest: bytes
    encoding: Encoding
    height: int
    width: int
    frames: int = 1


def max_bytes(max_pixels: int) -> int:
    """The largest file that an image of `max_pixels` needs: 16-bit RGBA, uncompressed, and a margin for metadata."""
    return 8 * max_pixels + (16 << 20)


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

    def weight(self, index: int) -> int:
        """About how many bytes `fetch` holds at once, where that is known before it reads."""
        return 0

    def scan(self, index: int, max_pixels: int) -> Entry:
        with BYTES.claim(min(self.weight(index), max_bytes(max_pixels))):
            data = self._fetch(index, max_pixels)
            header = probe(data, max_pixels)
            digest = file_digest(data, header.reading)
        return Entry(digest, header.encoding, header.height, header.width, header.frames)

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        with BYTES.claim(min(self.weight(index), max_bytes(max_pixels))):
            data = self._fetch(index, max_pixels)
            if file_digest(data) != digest and file_digest(data, probe(data, max_pixels).reading) != digest:
                # its row would be stored under another's address
                raise BadImage("has changed since it was first read")
            return decode(data, max_pixels)

    def _fetch(self, index: int, max_pixels: int) -> bytes:
        try:
            return self.fetch(index)
        except OSError as error:
            raise BadImage(f"cannot be read ({error.strerror or error})") from error


class PixelReader(Reader):
    """Images that are arrays already; `changed` says what it means that a digest differs when it is read again."""

    changed = "has changed since it was first read"

    @abstractmethod
    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        """The canonical `(H, W, 3)` uint8 pixels, and the mode that they had ("RGB", "L", "RGBA float", ...)."""

    def scan(self, index: int, max_pixels: int) -> Entry:
        pixels, mode = self.pixels(index)
        check_pixels(pixels.shape[0], pixels.shape[1], max_pixels)
        return Entry(array_digest(pixels), Encoding(mode), pixels.shape[0], pixels.shape[1])

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        pixels, _ = self.pixels(index)
        if array_digest(pixels) != digest:  # its row would be stored under another image's address
            raise BadImage(self.changed)
        return pixels


class FileReader(EncodedReader):
    """Files on disk, `root / name` each."""

    def __init__(self, root: str | Path, names: Sequence[str]) -> None:
        self.root = os.fspath(root)
        self.names = names

    def fetch(self, index: int) -> bytes:
        return self._bytes(index, max_bytes(MAX_PIXELS))

    def weight(self, index: int) -> int:
        try:
            return check_regular(self._path(index)).st_size
        except OSError:  # `fetch` says why
            return 0

    def _fetch(self, index: int, max_pixels: int) -> bytes:
        limit = max_bytes(max_pixels)
        try:
            return self._bytes(index, limit)
        except OSError as error:
            if error.errno == errno.EFBIG:
                size = self.weight(index)
                raise BadImage(
                    f"has {size:,} bytes, more than an image of max_pixels={max_pixels:,} needs ({limit:,})"
                ) from None
            raise BadImage(f"cannot be read ({error.strerror or error})") from error

    def _bytes(self, index: int, limit: int) -> bytes:
        return read_bytes(self._path(index), limit)

    def _path(self, index: int) -> str:
        return os.path.join(self.root, self.names[index])


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
                self._file = self._open()
            if not hasattr(os, "pread"):  # Windows
                self._file.seek(offset)
                data: bytes = self._file.read(length)
                return data
            descriptor = self._file.fileno()
        # no more room than the file has bytes, whatever an archive's directory claims
        length = min(length, max(os.fstat(descriptor).st_size - offset, 0))
        return os.pread(descriptor, length, offset) if offset >= 0 else b""

    def _open(self) -> Any:
        return open_regular(self.path)

    def whole(self) -> Any:
        """All of it as a file of its own, from the beginning; to be closed by the caller."""
        return open_regular(self.path)

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
