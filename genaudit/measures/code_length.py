"""Lossless code length of images: a general image model that needs no training.

Serrà et al. 2020, "Input Complexity and Out-of-distribution Detection with Likelihood-based Generative Models", as the
general model of Schirrmeister et al. 2020 (supplement S6): a code of b bits is a distribution with P = 2^-b, so
log p_general = -b·ln 2.

What is counted is what depends on the pixels. PNG: the bytes of the IDAT chunks less zlib's header (2) and checksum
(4); signature, IHDR, chunk frames and IEND are not counted. WebP: the payload of the VP8L chunk less its 5 bytes of
signature and size; RIFF headers and padding are not counted. PNG is written by zlib at level 9 with Pillow's choice
of filters, WebP at its slowest effort. Other versions of the encoders give slightly different lengths.

N images, H height, W width, C channels.
"""

from __future__ import annotations

import io
import math
from typing import Any, Literal

import numpy as np

Codec = Literal["png", "webp"]


def code_length(images: Any, codec: Codec = "png") -> np.ndarray:
    """Bits that a lossless codec spends on each image's pixels.

    Args:
        images: uint8; NumPy (N, H, W), (N, H, W, 1) or (N, H, W, 3), or torch (N, C, H, W). Give grey images with one
            channel where the likelihood that they are compared with has one: PNG spends more on grey stored as
            colour. WebP has no grey mode and codes the difference of equal channels as zeros.
        codec: "png" or "webp".

    Returns:
        (N,) float64 bits, a multiple of 8, above 0; higher means more complex.

    Raises:
        ValueError: another dtype, shape or codec.
    """
    if codec not in ("png", "webp"):
        raise ValueError(f"codec must be 'png' or 'webp', not {codec!r}")
    count = _png_bytes if codec == "png" else _webp_bytes
    return np.array([8.0 * count(image) for image in _grey_or_colour(images)])


def code_log_prob(images: Any, codec: Codec = "png", *, density: bool = False) -> np.ndarray:
    """log p_general of each image under the code, -bits·ln 2, (N,) nats; higher is simpler.

    This is a log-probability of pixel values. The density models' log-likelihoods are larger by D·ln 256, a constant
    for images of one size that changes no AUROC; `density=True` adds it, so that a ratio of 0 means what it says.

    Args:
        images, codec: as for `code_length`.
        density: put it on the axis of `genaudit.likelihood`.
    """
    log_prob = -code_length(images, codec) * math.log(2.0)
    if density:
        dims = _grey_or_colour(images)[0].size if len(images) else 0
        log_prob = log_prob + dims * math.log(256.0)
    return log_prob


def _grey_or_colour(images: Any) -> np.ndarray:
    """uint8 (N, H, W) or (N, H, W, 3)."""
    if hasattr(images, "detach"):
        images = images.detach().cpu().permute(0, 2, 3, 1).numpy()
    array = np.asarray(images)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)):
        raise ValueError(f"images must be uint8 (N, H, W) or (N, H, W, 3), not {array.dtype} {array.shape}")
    return array


def _encode(image: np.ndarray, **options: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, **options)
    return file.getvalue()


def _png_bytes(image: np.ndarray) -> int:
    data = _encode(image, format="PNG", optimize=True)
    position, total = 8, 0  # after the signature: length (4), type (4), payload, checksum (4)
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IDAT":
            total += length
        position += length + 12
    return total - 6


def _webp_bytes(image: np.ndarray) -> int:
    data = _encode(image, format="WEBP", lossless=True, quality=100, method=6, exact=True)
    position = 12  # after "RIFF", size and "WEBP": type (4), length (4), payload, padded to an even length
    while position < len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"VP8L":
            return length - 5
        position += 8 + length + length % 2
    raise RuntimeError("Pillow wrote a WebP file without a lossless (VP8L) chunk")
