"""Views of a set of images that measure each image with what belongs to it: its partner in another set, or its prompt.

A view is an `ImageSet`, so that the row store keeps, resumes and shares its rows as those of any images; the address of
an entry is that of the image and of what belongs to it. N images, H rows, W columns.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from genaudit.data.bad_image import BadImage
from genaudit.data.digest import DIGEST_BYTES
from genaudit.data.image_set import DamagedImage, ImageSet
from genaudit.data.reader import Entry, Reader
from genaudit.errors import UserError

By = Literal["auto", "name", "order"]


class PairReader(Reader):
    """Two images of one size, one above the other: (2H, W, 3)."""

    def __init__(self, above: ImageSet, below: ImageSet) -> None:
        self.above, self.below = above, below

    def scan(self, index: int, max_pixels: int) -> Entry:
        raise NotImplementedError("both sets have been scanned")

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        try:
            return np.concatenate([self.above.read(index), self.below.read(index)])
        except DamagedImage as error:
            raise BadImage(error.reason) from error

    def close(self) -> None:
        self.above.close()
        self.below.close()


def pairs(generated: ImageSet, reference: ImageSet, by: By = "auto") -> tuple[ImageSet, np.ndarray]:
    """Each generated image above its reference image, and the partners' places (N,) in the reference.

    Args:
        by: "name" (the path without extension, or else the file's name without folder), "order", or "auto": by order
            where a side is an array or a dataset, whose images have no names of their own, else by name.

    Raises:
        UserError: an image without partner, names that are not unique, other numbers, or a pair of two sizes.
    """
    if by == "order" or (by == "auto" and (_numbered(generated.names) or _numbered(reference.names))):
        if len(generated) != len(reference):
            raise UserError(
                f"paired by order: generated holds {len(generated):,} images and reference {len(reference):,}; every "
                "image needs its partner at the same place"
            )
        partners = np.arange(len(generated))
    else:
        partners = _by_name(generated.names, reference.names)
    below = reference.subset(partners)
    differs = np.flatnonzero((generated.sizes != below.sizes).any(axis=1))
    if len(differs):
        place = int(differs[0])
        ours, theirs = (f"{size[1]}x{size[0]}" for size in (generated.sizes[place], below.sizes[place]))
        raise UserError(
            f"paired: {generated.names[place]} is {ours} pixels and its partner {below.names[place]} {theirs} "
            f"({len(differs):,} such pairs); pairs are compared pixel by pixel and must have one size"
        )
    digests = _digests([generated.digests, below.digests], b"pair")
    sizes = generated.sizes * np.array([2, 1], generated.sizes.dtype)
    return _view(replace(generated, sizes=sizes), PairReader(generated, below), digests), partners


def with_texts(images: ImageSet, texts: Sequence[str]) -> ImageSet:
    """The images, each addressed with its text (its prompt)."""
    encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
    hashed = b"".join(hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest() for text in encoded)
    digests = _digests([images.digests, np.frombuffer(hashed, np.uint8).reshape(-1, DIGEST_BYTES)], b"text")
    return _view(images, ViewReader(images), digests)


class ViewReader(Reader):
    """The images of a set under other addresses."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def scan(self, index: int, max_pixels: int) -> Entry:
        raise NotImplementedError("the set has been scanned")

    def read(self, index: int, digest: bytes, max_pixels: int) -> np.ndarray:
        try:
            return self.images.read(index)
        except DamagedImage as error:
            raise BadImage(error.reason) from error

    def close(self) -> None:
        self.images.close()


def _view(images: ImageSet, reader: Reader, digests: np.ndarray) -> ImageSet:
    places = np.arange(len(digests))
    return replace(images, digests=digests, _reader=reader, _positions=places, _columns={}, _watch=None, moments=None)


def _digests(parts: Sequence[np.ndarray], kind: bytes) -> np.ndarray:
    """The address of each entry, (N, 16), from those of its parts."""
    rows = np.ascontiguousarray(np.concatenate(parts, axis=1))
    hashed = (hashlib.blake2b(row.tobytes(), digest_size=DIGEST_BYTES, person=kind).digest() for row in rows)
    return np.frombuffer(b"".join(hashed), np.uint8).reshape(-1, DIGEST_BYTES)


def _numbered(names: Sequence[str]) -> bool:
    """Whether images are named by their places in an array or dataset."""
    return all(re.search(r"\[\d+\]$", name) for name in names)


def _by_name(ours: Sequence[str], theirs: Sequence[str]) -> np.ndarray:
    """The place of each image's partner."""
    keys: tuple[list[str], list[str]] = ([], [])
    for short in (False, True):
        keys = [_stem(name, short) for name in ours], [_stem(name, short) for name in theirs]
        if set(keys[0]) == set(keys[1]) and all(len(set(each)) == len(each) for each in keys):
            places = {key: place for place, key in enumerate(keys[1])}
            return np.array([places[key] for key in keys[0]])
    twice = [key for each in keys for key, count in Counter(each).items() if count > 1]
    if twice:
        raise UserError(f"paired by name: several images of one set are called {twice[0]}; paired=order pairs by place")
    lacking = sorted(set(keys[0]) - set(keys[1])), sorted(set(keys[1]) - set(keys[0]))
    told = [
        f"{len(some):,} {role} images have no partner ({', '.join(some[:3])}{', ...' if len(some) > 3 else ''})"
        for role, some in zip(("generated", "reference"), lacking, strict=True)
        if some
    ]
    raise UserError(
        f"paired by name: {' and '.join(told)}; partners have the same name but for the extension, or give paired=order"
    )


def _stem(name: str, short: bool) -> str:
    folder, slash, base = name.rpartition("/")
    stem = base.rpartition(".")[0] or base
    return stem if short else f"{folder}{slash}{stem}"
