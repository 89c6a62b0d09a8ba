"""Feature rows as the statistics see them: any two-dimensional thing that can be sliced, read in blocks.

A NumPy array, a torch tensor or rows that lie on disk all become an object with `shape` and slicing, so that a
statistic reads a million rows block by block and never holds them together.
N rows, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

# Squared distances are shortlisted in float32: between these sizes neither they nor their sums over ten thousand
# columns leave its range. No network gives features outside.
MOST, LEAST = 1e15, 1e-15


@runtime_checkable
class RowsLike(Protocol):
    """Rows `(N, D)` that may lie on disk; a slice or an index array reads them into memory."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, item: Any) -> np.ndarray: ...


def to_numpy(x: Any) -> np.ndarray:
    """A NumPy array or torch tensor (any device, layout and float type) as a NumPy array.

    Raises:
        ValueError: a tensor without values, or an array that masks some of its own; the text follows a name.
    """
    if hasattr(x, "detach"):
        if x.is_meta:
            raise ValueError("is a tensor of the device meta, which holds no values")
        x = x.detach()
        x = (x if str(x.layout) == "torch.strided" else x.to_dense()).cpu().resolve_conj().resolve_neg()
        if x.is_floating_point() and str(x.dtype).startswith(("torch.bfloat", "torch.float8")):
            x = x.float()  # NumPy has no such type
        x = x.numpy()
    if np.ma.isMaskedArray(x) and np.ma.is_masked(x):
        raise ValueError(f"masks {np.ma.count_masked(x):,} of its values: fill them, or leave their rows out")
    return np.asarray(x)


def as_rows(x: Any, name: str, *, columns: int | None = None) -> RowsLike:
    """`x` as rows `(N, D)` that can be sliced; nothing that lies on disk is read.

    Args:
        x: NumPy array, torch tensor (any device), nested sequence, or rows on disk, shape (N, D) with N, D >= 1.
        name: the role's or argument's name, for the error message.
        columns: the number of columns that `x` must have.

    Raises:
        ValueError: wrong number of dimensions or columns, no rows, or (for what is in memory) a value that
            is not finite or beyond MOST in size, or none of LEAST.
    """
    if hasattr(x, "detach") or np.ma.isMaskedArray(x):
        try:
            x = to_numpy(x)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    on_disk = not isinstance(x, np.ndarray) and isinstance(x, RowsLike) and not isinstance(x, (list, tuple))
    rows: Any = x if on_disk else np.asarray(x)
    if len(rows.shape) != 2 or 0 in rows.shape:
        raise ValueError(f"{name} must have shape (N, D) with N, D >= 1, not {tuple(rows.shape)}")
    if columns is not None and rows.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, not {rows.shape[1]}")
    if isinstance(rows, np.ndarray) and not isinstance(rows, np.memmap):
        if rows.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold real numbers, not {rows.dtype}")
        if fault := out_of_range(rows, whole=True):
            raise ValueError(f"{name} {fault}")
    result: RowsLike = rows
    return result


def blocks(rows: RowsLike, name: str, *, size: int = 4096, dtype: Any = np.float64) -> Iterator[tuple[int, np.ndarray]]:
    """The rows in order as `(start, block)`, each block at most `size` rows of type `dtype`.

    Raises:
        ValueError: a block holds a value that is not finite or beyond MOST in size.
    """
    for start in range(0, rows.shape[0], size):
        block = np.asarray(rows[start : start + size], dtype=dtype)
        if fault := out_of_range(block):
            raise ValueError(f"{name} {fault}")
        yield start, block


def out_of_range(rows: np.ndarray, *, whole: bool = False) -> str:
    """What is wrong with the values of rows (B, D), as it stands after the name of the set; "" where nothing is.

    Args:
        whole: these are all rows of a set, so that one value at least must be large enough.
    """
    return wrong_size(size_of(rows), whole=whole)


def size_of(rows: np.ndarray) -> float:
    """The largest absolute value of rows (B, D), NaN where one is."""
    return max(float(rows.max()), -float(rows.min())) if rows.size else 0.0


def wrong_size(largest: float, *, whole: bool) -> str:
    """`out_of_range` of rows whose largest absolute value is known, as of a set that was read in blocks."""
    if largest <= MOST and not (whole and 0 < largest < LEAST):
        return ""
    if not np.isfinite(largest):
        return "holds values that are not finite (NaN or infinity)"
    if largest > MOST:
        limit, do = f"values of {largest:.2g} in size, and distances are computed up to {MOST:g}", "divide"
    else:
        limit, do = f"no value above {largest:.2g} in size, and distances need one of {LEAST:g}", "multiply"
    return f"holds {limit}: {do} all sets by one number"
