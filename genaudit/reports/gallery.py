"""Chooses and encodes the pictures of the HTML page: extreme images, retrieved pairs, favourites, metrics' own grids.

Every picture lies in the page with at most 320 pixels a side, PNG for small images, WebP for the others: it is shown
as a thumbnail, and opens large.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.metrics.result import Pictures, Retrieval, RoleImage
from genaudit.reports.digits import show

if TYPE_CHECKING:
    from genaudit.reports.report import Report


THUMBNAIL = 320  # pixels of the longer side: what a picture opens to
PIXELATED = 96  # up to this size an image is enlarged without smoothing, pixel by pixel
EXTREMES = 8
FIRST = 24  # random images of each side at the top of the page
PAIRS = 12
NOUNS = {"train": "training"}


@dataclass(frozen=True)
class Picture:
    """A thumbnail with its caption; `uri` is None where the image cannot be shown."""

    name: str
    note: str
    uri: str | None = None
    pixelated: bool = False


@dataclass(frozen=True)
class Extremes:
    """The images with the highest and the lowest values of a column."""

    column: str
    metric: str
    highest_label: str
    lowest_label: str
    highest: list[Picture]
    lowest: list[Picture]


@dataclass(frozen=True)
class Level:
    """Some images of one level of a column, and how many there are."""

    number: int
    count: int
    pictures: list[Picture]


@dataclass(frozen=True)
class FirstLook:
    """Random generated images, and real ones, which `noun` describes; `real` is empty where none can be seen."""

    generated: list[Picture]
    real: list[Picture]
    noun: str


@dataclass(frozen=True)
class Pair:
    """A generated image and its nearest real one; `near`: closer than half of the held-out real images are to theirs.

    `more` further generated images have the same nearest image, and lie farther from it.
    """

    generated: Picture
    other: Picture
    distance: str
    near: bool
    more: int


@dataclass(frozen=True)
class NeighbourPictures:
    """The closest pairs of a generated image and its nearest `noun` image, and the ones retrieved most often.

    `held_out` is the median distance of held-out real images, empty where it is not known; `below` generated images lie
    closer.
    """

    noun: str
    pairs: list[Pair]
    favourites: list[Picture]
    distinct: int
    count: int
    held_out: str
    below: int


@dataclass(frozen=True)
class Grid:
    """A grid of pictures that a metric or recipe made; a row is its caption and a picture for each column."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list[Picture]]]


