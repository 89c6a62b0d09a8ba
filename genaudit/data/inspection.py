"""`inspect`: reads and decodes every image of a source, and says what would be used, what not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genaudit.data.audit.facts import SetFacts, Watch, facts_of, sample_of
from genaudit.data.digest import DIGEST_BYTES, originals
from genaudit.data.features import FeatureSet, Moments
from genaudit.data.ignored import Note
from genaudit.data.image_set import DamagedImage, ImageSet, Policy, Progress, Skipped
from genaudit.data.reader import ordered_map
from genaudit.data.sources import open_with


@dataclass(frozen=True)
class Inspection:
    """What a source holds.

    Attributes:
        source: where the images come from, for people.
        kind: "images", "features" or "moments".
        count: images (or feature rows) that would be used; for moments the number of images behind them, or 0.
        columns: D of features or moments; 0 for images.
        modes: usable images by mode, RGB included; all others are converted.
        sizes: usable images by (height, width) as stored, the most frequent first.
        skipped: images that cannot be used, with reasons, in order.
        ignored: what of the source is left out before it is read, counted by reason.
        duplicates: usable images whose bytes equal those of an earlier one.
        duplicate_names: the first few such pairs, (copy, original).
        digest: address in hex of what would be used.
        facts: how the images were stored and what their pixels show; None where there are none.
        digests: (N, 16) content addresses of what would be used.
    """

    source: str
    kind: str
    count: int
    columns: int
    modes: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    skipped: list[Skipped]
    ignored: Mapping[str, int]
    duplicates: int
    duplicate_names: list[tuple[str, str]]
    digest: str
    notes: tuple[Note, ...] = ()
    turned: int = 0
    facts: SetFacts | None = None
    digests: np.ndarray = field(default_factory=lambda: np.empty((0, DIGEST_BYTES), np.uint8))

    def __len__(self) -> int:
        return self.count


def inspect(
    source: Any,
    *,
    role: str = "generated",
    limit: int | None = None,
    max_pixels: int = 100_000_000,
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inspection:
    """Opens a source as `open_images` does, decodes every image, and reports instead of failing.

    `progress(done, total)` is called while the images are decoded. The result does not depend on `workers`.

    Raises:
        UserError: there is nothing to look at: no such path, no images in it, a damaged archive or array file.
    """
    policy = Policy(role, "skip", 1.0, max_pixels, allow_none=True)
    found = open_with(source, policy, limit=limit, workers=workers, seed=seed)
    if isinstance(found, Moments):
        return Inspection(found.source, "moments", found.n or 0, found.mu.size, {}, {}, [], {}, 0, [], found.digest)
    if isinstance(found, FeatureSet):
        copies, pairs = _duplicates(found.digests, found.names)
        rows, columns = found.features.shape
        return Inspection(
            found.source, "features", rows, columns, {}, {}, [], {}, copies, pairs, found.digest, digests=found.digests
        )
    watch = Watch(digest.tobytes() for digest in sample_of(found).digests)
    images = found.watched(watch)
    damaged = _decode_all(images, workers, progress)
    if damaged:
        keep = np.ones(len(images), dtype=bool)
        keep[list(damaged)] = False
        skipped = images.skipped + [Skipped(images.names[i], reason) for i, reason in damaged.items()]
        images = images.subset(keep)
    else:
        skipped = images.skipped
    copies, pairs = _duplicates(images.digests, images.names)
    sizes = Counter((int(height), int(width)) for height, width in images.sizes)
    return Inspection(
        source=images.source,
        kind="images",
        count=len(images),
        columns=0,
        modes=images.modes,
        sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        skipped=skipped,
        ignored=images.ignored,
        duplicates=copies,
        duplicate_names=pairs,
        digest=images.digest,
        notes=images.notes,
        turned=images.turned,
        facts=facts_of(images, watch.rows),
        digests=images.digests,
    )


def _decode_all(images: ImageSet, workers: int, progress: Progress | None) -> dict[int, str]:
    """Why images cannot be decoded, by index."""

    def reason(index: int) -> str | None:
        try:
            images.read(index)
        except DamagedImage as error:
            return error.reason
        return None

    damaged: dict[int, str] = {}
    for index, why in enumerate(ordered_map(reason, len(images), workers)):
        if why is not None:
            damaged[index] = why
        if progress is not None:
            progress(index + 1, len(images))
    return damaged


def _duplicates(digests: np.ndarray, names: list[str], named: int = 5) -> tuple[int, list[tuple[str, str]]]:
    """How many digests equal an earlier one, and the names of the first pairs."""
    first = originals(digests)
    copies = np.flatnonzero(first != np.arange(len(names)))
    return len(copies), [(names[i], names[first[i]]) for i in copies[:named]]
