"""Vendi and RKE scores with a Gaussian kernel, from random Fourier features (Ospanov et al. 2024; FKEA).

    k(x, y) = exp(-|x - y|^2 / (2 sigma^2)) = E over w ~ N(0, I / sigma^2) of cos(w'(x - y))

so that phi(x) = [cos(w_j'x), sin(w_j'x)] / sqrt(r), r frequencies w_j, is a row of unit length with
phi(x)'phi(y) near k(x, y), and the score of the rows phi by their 2r x 2r Gram matrix is that of the N x N kernel
matrix, with an error of the order of 1/sqrt(r), at a cost that grows with N only. The Vendi score of order 1
is `fkea_vendi`, that of order 2, which is RKE's (Jalali et al. 2023), `fkea_rke`. (The cosine kernel of `vendi` needs
no such approximation: its D x D Gram matrix is exact.) N images, D features, r frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics import vendi
from genaudit.metrics.result import Caution, Estimate, value
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Repeats, Width, checked, positive_int
from genaudit.stats.chosen import Chosen

WIDTH_SAMPLE = 1000  # rows whose median distance is the default width


@dataclass(frozen=True, kw_only=True)
class FKEAResult:
    """Effective number of modes at the kernel's width, from 1 to min(N, 2r), higher is more diverse.

    The width decides: sets compare only at equal sigma. `sigma_source` says whence it came.
    """

    explanation: ClassVar[str] = (
        "Effective number of modes among the samples at a kernel's width; diversity alone, blind to quality."
    )
    citation: ClassVar[str] = (
        "Ospanov, Zhang, Jalali, Cao, Bogdanov, Farnia. Towards a scalable reference-free evaluation of generative "
        "models. NeurIPS 2024."
    )
    fkea_vendi: Estimate = value("higher", label="Vendi score, order 1")
    fkea_rke: Estimate = value("higher", label="RKE score, order 2")
    fkea_vendi_reference: float | None
    fkea_rke_reference: float | None
    sigma: float
    sigma_source: str
    frequencies: int
    n_generated: int
    interval: str
    cautions: tuple[Caution, ...] = ()


class FourierRows:
    """Random Fourier features (N, 2r) of rows (N, D), made block by block as they are read."""

    def __init__(self, rows: RowsLike, frequencies: np.ndarray) -> None:
        self._rows, self._frequencies = rows, frequencies  # (r, D)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), 2 * len(self._frequencies))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: Any) -> np.ndarray:
        angles = np.asarray(self._rows[item], np.float64) @ self._frequencies.T
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(len(self._frequencies))


def fourier_rows(rows: RowsLike, *, sigma: float, frequencies: int, seed: int) -> FourierRows:
    """Rows whose inner products estimate the Gaussian kernel of width sigma (Rahimi & Recht 2007), all of unit length.

    Raises:
        ValueError: sigma or the number of frequencies is out of range.
    """
    checked("sigma", sigma, Width)
    positive_int("frequencies", frequencies)
    drawn = np.random.default_rng(seed).normal(size=(frequencies, rows.shape[1])) / sigma
    return FourierRows(rows, drawn)


def fkea(x: Any, *, sigma: float, q: float = 1, frequencies: int = 500, seed: int = 0) -> float:
    """Vendi score of order q with a Gaussian kernel by random Fourier features, Ospanov et al. 2024.

    Args:
        x: rows (N, D), NumPy array, torch tensor or rows on disk.
        sigma: the kernel's width, in feature units.
        q: order of the entropy, 0 < q <= inf; 2 is the RKE score.
        frequencies: r; the spectrum is that of a 2r x 2r matrix.
        seed: of the frequencies.

    Returns:
        the effective number of modes in [1, min(N, 2r)], higher is more diverse.

    Raises:
        ValueError: a wrong shape, a value that is not finite, or sigma, frequencies or q out of range.
    """
    return vendi.vendi_score(fourier_rows(as_rows(x, "x"), sigma=sigma, frequencies=frequencies, seed=seed), q=q)


def judge(
    *,
    generated: Any,
    reference: Any = None,
    sigma: Width | None = None,
    frequencies: Repeats = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> FKEAResult:
    """Gaussian-kernel Vendi and RKE scores of generated images, beside those of as many reference images.

    Intervals are those of `vendi` (delta method over new images), width and frequencies held fixed; there is none where
    the width is taken from images, since it moves with them (82 to 85 % were held at a nominal 95 %).

    Args:
        generated: rows (N, D).
        reference: rows (M, D) or None.
        sigma: the kernel's width; None: half the median distance of 1,000 images, of the reference where there is one.
            Give a number to compare runs whose reference differs.
        frequencies: r.
        confidence: of the intervals, in (0, 1).
        seed: of the frequencies and of the samples.
    """
    rows = as_rows(generated, "generated")
    beside = None if reference is None else as_rows(reference, "reference", columns=rows.shape[1])
    source = "given"
    if sigma is None:
        own = rows if beside is None else beside
        sigma = _half_median(own, seed)
        source = f"half the median distance of {'generated' if beside is None else 'reference'} images"
    features = fourier_rows(rows, sigma=sigma, frequencies=frequencies, seed=seed)
    others = None if beside is None else fourier_rows(beside, sigma=sigma, frequencies=frequencies, seed=seed)
    first, second = (
        vendi.judge(generated=features, reference=others, q=q, confidence=confidence, seed=seed) for q in (1, 2)
    )
    cautions: tuple[Caution, ...] = ()
    if first.vendi > 0.5 * min(len(rows), 2 * frequencies):
        cautions = (
            Caution(
                "width-too-small",
                f"At sigma = {sigma:.4g} there are {first.vendi:.0f} effective modes among {len(rows)} images and "
                f"{2 * frequencies} Fourier features: the score is near its ceiling and speaks of the numbers, not of "
                f"the images. A larger metric.fkea.fn.sigma is needed.",
            ),
        )
    return FKEAResult(
        fkea_vendi=first.vendi if source == "given" else Estimate(first.vendi),
        fkea_rke=second.vendi if source == "given" else Estimate(second.vendi),
        fkea_vendi_reference=first.vendi_reference,
        fkea_rke_reference=second.vendi_reference,
        sigma=float(sigma),
        sigma_source=source,
        frequencies=frequencies,
        n_generated=len(rows),
        interval=(
            first.interval
            if source == "given"
            else "none: the width moves with the images that it is taken from; give metric.fkea.fn.sigma"
        ),
        cautions=cautions,
    )


def _half_median(rows: RowsLike, seed: int) -> float:
    """Half the median distance between rows, of a seeded sample; 1 where all are equal."""
    if len(rows) > WIDTH_SAMPLE:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), size=WIDTH_SAMPLE, replace=False))
        rows = Chosen(rows, chosen)
    sample = np.asarray(rows[: len(rows)], np.float64)
    found = scipy.spatial.distance.pdist(sample) if len(sample) > 1 else np.zeros(1)
    return float(np.median(found)) / 2 or 1.0
