"""Rows and columns as .npz, Parquet and CSV files, written block by block, so that memory stays bounded.

An .npz holds `ROLE` (N, D) float32 and `ROLE_digests` (N,) of each role; where it is of one role alone they are called
`features` and `digests`, and genaudit reads the file in place of images. What a measure keeps beside its rows, such as
a map, is `ROLE_NAME` (N, ...). Parquet and CSV have a row an image: `role`, `digest`, then the measure's numbers.
Parquet files and .npz say which measure it is.
N images, D numbers a row.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.errors import UserError
from genaudit.reports.files import has_pyarrow, write_csv, write_parquet

BYTES_AT_ONCE = 16 << 20  # of what lies beside rows


@dataclass(frozen=True)
class Block:
    """Some rows (n, D) and the digests of their images, uint8 (n, 16), or None where there are none."""

    rows: np.ndarray
    digests: np.ndarray | None

    def hex(self) -> list[str]:
        """The digests as text, empty where there are none."""
        if self.digests is None:
            return [""] * len(self.rows)
        return [row.tobytes().hex() for row in np.ascontiguousarray(self.digests)]


@dataclass(frozen=True)
class Part:
    """The rows of a role: the names of their numbers, how many there are, and a function that reads them in blocks.

    `attachments`: by name, arrays (N, ...) that are read when they are asked for.
    """

    role: str
    columns: Sequence[str]
    count: int
    blocks: Callable[[], Iterator[Block]]
    attachments: Mapping[str, Any] = field(default_factory=dict)


def write_parts(path: Path, kind: str, parts: Sequence[Part], about: Mapping[str, str]) -> None:
    """Writes the rows of all roles into one file, which is whole or not there.

    Args:
        kind: "npz", "parquet" or "csv". about: what the rows are; not in CSV.

    Raises:
        UserError: Parquet without pyarrow.
    """
    writers = {"npz": _write_npz, "parquet": _write_parquet, "csv": _write_csv}
    _pyarrow_for(kind)
    with atomic_write(path, durable=True) as temporary, open(temporary, "xb") as stream:
        writers[kind](stream, parts, about)


def write_table(path: Path, kind: str, columns: Mapping[str, Any]) -> None:
    """Writes columns of equal length: in an .npz an array each, text as Unicode arrays."""
    _pyarrow_for(kind)
    with atomic_write(path, durable=True) as temporary, open(temporary, "xb") as stream:
        if kind == "npz":
            arrays: dict[str, Any] = {name: np.asarray(column) for name, column in columns.items()}
            np.savez(stream, **arrays)
        elif kind == "parquet":
            write_parquet(columns, stream)
        else:
            with _text(stream) as text:
                write_csv(tuple(columns), zip(*columns.values(), strict=True), text)


def _pyarrow_for(kind: str) -> None:
    if kind == "parquet" and not has_pyarrow():
        raise UserError("format=parquet needs the package pyarrow: pip install 'genaudit-images[frames]'")


def _write_npz(stream: BinaryIO, parts: Sequence[Part], about: Mapping[str, str]) -> None:
    with zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        for name, text in about.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.array(text), allow_pickle=False)
        for part in parts:
            alone = len(parts) == 1
            rows = (np.ascontiguousarray(block.rows, np.float32) for block in part.blocks())
            shape = (part.count, len(part.columns))
            _write_array(archive, "features" if alone else part.role, shape, np.dtype(np.float32), rows)
            digests = np.array([each for block in part.blocks() for each in block.hex()], "U32")
            with archive.open(f"{'digests' if alone else f'{part.role}_digests'}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, digests, allow_pickle=False)
            for name, array in part.attachments.items():
                step = max(1, BYTES_AT_ONCE // max(1, array.dtype.itemsize * math.prod(array.shape[1:])))
                some = (array[start : start + step] for start in range(0, part.count, step))
                _write_array(archive, f"{part.role}_{name}", array.shape, array.dtype, some)


def _write_array(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterator[np.ndarray]
) -> None:
    """An array in parts, of which only one is in memory."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(part.tobytes())


def _write_parquet(stream: BinaryIO, parts: Sequence[Part], about: Mapping[str, str]) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = parts[0].columns
    numbers = [(name, pyarrow.float32()) for name in columns]
    schema = pyarrow.schema([("role", pyarrow.string()), ("digest", pyarrow.string()), *numbers], metadata=dict(about))
    with parquet.ParquetWriter(stream, schema) as writer:
        for part in parts:
            for block in part.blocks():
                values = np.asarray(block.rows, np.float32)
                arrays = [[part.role] * len(values), block.hex(), *(values[:, place] for place in range(len(columns)))]
                writer.write_table(pyarrow.table(dict(zip(schema.names, arrays, strict=True)), schema=schema))


def _write_csv(stream: BinaryIO, parts: Sequence[Part], about: Mapping[str, str]) -> None:
    def rows() -> Iterator[list[Any]]:
        for part in parts:
            for block in part.blocks():
                for digest, row in zip(block.hex(), np.asarray(block.rows).tolist(), strict=True):
                    yield [part.role, digest, *row]

    with _text(stream) as text:
        write_csv(("role", "digest", *parts[0].columns), rows(), text)


@contextmanager
def _text(stream: BinaryIO) -> Iterator[TextIO]:
    """A text stream on a binary one, which stays open behind it."""
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()
