"""Copies, random subsets and shared images, all told by content digests: names and their order play no part.

N images; digests are `(N, 16)` uint8 (see `genaudit.data.digest`).
"""

from __future__ import annotations

import hashlib

import numpy as np

from genaudit.data.digest import DIGEST_BYTES


def originals(digests: np.ndarray) -> np.ndarray:
    """For each image the place of the first one with its content, (N,) int64; its own place where it is the first."""
    if len(digests) == 0:
        return np.empty(0, np.int64)
    _, first, inverse = np.unique(_keys(digests), return_index=True, return_inverse=True)
    places: np.ndarray = first[inverse.ravel()]
    return places


def duplicates(digests: np.ndarray) -> int:
    """How many images are exact copies of an earlier one: N less the number of distinct images."""
    return len(digests) - len(np.unique(_keys(digests)))


def shared(digests: np.ndarray, others: np.ndarray) -> int:
    """How many of the images are exact copies of one of `others`."""
    return int(np.isin(_keys(digests), _keys(others)).sum())


def random_subset(digests: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Places of `limit` images drawn at random without replacement, in increasing order, (min(limit, N),) int64.

    Every image gets a pseudo-random number from its content and `seed`; those with the smallest are taken. So the
    subset depends neither on names nor on their order, and a larger limit keeps what a smaller one took. Copies of an
    image are numbered, so that each may be drawn or left out.
    """
    if limit >= len(digests):
        return np.arange(len(digests))
    start = hashlib.blake2b(f"{seed}\n".encode(), digest_size=8)
    occurrence = _occurrences(digests)
    numbers = np.empty(len(digests), np.uint64)
    for place, row in enumerate(np.ascontiguousarray(digests)):
        state = start.copy()
        state.update(row.tobytes() + int(occurrence[place]).to_bytes(8, "little"))
        numbers[place] = int.from_bytes(state.digest(), "little")
    return np.sort(np.argsort(numbers, kind="stable")[:limit])


def _occurrences(digests: np.ndarray) -> np.ndarray:
    """How many earlier images have the content of each one, (N,) int64."""
    first = originals(digests)
    order = np.argsort(first, kind="stable")
    ranks = np.arange(len(first))
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))
    counts = np.empty(len(first), np.int64)
    counts[order] = ranks - np.repeat(starts, np.diff(np.append(starts, len(first))))
    return counts


def _keys(digests: np.ndarray) -> np.ndarray:
    """Digests as (N,) opaque items that NumPy can sort."""
    rows = np.ascontiguousarray(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    return rows.view(f"V{DIGEST_BYTES}").ravel()
