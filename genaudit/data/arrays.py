"""Images that are rows of one array: NumPy `(N, H, W, C)` or torch `(N, C, H, W)`, uint8 or float in [0, 1].

C is 1, 3 or 4 (alpha dropped); grey images may lack the axis, and a picture (H, W, C), or a tensor (3, H, W), may lack
that of the images: it is one image. Where only the other library's axis can hold channels, it does. N images, H rows,
W columns, C channels.
"""

from __future__ import annotations

import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from genaudit.data.bad_image import BadImage, UnusableFile
from genaudit.data.decode import ROUNDING, check_pixels, grey_to_rgb, unit_to_uint8
from genaudit.data.ignored import ONE_PICTURE, Note
from genaudit.data.image_set import Listing
from genaudit.data.reader import Entry, PixelReader
from genaudit.errors import UserError
from genaudit.stats.arrays import to_numpy

Layout = Literal["HWC", "CHW"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class LazyRows:
    """Rows that are opened at first use, and again after pickling: `opener()` gives the array-like thing."""

    def __init__(self, opener: Callable[[], Any]) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._rows: Any = None

    @property
    def rows(self) -> Any:
        with self._lock:
            if self._rows is None:
                self._rows = self._opener()
            return self._rows

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape)

    @property
    def dtype(self) -> Any:
        return self.rows.dtype

    @property
    def stored(self) -> str:
        """The type in the file where it is another than `dtype`."""
        return str(getattr(self.rows, "stored", ""))

    def __getitem__(self, item: Any) -> Any:
        return self.rows[item]

    def close(self) -> None:
        """Lets the file go; the next use opens it again. An array in memory is kept: it may have been unpacked."""
        with self._lock:
            mapped = isinstance(self._rows, np.memmap)  # Python keeps the file of a map open
            if (isinstance(self._rows, np.ndarray) and not mapped) or is_tensor(self._rows):
                return
            rows, self._rows = self._rows, None
        file = getattr(rows, "file", None)  # an HDF5 dataset's
        if file is not None:
            file.close()

    def __getstate__(self) -> Any:
        return self._opener

    def __setstate__(self, state: Any) -> None:
        self.__init__(state)  # type: ignore[misc]


class ArrayReader(PixelReader):
    """One image a row; `rows[i]` is a NumPy array or a torch tensor of the given layout."""

    def __init__(self, rows: Any, layout: Layout) -> None:
        self.rows = rows
        self.layout = layout

    def scan(self, index: int, max_pixels: int) -> Entry:
        shape = tuple(getattr(self.rows, "shape", ()))
        if len(shape) in (3, 4):
            height, width = shape[2:4] if len(shape) == 4 and self.layout == "CHW" else shape[1:3]
            check_pixels(int(height), int(width), max_pixels)  # before a row of that size is made
        return super().scan(index, max_pixels)

    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        try:
            row = self.rows[index]
            numbers = to_numpy(row)
        except (
            *(UnusableFile, OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError),
            zipfile.BadZipFile,
        ) as error:
            # what readers of damaged files raise
            raise BadImage(f"cannot be read ({str(error).strip() or type(error).__name__})") from error
        return canonical(numbers, self.layout, rounding_of(row, getattr(self.rows, "stored", "")))

    def close(self) -> None:
        if isinstance(self.rows, LazyRows):
            self.rows.close()


class OnePicture:
    """An array that is one picture, as rows: `rows[0]` is the picture."""

    def __init__(self, picture: Any) -> None:
        self.picture = picture
        self.shape = (1, *picture.shape)

    def __getitem__(self, index: int) -> Any:
        whole = self.picture.rows if isinstance(self.picture, LazyRows) else self.picture
        return whole if is_tensor(whole) else np.asarray(whole)


def list_array(rows: Any, label: str, role: str, layout: Layout) -> Listing:
    """The images of an array-like thing with `shape`, `dtype` and indexing, named "LABEL[index]".

    Raises:
        UserError: wrong number of axes, channels or data type, or no image.
    """
    shape, dtype = tuple(rows.shape), str(rows.dtype).removeprefix("torch.")
    want = "(N, H, W, C) or (N, C, H, W), uint8 or float in [0, 1], with C 1, 3 or 4"
    seen = f"{role}: {label} has shape {shape} and type {dtype}"
    if len(shape) not in (3, 4):
        hint = " Feature rows (N, D) must be floats, in a file an .npz's `features`." if len(shape) == 2 else ""
        raise UserError(f"{seen}; images must be {want}.{hint}")
    if 0 in shape:
        raise UserError(f"{seen}: it holds no {'image' if shape[0] == 0 else 'pixels'}.")
    if len(shape) == 3 and (picture := picture_layout(shape, layout, seen)) is not None:
        _check_type(dtype, seen, want)
        text = f"{label} of shape {shape} is one picture, not {shape[0]:,} grey images"
        return Listing([f"{label}[0]"], ArrayReader(OnePicture(rows), picture), notes=(Note(ONE_PICTURE, text),))
    if len(shape) == 4:
        layout = _layout(shape[1:], layout)
        channels = shape[3] if layout == "HWC" else shape[1]
        if channels not in _MODES:
            raise UserError(f"{seen}, so it would have {channels} channels; images must be {want}.")
    _check_type(dtype, seen, want)
    return Listing([f"{label}[{i}]" for i in range(shape[0])], ArrayReader(rows, layout))


