"""What a source of images becomes: an ImageSet of lazy pixels and content digests.

It holds the names, digests, modes and sizes of its images, never their pixels: a million images cost
their names and about 30 bytes each. N images, H rows, W columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genaudit.data import columns as image_columns
from genaudit.data.bad_image import BadImage
from genaudit.data.columns import Column
from genaudit.data.digest import DIGEST_BYTES, duplicates, random_subset, set_digest
from genaudit.data.encoding import Encoding, tally
from genaudit.data.ignored import ONE_PICTURE, PAGES, Note
from genaudit.data.reader import Entry, FileReader, JoinedReader, Reader, ordered_map
from genaudit.errors import UserError
from genaudit.stats.bounds import positive_int

if TYPE_CHECKING:
    from genaudit.data.features import Moments

OnError = Literal["fail", "skip"]
Progress = Callable[[int, int], None]
Watch = Callable[[bytes, np.ndarray], None]

_NAMED = 5  # images that an error message names


@dataclass(frozen=True)
class Skipped:
    """An image that is left out, and why; the reason is a predicate that follows the name."""

    name: str
    reason: str


class DamagedImage(Exception):
    """An image whose damage showed when it was decoded; `ImageSet.without` leaves it out, or fails for it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


@dataclass(frozen=True)
class Listing:
    """The images that a source claims to have, before any is opened.

    `ignored` counts what is left out by reason (`genaudit.data.ignored`); `notes` are worth a warning; `moments` are
    of the images' features, where the file holds them too; `columns` are classes and prompts (`genaudit.data.columns`).
    """

    names: list[str]
    reader: Reader
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    moments: Moments | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """What happens to images that cannot be used.

    Attributes:
        role: the key that the user gave the source under, for messages.
        on_error: "fail" ends the run at the first such image, "skip" leaves it out.
        max_skipped: the largest share of the source's images that "skip" may leave out.
        max_pixels: an image that would decode to more is refused before it is decoded.
        allow_none: a source of which nothing can be used is an empty set, not an error (for inspection).
    """

    role: str = "generated"
    on_error: OnError = "fail"
    max_skipped: float = 0.01
    max_pixels: int = 100_000_000
    allow_none: bool = False

    def __post_init__(self) -> None:
        if self.on_error not in ("fail", "skip"):
            raise UserError(f"on_error must be fail or skip, not {self.on_error!r}.")
        if not 0.0 <= self.max_skipped <= 1.0:
            raise UserError(f"max_skipped is a share between 0 and 1, not {self.max_skipped!r}.")
        positive_int("max_pixels", self.max_pixels, error=UserError)

    def judge(self, source: str, skipped: Sequence[Skipped], total: int) -> None:
        """Raises UserError where `skipped` of `total` images are more than the policy allows."""
        if not skipped:
            return
        named = "; ".join(f"{bad.name} {bad.reason}" for bad in skipped[:_NAMED])
        more = f"; and {len(skipped) - _NAMED:,} more" if len(skipped) > _NAMED else ""
        if self.on_error == "fail":
            raise UserError(f"{self.role}: in {source}, {named}{more}. Mend or remove it, or set on_error=skip.")
        if len(skipped) == total and not self.allow_none:
            raise UserError(f"{self.role}: none of the {total:,} images of {source} can be used: {named}{more}.")
        if len(skipped) > self.max_skipped * total:
            raise UserError(
                f"{self.role}: {len(skipped):,} of {total:,} images of {source} cannot be used, a larger share than "
                f"max_skipped={self.max_skipped:g}: {named}{more}. Mend or remove them, or raise max_skipped."
            )


