"""Packs pictures of many images into sheets of at most 768 x 768 pixels, or one image, on all cores, in bounded memory.

A sheet holds `columns` x `columns` cells of `cell` pixels, filled row by row, each with a thumbnail in its upper left
corner. Images of at most `EXACT` pixels are kept exactly, in PNG; others are shrunk to the cell, in JPEG. Every thread
makes one sheet at a time: what is in memory is a sheet and one decoded image a thread.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Read = Callable[[int], np.ndarray]
SHEET = 768  # pixels of a sheet's side, of several images: it takes 2.4 MB once a browser has decoded it
EXACT = 64  # up to this longer side a set's images are kept pixel by pixel
PROBED = 16  # images that are looked at for the set's size
QUALITY = 87


class Held(Protocol):
    """Pictures that can be read many at a time, their files held open between; `role.held()` gives such a reader."""

    def held(self) -> AbstractContextManager[Read]: ...


@dataclass(frozen=True)
class Sprites:
    """Sheets and where in them which thumbnail lies.

    Attributes:
        cell, columns: pixels of a cell's side, and cells a row and column of a sheet.
        sizes: (N, 2) uint16, width and height of each thumbnail in its cell; 0 where the image cannot be shown.
        sheets: for each sheet a file name or a data URI.
        exact: the thumbnails are the images themselves.
    """

    cell: int
    columns: int
    sizes: np.ndarray
    sheets: list[str]
    exact: bool

    def to_dict(self) -> dict[str, Any]:
        """As the page's script reads it."""
        return {
            "cell": self.cell,
            "columns": self.columns,
            "exact": self.exact,
            "sizes": base64.b64encode(self.sizes.astype("<u2").tobytes()).decode(),
            "sheets": self.sheets,
        }


def pack(
    read: Read | None, indices: Sequence[int] | np.ndarray, side: int, keep: Callable[[int, str, bytes], str]
) -> Sprites:
    """The thumbnails of the images `indices`, in this order.

    Args:
        read: from index to image, uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); None: there are no pictures.
            An image that cannot be read leaves its cell empty.
        side: pixels of a cell's side at most.
        keep: takes (number, "png" or "jpeg", bytes) of each sheet and returns what the page calls it by.
    """
    chosen = [int(index) for index in indices]
    with _held(read) as reader:
        cell = min(side, _longest(reader, chosen)) or 1
        columns = max(1, SHEET // cell)
        exact = cell <= EXACT
        starts = range(0, len(chosen), columns * columns)

        def sheet(start: int) -> tuple[str, bytes, np.ndarray]:
            return _sheet(reader, chosen[start : start + columns * columns], cell, columns, exact)

        sheets: list[str] = []
        sizes: list[np.ndarray] = [np.zeros((0, 2), np.uint16)]
        threads = _cores()
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, len(starts), 2 * threads):
                for kind, data, found in pool.map(sheet, starts[first : first + 2 * threads]):
                    sheets.append(keep(len(sheets), kind, data) if len(data) else "")
                    sizes.append(found)
    return Sprites(cell, columns, np.concatenate(sizes), sheets, exact)


def data_uri(kind: str, data: bytes) -> str:
    """An encoded picture inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _held(read: Read | None) -> AbstractContextManager[Read | None]:
    held = getattr(read, "held", None)
    return nullcontext(read) if held is None else held()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _image(read: Read | None, index: int) -> Any:
    """The image as Pillow's; None where it is not to be had: it may have been moved since it was measured."""
    from PIL import Image

    if read is None:
        return None
    try:
        array = np.asarray(read(index))
        return Image.fromarray(
            np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
        ).convert("RGB")
    except Exception:  # a picture is worth no report
        return None


def _longest(read: Read | None, chosen: Sequence[int]) -> int:
    """The longest side of some of the images."""
    places = np.unique(np.linspace(0, max(len(chosen) - 1, 0), min(PROBED, len(chosen))).astype(int))
    found = [_image(read, chosen[place]) for place in places]
    return max((max(image.size) for image in found if image is not None), default=0)


def _sheet(
    read: Read | None, chosen: Sequence[int], cell: int, columns: int, exact: bool
) -> tuple[str, bytes, np.ndarray]:
    """One sheet as (kind, bytes, sizes); no bytes where none of its images can be shown."""
    from PIL import Image

    sizes = np.zeros((len(chosen), 2), np.uint16)
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (cell * min(columns, len(chosen)), cell * rows))
    for place, index in enumerate(chosen):
        image = _image(read, index)
        if image is None:
            continue
        if max(image.size) > cell:
            image.thumbnail((cell, cell), Image.Resampling.LANCZOS, reducing_gap=2.0)
        sizes[place] = image.size
        sheet.paste(image, (place % columns * cell, place // columns * cell))
    if not sizes.any():
        return "", b"", sizes
    stream = io.BytesIO()
    if exact:
        pixels = np.asarray(sheet)
        grey = bool((pixels[..., :1] == pixels).all())
        (sheet.convert("L") if grey else sheet).save(stream, "PNG", compress_level=6)
    else:
        sheet.save(stream, "JPEG", quality=QUALITY)
    return "png" if exact else "jpeg", stream.getvalue(), sizes
