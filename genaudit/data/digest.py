"""Content addresses of images, and what follows from them alone: copies, random orders and subsets, shared images.

A file's digest is BLAKE2b-128 of its bytes (`b2sum -l 128 FILE` prints the same), so a folder, a zip and a tar of
the same files give equal digests. Where the decoder's pixels are turned (EXIF orientation, white is zero) before they
are measured, the address says how: rows of the same bytes that were read otherwise are not theirs. An image that comes
as an array has the digest of its canonical form, the `(H, W, 3)` uint8 pixels that a measure sees. Names and places
play no part. N images; digests are `(N, 16)` uint8.
"""

from __future__ import annotations

import hashlib

import numpy as np

DIGEST_BYTES = 16


def file_digest(data: bytes, reading: str = "") -> bytes:
    """BLAKE2b-128 of a file's bytes, personalised with what is done to its pixels (at most 16 bytes; "": nothing)."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=reading.encode()).digest()


def array_digest(array: np.ndarray) -> bytes:
    """BLAKE2b-128 of an array's dtype, shape and bytes in C order."""
    state = hashlib.blake2b(f"{array.dtype.str} {array.shape}\n".encode(), digest_size=DIGEST_BYTES)
    state.update(np.ascontiguousarray(array).data)
    return state.digest()


def set_digest(digests: np.ndarray) -> str:
    """One address, in hex, for digests `(N, 16)` uint8 in their order."""
    return hashlib.blake2b(np.ascontiguousarray(digests).tobytes(), digest_size=DIGEST_BYTES).hexdigest()


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
    return int(shared_mask(digests, others).sum())


def shared_mask(digests: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the images are exact copies of one of `others`, (N,) of booleans."""
    found: np.ndarray = np.isin(_keys(digests), _keys(others))
    return found


def shuffled_by_content(digests: np.ndarray, seed: int) -> np.ndarray:
    """A random order of images, (N,) int64, that depends on their contents and `seed` alone.

    The images are sorted by a keyed hash of their contents. Copies of an image are numbered, so that each has a hash
    of its own: they neither follow one another nor stay together where the order is cut.
    """
    start = hashlib.blake2b(digest_size=DIGEST_BYTES, key=(seed % 2**64).to_bytes(8, "little"))
    ranks = []
    for row, occurrence in zip(np.ascontiguousarray(digests), _occurrences(digests).tolist(), strict=True):
        state = start.copy()
        state.update(row.tobytes() + occurrence.to_bytes(8, "little"))
        ranks.append(state.digest())
    return np.array(sorted(range(len(ranks)), key=ranks.__getitem__), np.int64)


def random_subset(digests: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Places of `limit` images drawn at random without replacement, in increasing order, (min(limit, N),) int64.

    The first ones of `shuffled_by_content` are taken, so that a larger limit keeps what a smaller one took.
    """
    if limit >= len(digests):
        return np.arange(len(digests))
    return np.sort(shuffled_by_content(digests, seed)[:limit])


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
