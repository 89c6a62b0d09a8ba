"""Content addresses: what an image is called in the row store, wherever it lies and whatever its name.

A file's digest is BLAKE2b-128 of its bytes (`b2sum -l 128 FILE` prints the same), so a folder, a zip and a tar of
the same files give equal digests. Where the decoder's pixels are turned (EXIF orientation, white is zero) before they
are measured, the address says how: rows of the same bytes that were read otherwise are not theirs. An image that comes
as an array has the digest of its canonical form, the `(H, W, 3)` uint8 pixels that a measure sees.
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
