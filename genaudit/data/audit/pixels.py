"""What the pixels of one image say of how it was made: grey, traces of JPEG, energy at high frequencies, enlargement.

Ten numbers an image (`COLUMNS`); all but the first two are of the middle of its luminance.

grey            1 where the three channels are equal everywhere, else 0.
chroma          the mean over pixels of the largest channel less the smallest, in grey levels.
jpeg_score      how well the 8x8 blocks' cosine coefficients lie on multiples of a JPEG table's steps, in standard
                deviations of what coefficients of no such lattice give (a normal variable, the largest of 60).
jpeg_quality    the quality of the table that fits best.
coarse          log10 of the power at 1/8 to 1/4 of the highest frequency, in grey levels squared.
detail          log10 of the power above 3/4 of the highest frequency less that at 1/8 to 1/4. Rounding to 8 bits has
                the power 1/12 at each frequency; it is taken off.
period_3 ...    log10 of how strongly the second differences of columns and rows come and go with a period of 3, 4, 5
                and 5/2 pixels, against all other periods. Interpolation by a factor f leaves the period of f/(f - 1)
                pixels or f: 1.5 and 3, 4/3 and 4, 1.25 and 5, 2.5. (Gallagher, "Detection of linear and cubic
                interpolation in JPEG compressed images", CRV 2005.) A factor of 2 leaves none.

The lattice of JPEG's coefficients is the trace that Fan and de Queiroz look for ("Identification of bitmap
compression history", IEEE Transactions on Image Processing 12, 2003); the blocks must lie where the encoder had them.

H rows, W columns, B blocks, L length of a line.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from genaudit.data.encoding import standard_table

COLUMNS = (
    *("grey", "chroma", "jpeg_score", "jpeg_quality", "coarse", "detail"),
    *("period_3", "period_4", "period_5", "period_5_2"),
)
PERIODS = (3.0, 4.0, 5.0, 2.5)
VERSION = 2  # of the mathematics: rows of another version are not taken

_SIDE = 192  # of the middle part whose spectrum is taken
_JPEG_SIDE = 96  # of the part whose blocks are looked at: 144 blocks
_LINES = 64  # rows, and as many columns
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of JPEG's own conversion
_ROUNDING = 1 / 12  # the variance of rounding to whole levels
_FLOOR = 1e-4
_QUALITIES = np.arange(40, 100)  # at 100 every step is 1, which leaves no lattice
_LIMIT, _STEP = 32.0, 0.5  # coefficients are counted up to this size, in bins of this width
_BINS = int(2 * _LIMIT / _STEP) + 1
_OUTSIDE = _BINS // 2 + 1  # the bin, and less it, of larger ones
_FEW = 8.0  # coefficients: a score of fewer is that of this many


def pixel_facts(image: np.ndarray) -> np.ndarray:
    """The numbers of `COLUMNS`, (10,) float32, of (H, W, 3) uint8; below 8 pixels a side only the first two."""
    facts = np.zeros(len(COLUMNS), np.float32)
    facts[:2] = _colour(image)
    luma = _luma(_middle(image, _SIDE, 8))
    if min(luma.shape) >= 8:
        facts[2:4] = jpeg_lattice(_middle(luma, _JPEG_SIDE, 8))
        lines = _lines(luma)
        facts[4:6] = _spectrum(lines)
        facts[6:] = _periods(lines)
    return facts


def _colour(image: np.ndarray) -> tuple[bool, float]:
    """Whether the channels are equal, and `chroma` of every few rows and columns."""
    step = max(1, min(image.shape[:2]) // 32)
    few = image[::step, ::step].reshape(-1, 3)
    low = np.minimum(np.minimum(few[:, 0], few[:, 1]), few[:, 2])
    chroma = float((np.maximum(np.maximum(few[:, 0], few[:, 1]), few[:, 2]) - low).mean())
    if chroma:
        return False, chroma
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return bool((red == green).all() and (green == blue).all()), 0.0


def _middle(image: np.ndarray, side: int, unit: int) -> np.ndarray:
    """The middle part, up to `side` pixels wide and high, whose first pixel lies on the lattice of `unit` pixels."""
    height, width = (min(length, side) for length in image.shape[:2])
    top, left = (
        (length - part) // 2 // unit * unit for length, part in zip(image.shape, (height, width), strict=False)
    )
    return image[top : top + height, left : left + width]


def _luma(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) @ _LUMA


def jpeg_lattice(luma: np.ndarray) -> tuple[float, int]:
    """The best score over qualities, and its quality; (0, 0) where there is no whole block.

    A coefficient c that was quantised by steps q is a multiple of q but for rounding, so that cos(2 pi c / q) is near
    1; of coefficients that were not it has the mean 0 (or less: among |c| >= q/2 the small ones are more) and the
    variance 1/2. Those that would be quantised to zero say nothing.
    """
    height, width = luma.shape[0] // 8, luma.shape[1] // 8
    if height * width == 0:
        return 0.0, 0
    blocks = luma[: 8 * height, : 8 * width].reshape(height, 8, width, 8).transpose(0, 2, 1, 3).reshape(-1, 64)
    coefficients = blocks @ _cosines() * np.float32(1 / _STEP)  # (B, 63), in bins
    bins = np.rint(np.clip(coefficients, -_OUTSIDE, _OUTSIDE, out=coefficients)).astype(np.int32)
    bins = bins[_distinct(bins)]
    bins += _places()  # of one more bin at either end, for what lies outside
    counted = np.bincount(bins.ravel(), minlength=63 * (_BINS + 2))
    histogram = counted.reshape(63, _BINS + 2)[:, 1:-1].astype(np.float32)
    cosine, taken, steps = _lattices()
    sums, numbers = histogram @ cosine, histogram @ taken  # (63, steps)
    places = np.arange(63)[:, None], steps  # steps: (63, qualities)
    score = sums[places].sum(0) / np.sqrt(np.maximum(numbers[places].sum(0), _FEW) / 2)
    best = int(score.argmax())
    return float(score[best]), int(_QUALITIES[best])


def _distinct(blocks: np.ndarray) -> np.ndarray:
    """The places of blocks that differ but for their mean: drawings repeat theirs, which is no independent evidence."""
    _, first = np.unique(blocks @ _key(), return_index=True)
    return np.asarray(first)


@cache
def _key() -> np.ndarray:
    """Odd numbers whose sum of products with a block's bins is its hash, (63,)."""
    return np.random.default_rng(0).integers(0, 1 << 62, 63) | 1