class Gallery:
    """The pictures of a report; images are read through `report.pictures` and only where they are shown."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._thumbnail = lru_cache(maxsize=None)(self._encode)

    def first_look(self) -> FirstLook | None:
        """Images drawn by the run's seed; None where no generated image can be seen."""
        if "generated" not in self.report.pictures or not len(self.report.images.get("name", ())):
            return None
        real = next((role for role in ("reference", "train") if role in self.report.pictures), "")
        generator = np.random.default_rng(self.report.seed)
        partners = self.report.partners
        if partners is not None and real == "reference":
            chosen = [int(index) for index in generator.permutation(len(partners))[:FIRST]]
            return FirstLook(
                [self.picture("generated", index, "") for index in chosen],
                [self.picture(real, int(partners[index]), "") for index in chosen],
                "their partners in the same places",
            )
        made, beside = (
            [self.picture(role, int(index), "") for index in generator.permutation(count)[:FIRST]]
            for role, count in (
                ("generated", len(self.report.images["name"])),
                (real, len(self.report.names.get(real, ()))),
            )
        )
        return FirstLook(made, beside, f"{NOUNS.get(real, real)}, at random")

    def extremes(self) -> list[Extremes]:
        """For every column that asks for it and has two finite values or more: its extreme images, each column once."""
        found: list[Extremes] = []
        seen: list[tuple[str, np.ndarray]] = []
        for metric, entry in self.report.metrics.items():
            for column in entry.parts.columns:
                if column.gallery is None or column.values.ndim != 1 or column.values.dtype.kind not in "fiu":
                    continue
                values = column.values.astype(float)
                if any(name == column.name and np.array_equal(old, values, equal_nan=True) for name, old in seen):
                    continue
                seen.append((column.name, values))
                order = np.argsort(values, kind="stable")
                order = order[np.isfinite(values[order])]
                shown = min(EXTREMES if self.report.partners is None else EXTREMES // 2, len(order) // 2)
                if shown:
                    highest, lowest = (
                        [each for index in chosen for each in self._beside(int(index), show(values[index]))]
                        for chosen in (order[::-1][:shown], order[:shown])
                    )
                    found.append(Extremes(column.name, metric, *column.gallery, highest, lowest))
        return found

    def _beside(self, index: int, note: str) -> list[Picture]:
        """A generated image, and its partner where it has one."""
        picture, partners = self.picture("generated", index, note), self.report.partners
        return [picture] if partners is None else [picture, self.picture("reference", int(partners[index]), "partner")]

    def levels(self) -> list[tuple[str, list[Level]]]:
        """For every column of levels: its name, and for each level images evenly over its own in the set's order."""
        found: list[tuple[str, list[Level]]] = []
        for entry in self.report.metrics.values():
            for column in entry.parts.columns:
                if not column.levels or column.values.ndim != 1 or column.name in [name for name, _ in found]:
                    continue
                values = column.values.astype(float)
                rows = []
                for number in np.unique(values[np.isfinite(values)]):
                    members = np.flatnonzero(values == number)
                    # not the first: a set is often in the order of its classes
                    some = members[np.unique(np.linspace(0, len(members) - 1, EXTREMES).round().astype(int))]
                    pictures = [self.picture("generated", int(index), "") for index in some]
                    rows.append(Level(int(number), len(members), pictures))
                if rows:
                    found.append((column.name, rows))
        return found

    def neighbours(self) -> list[NeighbourPictures]:
        """For every different `Retrieval` with an index in it: closest pairs and the images retrieved most often."""
        found: list[NeighbourPictures] = []
        seen: list[Retrieval] = []
        drawings = (each for entry in self.report.metrics.values() for each in entry.parts.drawings)
        retrievals = [each for each in drawings if isinstance(each, Retrieval)]
        for drawing in retrievals:
            if any(_same(drawing, old) for old in seen):
                continue
            seen.append(drawing)
            indices, distances = np.asarray(drawing.indices), np.asarray(drawing.distances, dtype=float)
            usable = np.flatnonzero((indices >= 0) & np.isfinite(distances))
            ratios = next(
                (each.ratios for each in retrievals if each.ratios is not None and _same(each, drawing)), None
            )
            if len(usable):
                drawing = replace(drawing, ratios=ratios)
                found.append(self._neighbours(drawing, indices.astype(int), distances, usable))
        return found

    def grids(self) -> list[tuple[str, Grid]]:
        """The metrics' own grids, each with its metric's name."""
        return [
            (name, grid(drawing, self.picture))
            for name, entry in self.report.metrics.items()
            for drawing in entry.parts.drawings
            if isinstance(drawing, Pictures) and drawing.rows
        ]

    def _neighbours(
        self, drawing: Retrieval, indices: np.ndarray, distances: np.ndarray, usable: np.ndarray
    ) -> NeighbourPictures:
        """Each real image is in one pair only, with the generated image that is closest to it."""
        role, limit = drawing.role, drawing.held_out
        order = usable[np.argsort(distances[usable], kind="stable")]
        retrieved, first, counts = np.unique(indices[order], return_index=True, return_counts=True)
        pairs = [
            Pair(
                self.picture("generated", int(order[first[place]]), "generated"),
                self.picture(role, int(retrieved[place]), role),
                show(distances[order[first[place]]]) + _ratio(drawing, order[first[place]]),
                limit is not None and bool(distances[order[first[place]]] < limit),
                int(counts[place]) - 1,
            )
            for place in np.argsort(first)[:PAIRS]
        ]
        most = np.argsort(-counts, kind="stable")[:EXTREMES]
        favourites = [
            self.picture(role, int(retrieved[place]), f"{counts[place]:,}\N{MULTIPLICATION SIGN}")
            for place in most
            if counts[place] > 1
        ]
        below = 0 if limit is None else int((distances[usable] < limit).sum())
        held_out = "" if limit is None else show(limit)
        return NeighbourPictures(NOUNS.get(role, role), pairs, favourites, len(retrieved), len(usable), held_out, below)

    def picture(self, role: str, index: int, note: str) -> Picture:
        """The thumbnail of an image with its name."""
        names: Any = self.report.names.get(role)
        if names is None and role == "generated":
            names = self.report.images.get("name")
        name = str(names[index]) if names is not None and index < len(names) else f"#{index}"
        uri, pixelated = self._thumbnail(role, index)
        return Picture(name, note, uri, pixelated)

    def _encode(self, role: str, index: int) -> tuple[str | None, bool]:
        read = self.report.pictures.get(role)
        if read is None:
            return None, False
        try:
            return encode(read(index))
        except Exception:  # an image that was moved or damaged since it was measured must not cost the report
            return None, False


def grid(drawing: Pictures, of_role: Callable[[str, int, str], Picture]) -> Grid:
    """Encodes a grid; `of_role` gives the picture of (role, index, note)."""
    rows = []
    for row in drawing.rows:
        pictures = [
            of_role(cell.role, cell.index, "") if isinstance(cell, RoleImage) else Picture("", "", *encode(cell))
            for cell in row.cells
        ]
        rows.append((row.caption, pictures))
    return Grid(drawing.title, drawing.note, drawing.columns, rows)


def encode(image: np.ndarray) -> tuple[str, bool]:
    """An image, uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), as a data URI, and whether to enlarge it by pixels."""
    from PIL import Image, features

    array = np.asarray(image)
    picture = Image.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))
    small = max(picture.size) <= PIXELATED
    if max(picture.size) > THUMBNAIL:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    kind = "webp" if not small and features.check("webp") else "png"
    if kind == "webp":
        picture.save(stream, "WEBP", quality=82, method=3)
    else:
        picture.save(stream, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", small


def _ratio(drawing: Retrieval, index: int) -> str:
    return "" if drawing.ratios is None else f", l2 ratio {show(drawing.ratios[index])}"


def _same(first: Retrieval, second: Retrieval) -> bool:
    return first.role == second.role and np.array_equal(np.asarray(first.indices), np.asarray(second.indices))