@dataclass(frozen=True)
class ImageSet:
    """Images in a fixed order, read one by one; made by `open_images`.

    Attributes:
        source: where they come from, for people.
        names: N names: paths relative to the source, or "NAME[index]" for arrays; they need not be unique.
        digests: (N, 16) uint8, each image's content address (see `genaudit.data.digest`).
        sizes: (N, 2) int32, height and width as stored.
        skipped: the images of the source that were left out, with reasons; a subset keeps the source's.
        ignored: what of the source is left out before it is read, counted by reason (`genaudit.data.ignored`), and
            further frames of the images.
        notes: what else of the source is worth a warning.
        policy: what happens to images that cannot be used.
        available: how many usable images the source has, where a limit took only some of them; else None.
        moments: mean and covariance that the source holds beside the images; None where a limit took only some.
    """

    source: str
    names: list[str]
    digests: np.ndarray
    sizes: np.ndarray
    skipped: list[Skipped]
    ignored: Mapping[str, int]
    policy: Policy
    _reader: Reader
    _positions: np.ndarray  # (N,) int64, each image's position in the reader
    _codes: np.ndarray  # (N,) uint16, indices into _encodings
    _encodings: tuple[Encoding, ...]
    _total: int  # images that the source claimed to have, the base of max_skipped
    notes: tuple[Note, ...] = ()
    available: int | None = None
    moments: Moments | None = None
    _columns: Mapping[str, Column] = field(default_factory=dict)
    _watch: Watch | None = None  # told of every image that is read
    _judged: int = 0  # of `skipped`, those that a limit has settled: they are no share of the images it took

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """One address, in hex, for all images in their order."""
        return set_digest(self.digests)

    @property
    def folder(self) -> str | None:
        """The folder in which each name is a file of its own; None where the images lie otherwise."""
        return self._reader.root if isinstance(self._reader, FileReader) else None

    @property
    def duplicates(self) -> int:
        """How many images are exact copies of another one of the set."""
        return duplicates(self.digests)

    @property
    def encodings(self) -> dict[Encoding, int]:
        """How many images were stored in which way."""
        counts = np.bincount(self._codes, minlength=len(self._encodings))
        return {encoding: int(n) for encoding, n in sorted(zip(self._encodings, counts, strict=True)) if n}

    def encoding(self, index: int) -> Encoding:
        """How one image was stored."""
        return self._encodings[self._codes[index]]

    @property
    def modes(self) -> dict[str, int]:
        """How many images have which mode ("RGB", "L", "P", "RGBA", "I;16", "CMYK", "RGB float", ...)."""
        return tally((encoding.mode, n) for encoding, n in self.encodings.items())

    @property
    def turned(self) -> int:
        """How many images carry an EXIF (or TIFF) orientation, which is applied."""
        return sum(n for encoding, n in self.encodings.items() if encoding.turned)

    @property
    def converted(self) -> dict[str, int]:
        """How many images of each mode are converted to 8-bit RGB when read."""
        return {name: n for name, n in self.modes.items() if name != "RGB"}

    def column(self, name: str) -> list[str] | None:
        """What the source says of each image, "class" or "prompt": N texts, "" where nothing; None where all are."""
        if name not in self._columns:
            return None
        values = image_columns.taken(self._columns[name], self._positions.tolist())
        return values if any(values) else None

    def read(self, index: int) -> np.ndarray:
        """One image as `(H, W, 3)` uint8 RGB, from any thread. It must not be written to.

        Raises:
            DamagedImage: truncated or damaged pixel data, or a file that changed since it was scanned.
        """
        position = int(self._positions[index])
        try:
            pixels = self._reader.read(position, self.digests[index].tobytes(), self.policy.max_pixels)
        except BadImage as error:
            raise DamagedImage(self.names[index], str(error)) from error
        if self._watch is not None:
            self._watch(self.digests[index].tobytes(), pixels)
        return pixels

    def watched(self, watch: Watch | None) -> ImageSet:
        """The same images; `watch(digest, pixels)` is called with each that is read, in the reader's thread."""
        return replace(self, _watch=watch)

    def close(self) -> None:
        """Closes the source's files; the next `read` opens them again. No other thread may be reading."""
        self._reader.close()

    def subset(self, indices: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at `indices` (integers, or a mask of N booleans), in that order."""
        chosen = np.arange(len(self))[np.asarray(indices, dtype=bool if _is_mask(indices) else np.int64)]
        return replace(
            self,
            names=[self.names[i] for i in chosen],
            digests=self.digests[chosen],
            sizes=self.sizes[chosen],
            _positions=self._positions[chosen],
            _codes=self._codes[chosen],
        )

    def limited(self, limit: int, seed: int) -> ImageSet:
        """A random subset of `limit` images by content and seed, in the set's order; all where there are no more."""
        if limit >= len(self):
            return self
        chosen = self.subset(random_subset(self.digests, limit, seed))
        return replace(chosen, available=len(self), _total=limit, _judged=len(self.skipped), moments=None)

    def without(self, damaged: Mapping[int, str]) -> ImageSet:
        """The images but those at the given indices, each with the reason why it cannot be used.

        Raises:
            UserError: `on_error` is "fail", or more than the share `max_skipped` of the source is left out.
        """
        bad = [Skipped(self.names[i], damaged[i]) for i in sorted(damaged)]
        skipped = self.skipped + bad
        self.policy.judge(self.source, skipped[self._judged :], self._total)
        keep = np.ones(len(self), dtype=bool)
        keep[list(damaged)] = False
        if not keep.any():
            raise UserError(f"{self.policy.role}: no image of {self.source} can be used.")
        return replace(self.subset(keep), skipped=skipped)


def scan(
    listing: Listing, source: str, policy: Policy, *, workers: int = 0, progress: Progress | None = None
) -> ImageSet:
    """Reads every image of a listing once, without decoding files, and keeps what can be used.

    The result does not depend on `workers`. `progress(done, total)` is called after each image.

    Raises:
        UserError: as `policy` says; with "fail", for the first image in order that cannot be used.
    """
    total = len(listing.names)
    digests = np.empty((total, DIGEST_BYTES), dtype=np.uint8)
    sizes = np.empty((total, 2), dtype=np.int32)
    numbers = np.empty(total, dtype=np.uint16)
    codes: dict[Encoding, int] = {}
    keep = np.ones(total, dtype=bool)
    skipped: list[Skipped] = []
    ignored = Counter(listing.ignored)

    def scan_one(index: int) -> Entry | BadImage:
        try:
            return listing.reader.scan(index, policy.max_pixels)
        except BadImage as error:
            return error

    for index, entry in enumerate(ordered_map(scan_one, total, workers)):
        if isinstance(entry, BadImage):
            skipped.append(Skipped(listing.names[index], str(entry)))
            keep[index] = False
            if policy.on_error == "fail":
                policy.judge(source, skipped, total)
        else:
            digests[index] = np.frombuffer(entry.digest, dtype=np.uint8)
            sizes[index] = entry.height, entry.width
            numbers[index] = codes.setdefault(entry.encoding, len(codes))
            if entry.frames > 1:
                ignored[PAGES] += entry.frames - 1
        if progress is not None:
            progress(index + 1, total)
    listing.reader.close()
    policy.judge(source, skipped, total)
    positions = np.flatnonzero(keep)
    names = listing.names if not skipped else [listing.names[i] for i in positions]
    return ImageSet(
        source=source,
        names=names,
        digests=digests[keep],
        sizes=sizes[keep],
        skipped=skipped,
        ignored=dict(ignored),
        policy=policy,
        _reader=listing.reader,
        _positions=positions,
        _codes=numbers[keep],
        _encodings=tuple(codes),
        _total=total,
        notes=listing.notes,
        moments=listing.moments,
        _columns=image_columns.of_listing(listing.columns, listing.names),
    )


def join(listings: Iterable[tuple[str, Listing]]) -> Listing:
    """Listings one after the other; each name is led by its listing's prefix."""
    names: list[str] = []
    readers: list[Reader] = []
    lengths: list[int] = []
    ignored: Counter[str] = Counter()
    notes: list[Note] = []
    columns: list[tuple[Mapping[str, Column], Sequence[str]]] = []
    for prefix, listing in listings:
        names.extend(f"{prefix}{name}" for name in listing.names)
        readers.append(listing.reader)
        lengths.append(len(listing.names))
        columns.append((listing.columns, listing.names))
        ignored.update(listing.ignored)
        # of several arrays each is known to be one picture
        notes += [Note(code, f"{prefix}{text}") for code, text in listing.notes if code != ONE_PICTURE]
    return Listing(names, JoinedReader(readers, lengths), ignored, tuple(notes), columns=image_columns.joined(columns))


def _is_mask(indices: Any) -> bool:
    return bool(np.asarray(indices).dtype == bool)