@cache
def _cosines() -> np.ndarray:
    """The orthonormal discrete cosine transform of 8x8 samples without the mean, (64, 63)."""
    k = np.arange(8)
    rows = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / 16) / 2
    rows[0] /= np.sqrt(2)
    return np.ascontiguousarray(np.kron(rows, rows)[1:].T.astype(np.float32))


@cache
def _places() -> np.ndarray:
    """Where the bin of the coefficient 0 lies in the counts of all frequencies, (63,)."""
    return (np.arange(63) * (_BINS + 2) + _OUTSIDE).astype(np.int32)


@cache
def _lattices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cos(2 pi c / q) of each bin c by step q, whether it counts, both (bins, steps); the steps (63, qualities)."""
    tables = np.stack([standard_table(int(quality))[1:] for quality in _QUALITIES], 1)  # (63, qualities)
    tables = np.minimum(tables, int(2 * _LIMIT) + 1)  # of larger steps no coefficient that is counted is a multiple
    values = (np.arange(_BINS) - _BINS // 2) * _STEP
    q = np.arange(int(tables.max()) + 1)
    counts = (np.abs(values)[:, None] >= q / 2) & (q >= 2)  # every whole number is a multiple of 1
    cosine = np.cos(2 * np.pi * values[:, None] / np.maximum(q, 1)) * counts
    return cosine.astype(np.float32), counts.astype(np.float32), tables


def _spectrum(both: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """`coarse` and `detail`, from the mean power of rows and columns."""
    coarse = detail = 0.0
    for lines in both:
        window, low, high = _bands(lines.shape[1])
        waves = np.fft.rfft((lines - lines.mean(1, keepdims=True)) * window, axis=1)
        mean = np.einsum("ij,ij->j", waves, waves.conj()).real / len(lines)
        coarse += float(mean @ low) / 2
        detail += float(mean @ high) / 2
    coarse, detail = max(coarse, _FLOOR), max(detail - _ROUNDING, _ROUNDING / 4)
    return float(np.log10(coarse)), float(np.log10(detail) - np.log10(coarse))


def _lines(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, evenly spaced."""
    rows, columns = (np.linspace(0, n - 1, min(_LINES, n)).astype(int) for n in luma.shape)
    return luma[rows], np.ascontiguousarray(luma[:, columns].T)


@cache
def _bands(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hann's window (L,), and the weights (L // 2 + 1,) that make powers the mean of the two bands."""
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    frequency = np.arange(length // 2 + 1) * 2 / length
    low, high = (frequency > 1 / 8) & (frequency <= 1 / 4), frequency > 3 / 4
    scale = 1 / (window**2).sum()
    return window, *((band * scale / max(1, band.sum())).astype(np.float32) for band in (low, high))


def _periods(both: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Second differences of neighbours along rows, and along columns, averaged over the lines."""
    strength = np.zeros(len(PERIODS))
    for x in both:
        profile = np.abs(x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]).mean(0)  # (L - 2,)
        window, waves = _waves(len(profile))
        profile = (profile - profile.mean()) * window
        # of all periods below 16 pixels. No product of matrices: a BLAS that shares one out over threads waits
        # twenty times its own time for them where a network takes all cores
        typical = np.median(np.abs(np.fft.rfft(profile)[max(1, len(profile) // 16) :]) ** 2)
        strength += np.abs((waves * profile).sum(1)) ** 2 / (typical + _FLOOR) / 2
    return np.log10(strength + 1e-3)


@cache
def _waves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Hann's window and the waves of `PERIODS`."""
    window = np.hanning(length + 2)[1:-1]
    waves = np.exp(-2j * np.pi * np.outer(1 / np.array(PERIODS), np.arange(length)))
    return window.astype(np.float32), waves.astype(np.complex64)
