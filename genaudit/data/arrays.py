"""Images that are rows of one array: NumPy `(N, H, W, C)` uint8, torch `(N, C, H, W)` uint8 or float in [0, 1].

C is 1, 3 or 4 (alpha dropped); grey images may lack the axis. N images, H rows, W columns, C channels.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from genaudit.data.decode import BadImage, grey_to_rgb, unit_to_uint8
from genaudit.data.image_set import Listing
from genaudit.data.reader import PixelReader
from genaudit.errors import UserError

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

    def pixels(self, index: int) -> tuple[np.ndarray, str]:
        return canonical(to_numpy(self.rows[index]), self.layout)

    def close(self) -> None:
        if isinstance(self.rows, LazyRows):
            self.rows.close()


def list_array(rows: Any, label: str, role: str, layout: Layout, limit: int | None = None) -> Listing:
    """The images of an array-like thing with `shape`, `dtype` and indexing, named "LABEL[index]".

    Raises:
        UserError: wrong number of axes, channels or data type, or no image.
    """
    shape, dtype = tuple(rows.shape), str(rows.dtype).removeprefix("torch.")
    want = "(N, H, W, C) uint8" if layout == "HWC" else "(N, C, H, W), uint8 or float in [0, 1]"
    seen = f"{role}: {label} has shape {shape} and type {dtype}"
    if len(shape) not in (3, 4):
        hint = " Feature rows go into an .npz as `features`." if len(shape) == 2 else ""
        raise UserError(f"{seen}; images must be {want}, with C 1, 3 or 4.{hint}")
    if shape[0] == 0:
        raise UserError(f"{seen}: it holds no image.")
    if len(shape) == 4:
        channels, other = (shape[3], shape[1]) if layout == "HWC" else (shape[1], shape[3])
        if channels not in _MODES:
            axes = "(0, 2, 3, 1)" if layout == "HWC" else "(0, 3, 1, 2)"
            call = f"transpose{axes}" if layout == "HWC" else f"permute{axes}"
            hint = f" `.{call}` would bring its channels to the right place." if other in _MODES else ""
            raise UserError(f"{seen}, so it would have {channels} channels; images must be {want}, C 1, 3 or 4.{hint}")
    if dtype != "uint8" and (layout == "HWC" or not dtype.startswith(("float", "bfloat"))):
        hint = ""
        if "float" in dtype:
            hint = " For x in [0, 1], `(x * 255).round().astype('uint8')` would be right, or a tensor (N, C, H, W)."
        raise UserError(f"{seen}; images must be {want}.{hint}")
    count = shape[0] if limit is None else min(limit, shape[0])
    return Listing([f"{label}[{i}]" for i in range(count)], ArrayReader(rows, layout))


def canonical(image: np.ndarray, layout: Layout) -> tuple[np.ndarray, str]:
    """One image, `(H, W)` or with channels in `layout`, as `(H, W, 3)` uint8, and the mode that it had.

    Raises:
        BadImage: wrong shape or type, or floats that are not finite or outside [0, 1].
    """
    seen = image.shape
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.ndim == 3 and layout == "CHW":
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in _MODES:
        raise BadImage(f"has shape {seen}; {tuple(layout)} with 1, 3 or 4 channels C would be right".replace("'", ""))
    mode = _MODES[image.shape[2]]
    if image.dtype.kind == "f":
        image = unit_to_uint8(image)
        mode += " float"
    elif image.dtype != np.uint8:
        raise BadImage(f"has type {image.dtype}; uint8, or float in [0, 1], would be right")
    if image.shape[2] == 1:
        return grey_to_rgb(image[:, :, 0]), mode
    return np.ascontiguousarray(image[:, :, :3]), mode


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def to_numpy(x: Any) -> np.ndarray:
    """A NumPy array or torch tensor (any device, any float type) as a NumPy array."""
    if is_tensor(x):
        x = x.detach().cpu()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x
        x = x.numpy()
    return np.asarray(x)
