"""Lossless code length of images: a general image model that needs no training.

Serrà et al. 2020, "Input Complexity and Out-of-distribution Detection with Likelihood-based Generative Models", as the
general model of Schirrmeister et al. 2020 (supplement S6): a code of b bits is a distribution with P = 2^-b, so
log p_general = -b·ln 2.

What is counted is what depends on the pixels. PNG: the bytes of the IDAT chunks less zlib's header (2) and checksum
(4); signature, IHDR, chunk frames and IEND are not counted. WebP: the payload of the VP8L chunk less its 5 bytes of
signature and size; RIFF headers and padding are not counted. PNG is written by zlib at level 9 with Pillow's choice
of filters, WebP at its slowest effort. Other versions of the encoders give slightly different lengths.

`CodeLength` is the measure: it counts in the threads that decode the images and needs no network.

N images, H height, W width, C channels, D = C·H·W dimensions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from genaudit.errors import UserError
from genaudit.measures.canvas import Canvas

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter

Codec = Literal["png", "webp"]
CODECS: tuple[str, ...] = get_args(Codec)


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
    if codec not in CODECS:
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


class CodeLength:
    """Rows (2,): log p_general of the code, nats on the axis of `genaudit.likelihood`, and the code's length in bits.

    The first is what a log-likelihood ratio divides by, -bits·ln 2 + D·ln 256; rows are float32, exact to 1e-3 nats.
    """

    columns: tuple[str, ...] = ("log_prob", "bits")
    weights_sha256 = ""

    def __init__(self, codec: Codec = "png", *, channels: int | None = None, size: int | None = None) -> None:
        """
        Args:
            codec: "png" or "webp".
            channels: 1 codes S5.1's luminance, None (or 3) the colours as they are read.
            size: code images on the canvas of a density model of that size, so that both see the same pixels; None as
                they are.
        """
        if codec not in CODECS:
            raise UserError(f"codec={codec}: one of {', '.join(CODECS)} is needed")
        self.codec, self.channels = codec, channels
        self.canvas = None if size is None else Canvas(size)

    @property
    def name(self) -> str:
        return f"code length {self.codec}"

    def describe(self, precision: str) -> dict[str, Any]:
        from PIL import __version__

        return {
            "measure": "code_length",
            "version": 1,
            "codec": self.codec,
            "channels": 3 if self.channels is None else self.channels,
            "canvas": None if self.canvas is None else {"size": self.canvas.size, **self.canvas.describe()},
            "pillow": __version__,  # and with it the encoders, whose lengths differ
        }

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Counts here, where many images are prepared at a time; the two numbers travel as the bytes of an image."""
        from genaudit.likelihood.dequantisation import to_pixels

        placed = image if self.canvas is None else self.canvas.place(image)
        pixels = to_pixels(placed[None], channels=self.channels)
        numbers = np.array([code_length(pixels, self.codec)[0], pixels.numel()], np.int64)
        return np.resize(numbers.view(np.uint8), (1, 6, 3))  # 16 bytes, and two that are not read

    def batch_size(self, device: str) -> int:
        return 64

    def open(self, device: str, precision: str) -> Meter:
        import torch

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            written = images.permute(0, 2, 3, 1).flatten(1)[:, :16].cpu().numpy()
            bits, dims = np.ascontiguousarray(written).view(np.int64).T.astype(np.float64)
            log_prob = dims * math.log(256.0) - bits * math.log(2.0)
            return torch.from_numpy(np.stack([log_prob, bits], axis=1)).float()

        return meter