def _check_type(dtype: str, seen: str, want: str) -> None:
    if dtype != "uint8" and not dtype.startswith(("float", "bfloat")):
        raise UserError(f"{seen}; images must be {want}.")


def picture_layout(shape: Sequence[int], layout: Layout, seen: str) -> Layout | None:
    """The layout of three axes that are one picture; None where they are N grey images (N, H, W).

    Channels last (H, W, 1 | 3 | 4) are a picture, whatever holds it, and so is a tensor (3, H, W).

    Raises:
        UserError: three or four grey images cannot be distinguished from one picture with its channels first.
    """
    first = shape[0] in (3, 4) and min(shape[1:]) > 4  # no picture is four pixels wide
    last = shape[2] in _MODES and min(shape[:2]) > 4
    if layout == "CHW" and first and shape[0] == 3:
        return "CHW"
    if first:
        n = shape[0]
        ways = {"HWC": f"(1, H, W, {n}) for the picture, ({n}, H, W, 1)", "CHW": f"(1, {n}, H, W) for the picture, "
                f"({n}, 1, H, W)"}[layout]  # fmt: skip
        raise UserError(
            f"{seen}, which may be one picture of {n} channels or {n} grey images. Its shape must say so: {ways} "
            "for grey images."
        )
    return "HWC" if last else None


def _layout(shape: tuple[int, ...], usual: Layout) -> Layout:
    """The layout of an image of three axes: the usual one unless only the other has 1, 3 or 4 channels.

    A side of 4 pixels or fewer could be the channels as well: then it is the usual one.
    """
    own, other = (shape[2], shape[0]) if usual == "HWC" else (shape[0], shape[2])
    if own in _MODES or other not in _MODES or min(own, shape[1]) <= max(_MODES):
        return usual
    return "CHW" if usual == "HWC" else "HWC"


def canonical(image: np.ndarray, layout: Layout, rounding: float = ROUNDING) -> tuple[np.ndarray, str]:
    """One image, `(H, W)` or with channels in `layout`, as `(H, W, 3)` uint8, and the mode that it had.

    Floats that leave [0, 1] by up to `rounding` are clamped.

    Raises:
        BadImage: wrong shape or type, or floats that are not finite or outside [0, 1].
    """
    seen = image.shape
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.ndim == 3 and _layout(image.shape, layout) == "CHW":
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in _MODES:
        raise BadImage(f"has shape {seen}; expected {tuple(layout)} with 1, 3 or 4 channels C".replace("'", ""))
    mode = _MODES[image.shape[2]]
    if image.dtype.kind == "f":
        image = unit_to_uint8(image, rounding)
        mode += " float"
    elif image.dtype != np.uint8:
        raise BadImage(f"has type {image.dtype}; expected uint8, or float in [0, 1]")
    if image.shape[2] == 1:
        return grey_to_rgb(image[:, :, 0]), mode
    return np.ascontiguousarray(image[:, :, :3]), mode


def rounding_of(row: Any, stored: str = "") -> float:
    """How far floats leave [0, 1] by rounding: half a level, or the next number above 1 of bfloat16 (as `stored`)."""
    return 2**-7 if "bfloat16" in (str(getattr(row, "dtype", "")).removeprefix("torch."), stored) else ROUNDING


def is_features(x: Any) -> bool:
    """Whether an array or tensor holds feature rows: two axes, floating point."""
    kind = getattr(x.dtype, "kind", "") or str(x.dtype).removeprefix("torch.")
    return len(x.shape) == 2 and kind.startswith(("f", "bfloat"))


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def numbers_of(x: Any, name: str) -> np.ndarray:
    """An array or tensor as a NumPy array.

    Raises:
        UserError: it holds no values, or masks some; the sentence begins with `name`.
    """
    try:
        return to_numpy(x)
    except ValueError as error:
        raise UserError(f"{name} {error}") from None
