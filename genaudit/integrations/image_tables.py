"""A finished run in FiftyOne or Renumics Spotlight: every generated image with its columns, to look through and sort.

    from genaudit.integrations.image_tables import to_fiftyone, to_spotlight

    report = genaudit.evaluate("samples/", "real/", train="train/")
    fiftyone.launch_app(to_fiftyone(report, "my samples"))   # pip install fiftyone
    to_spotlight(report)                                     # pip install renumics-spotlight

Both read images from files. Those of a folder are shown where they lie; images of archives, arrays and models are
written as PNG files into `folder` first.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.errors import UserError

if TYPE_CHECKING:
    from genaudit.reports.report import Report

CLASS = "class"
# of FiftyOne's samples
RESERVED = {"id", "filepath", "tags", "metadata", "media_type", "media_reference", "created_at", "last_modified_at"}


def to_fiftyone(report: Report, name: str | None = None, *, folder: str | Path | None = None) -> Any:
    """A FiftyOne dataset of the generated images: a sample an image, with each column of images.csv as a field.

    The class is a `Classification`, digests and names are text, values that are missing are left out.

    Args:
        name: of the dataset; None: FiftyOne chooses one.
        folder: where images that are no files are written.

    Raises:
        UserError: the package is missing, the run is of features, or images are no files and no folder is given.
    """
    try:
        import fiftyone
    except ImportError:
        raise UserError("to_fiftyone needs the package fiftyone: pip install fiftyone") from None
    files = image_files(report, folder)
    columns = {key: _plain(column) for key, column in report.images.items()}
    samples = []
    for place, path in enumerate(files):
        values = {_field(key): column[place] for key, column in columns.items() if column[place] is not None}
        if label := values.pop(CLASS, ""):
            values["ground_truth"] = fiftyone.Classification(label=label)
        samples.append(fiftyone.Sample(filepath=os.fspath(path), **values))
    dataset = fiftyone.Dataset(name) if name is not None else fiftyone.Dataset()
    dataset.add_samples(samples)
    return dataset


def to_spotlight(report: Report, *, folder: str | Path | None = None, show: bool = True, **options: Any) -> Any:
    """The generated images in Renumics Spotlight: the columns of images.csv and the image itself.

    Args:
        folder: where images that are no files are written.
        show: open Spotlight; False: only the table.
        options: of `spotlight.show`, such as port=8000 or wait=False.

    Returns:
        what `spotlight.show` returns; with show=False the pandas DataFrame, with paths in the column `image`.

    Raises:
        UserError: a package is missing, the run is of features, or images are no files and no folder is given.
    """
    frame = report.images_frame()
    frame.insert(0, "image", [os.fspath(path) for path in image_files(report, folder)])
    if not show:
        return frame
    try:
        from renumics import spotlight
    except ImportError:
        raise UserError("to_spotlight needs the package renumics-spotlight: pip install renumics-spotlight") from None
    return spotlight.show(frame, dtype={"image": "image"}, **options)


def image_files(report: Report, folder: str | Path | None = None) -> list[Path]:
    """The file of each generated image: its own, or a PNG in `folder`.

    Raises:
        UserError: the run is of features, or an image is no file and no folder is given.
    """
    names, read = list(report.images.get("name", ())), report.pictures.get("generated")
    if not names or read is None:
        raise UserError("the run has no generated images to show: it is of features, or was read back from a file")
    root = Path(report.roles["generated"].source).expanduser()
    own = [root / name if root.is_dir() else Path(name) for name in names]
    if all(path.is_file() for path in own):
        return [path.resolve() for path in own]
    if folder is None:
        raise UserError(f"the images of {root} are no files of their own; folder=DIR writes them as PNG files")
    return _written(read, len(names), Path(folder))


def _written(read: Any, count: int, folder: Path) -> list[Path]:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(max(count - 1, 0)))
    paths = [folder / f"{place:0{digits}}.png" for place in range(count)]
    for place, path in enumerate(paths):
        with atomic_write(path) as temporary, open(temporary, "xb") as stream:
            Image.fromarray(np.ascontiguousarray(read(place))).save(stream, "PNG")
    return [path.resolve() for path in paths]


def _plain(column: Any) -> list[Any]:
    """A column as Python's own values; None where a number is not finite."""
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]


def _field(name: str) -> str:
    """A field's name: FiftyOne keeps some for itself, and takes no "@" of several networks."""
    return f"image_{name}" if name in RESERVED else name.replace("@", "_at_")
