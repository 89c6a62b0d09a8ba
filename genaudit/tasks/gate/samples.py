"""Generated images one after the other, as the gate asks for them: a set that is there, or paths that are streamed.

Samples of a set come in a seeded random order: a folder that is sorted by class would look collapsed at its beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from genaudit.data import FeatureSet, ImageSet, Skipped
from genaudit.data.bad_image import BadImage
from genaudit.data.folder import start_of
from genaudit.data.formats import looks_like
from genaudit.data.ignored import is_image_name
from genaudit.data.image_set import Listing, Policy, scan
from genaudit.data.reader import FileReader
from genaudit.errors import UserError
from genaudit.reports.report import RoleImages
from genaudit.store.stream import RowStream
from genaudit.tasks.run.roles import counted_images, reasons, role_images
from genaudit.tasks.run.settings import Settings


class Samples(Protocol):
    """What the gate draws from. `names` are those of the samples taken, in their order; `shuffled`: it is random."""

    names: list[str]
    shuffled: bool

    @property
    def digests(self) -> np.ndarray:
        """Contents of the samples taken, (n, 16) uint8."""

    def take(self, count: int) -> np.ndarray:
        """Rows (at most `count`, D) of the next samples; none are left where it is empty."""

    def read(self, index: int) -> np.ndarray:
        """The picture of a sample that was taken, (H, W, 3) uint8."""

    def describe(self) -> RoleImages:
        """The samples taken, for the report."""


class SetSamples:
    """Samples of a set that is there.

    Args:
        images: the set. order: (N,) the order in which they come; random where `shuffled`.
        rows: (N, D) where all are measured already. stream: measures them as they are taken, where not.
    """

    def __init__(
        self,
        images: ImageSet | FeatureSet,
        order: np.ndarray,
        *,
        rows: Any = None,
        stream: RowStream | None = None,
        shuffled: bool = True,
    ) -> None:
        if isinstance(images, FeatureSet):
            rows = images.features
        self.images, self.order, self.rows, self.stream, self.shuffled = images, order, rows, stream, shuffled
        self.names: list[str] = []
        self.skipped: list[Skipped] = []
        self._next = 0
        self._taken: list[int] = []

    def take(self, count: int) -> np.ndarray:
        while True:
            part = self.order[self._next : self._next + count]
            self._next += len(part)
            if not len(part):
                return np.empty((0, 0), np.float32)
            rows, good = self._measure(part)
            self._taken += good
            self.names += [self.images.names[index] for index in good]
            if good:
                return rows

    def _measure(self, part: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Rows of the images at `part` that can be decoded, and their places."""
        if self.rows is not None:
            return np.asarray(self.rows[part]), part.tolist()
        assert self.stream is not None
        assert isinstance(self.images, ImageSet)
        rows, damaged = self.stream.rows(self.images.subset(part))
        self.skipped += [Skipped(error.name, error.reason) for _, error in damaged]
        self.images.policy.judge(self.images.source, self.skipped, len(self.images))
        bad = {place for place, _ in damaged}
        return rows, [int(index) for place, index in enumerate(part) if place not in bad]

    @property
    def digests(self) -> np.ndarray:
        return self.images.digests[self._taken]

    def read(self, index: int) -> np.ndarray:
        if isinstance(self.images, FeatureSet):
            raise LookupError("features have no picture")
        return self.images.read(self._taken[index])

    def describe(self) -> RoleImages:
        if isinstance(self.images, FeatureSet):
            return counted_images(self.images.source, self.digests, available=self.images.available)
        described = role_images(self.images.subset(self._taken))
        described.skipped = reasons([*self.images.skipped, *self.skipped])
        return described


class StreamedSamples:
    """Image files whose paths come in one per line; no line is read before the gate needs another sample."""

    shuffled = False  # nothing is known of what is still to come

    def __init__(self, lines: Iterator[str], stream: RowStream, settings: Settings, source: str) -> None:
        self.lines, self.stream, self.settings, self.source = enumerate(lines, start=1), stream, settings, source
        self.names: list[str] = []
        self.skipped: list[Skipped] = []
        self._paths: list[str] = []
        self._digests: list[np.ndarray] = []
        self._converted: dict[str, int] = {}

    def take(self, count: int) -> np.ndarray:
        while True:
            numbers, paths = self._usable_lines(count)
            if not paths:
                self._judge()
                return np.empty((0, 0), np.float32)
            images = self._open(paths)
            rows, damaged = self.stream.rows(images)
            bad = {place: error.reason for place, error in damaged}
            for place, reason in bad.items():
                self._refuse(numbers[place], paths[place], reason)
            good = [place for place in range(len(paths)) if place not in bad]
            used = images.subset(good)
            for mode, number in used.converted.items():
                self._converted[mode] = self._converted.get(mode, 0) + number
            self.names += [paths[place] for place in good]
            self._paths += [paths[place] for place in good]
            self._digests.append(used.digests)
            if good:
                return rows

    def read(self, index: int) -> np.ndarray:
        return self._open([self._paths[index]]).read(0)

    @property
    def digests(self) -> np.ndarray:
        return np.concatenate([np.empty((0, 16), np.uint8), *self._digests])

    def describe(self) -> RoleImages:
        return counted_images(self.source, self.digests, skipped=reasons(self.skipped), converted=self._converted)

    def _usable_lines(self, count: int) -> tuple[list[int], list[str]]:
        numbers: list[int] = []
        paths: list[str] = []
        for number, line in self.lines:
            path = line.rstrip("\r\n")
            if not path.strip():
                continue
            if reason := self._unusable(path):
                self._refuse(number, path, reason)
                continue
            numbers.append(number)
            paths.append(path)
            if len(paths) == count:
                break
        return numbers, paths

    def _unusable(self, path: str) -> str:
        if "\0" in path:
            return "holds NUL bytes; one path a line is read here (find -print, not -print0)"
        where = Path(path).expanduser()
        if where.is_dir():
            return "is a folder; image files are read here"
        if not where.exists():
            return "does not exist"
        if not is_image_name(where.name) and not looks_like(start_of(os.fspath(where))):
            return "is no image file"
        try:
            FileReader("", [os.fspath(where)]).scan(0, self.settings.max_pixels)
        except BadImage as error:
            return str(error)
        return ""

    def _open(self, paths: Sequence[str]) -> ImageSet:
        files = [os.fspath(Path(path).expanduser()) for path in paths]
        policy = Policy("generated", max_pixels=self.settings.max_pixels)
        return scan(Listing(list(paths), FileReader("", files)), self.source, policy)

    def _refuse(self, line: int, path: str, reason: str) -> None:
        if self.settings.on_error == "fail":
            raise UserError(f"generated: {self.source}, line {line}: {path!r} {reason}; or set on_error=skip")
        self.skipped.append(Skipped(path, reason))

    def _judge(self) -> None:
        """At the end of the lines the share that was left out is known."""
        policy = Policy("generated", "skip", self.settings.max_skipped, allow_none=True)
        policy.judge(self.source, self.skipped, len(self.skipped) + len(self.names))


def lines_of(stream: TextIO) -> Iterator[str]:
    """Lines as they come, none read ahead."""
    return iter(stream.readline, "")


def all_lines(lines: Iterator[str]) -> list[str]:
    """The lines that are not blank, to the end: for a fixed test, which must know their number."""
    return [line for line in lines if line.strip()]
