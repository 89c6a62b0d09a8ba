"""Vendi score: the effective number of dissimilar images in a set (Friedman & Dieng 2023, Definition 3.1).

    VS_q = exp(H_q(eigenvalues of K / N)),   K_ij = <x_i, x_j>, rows scaled to unit length

H_1 is Shannon's entropy, H_q = log(sum of p^q) / (1 - q) Rényi's (Pasarkar & Dieng 2023). K/N and the D x D Gram matrix
X'X/N have the same eigenvalues but for zeros, so the smaller one is solved. N images, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy

from genaudit.metrics.result import Caution, Estimate, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks
from genaudit.stats.bounds import Positive, checked
from genaudit.stats.chosen import Chosen
from genaudit.stats.process_state import one_core

LEAST = 10  # images, for an interval
NEAR_ONE = 0.1  # orders so near 1 divide a small difference by 1 - q


@dataclass(frozen=True, kw_only=True)
class VendiResult:
    """Effective number of images, from 1 to min(N, D), higher is more diverse.

    It grows with N: compare sets of equally many images. `vendi_reference` is the score of as many reference images.
    """

    explanation: ClassVar[str] = (
        "Effective number of different images among the samples; diversity alone, blind to quality."
    )
    citation: ClassVar[str] = (
        "Friedman, Dieng. The Vendi Score: a diversity evaluation metric for machine learning. TMLR 2023."
    )
    vendi: Estimate = value("higher")
    q: float | str
    n_generated: int
    dimensions: int
    vendi_reference: float | None
    n_reference: int | None
    interval: str
    cautions: tuple[Caution, ...] = ()


def vendi_score(x: Any, *, q: float = 1) -> float:
    """Vendi score of rows, Friedman & Dieng 2023, Definition 3.1, with the cosine kernel.

    Args:
        x: rows (N, D), NumPy array, torch tensor or rows on disk (read in blocks where N > D). No row may be zero.
        q: order of the entropy, 0 < q <= inf; small orders weigh rare kinds of images more.

    Returns:
        the effective number of images, in [1, min(N, D)], higher is more diverse.

    Raises:
        ValueError: a wrong shape, a value that is not finite, a zero row (it has no direction), q out of range.

    >>> round(vendi_score([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]]), 12)
    2.0
    """
    return float(np.exp(_entropy(_spectrum(as_rows(x, "x"), "x")[0], q)))


def judge(
    *,
    generated: Any,
    reference: Any = None,
    q: Positive | Literal["infinity"] = 1,
    confidence: float = 0.95,
    seed: int = 0,
) -> VendiResult:
    """Vendi score of generated images, beside that of equally many reference images where there are any.

    The interval is the delta method's on the logarithm: with rho = X'X/N, the influence of an image with unit row f
    on H_1 is -f' log(rho) f - H_1, on H_q it is (f' rho^(q-1) f / tr rho^q - 1) q/(1 - q). It says how the score would
    vary over new sets of N images; the score's growth with N is not in it (a bootstrap repeats images and is biased
    downward). None is given for q < 1, where the smallest eigenvalues rule, nor for fewer than four images to each
    effective one (89 % coverage at a nominal 95 % was seen there, 94 to 99 % elsewhere).

    Args:
        generated: rows (N, D).
        reference: rows (M, D) or None; if M > N, a seeded sample of N of them.
        q: order of the entropy, 0 < q <= inf; also as a word, "infinity", which configurations can hold.
        confidence: of the interval, in (0, 1).
        seed: of the reference's sample.
    """
    rows, q = as_rows(generated, "generated"), float(q)
    n, dimensions = rows.shape
    try:
        eigenvalues, influence = _spectrum(rows, "generated", q)
        beside = None if reference is None else as_rows(reference, "reference")
        if beside is not None and len(beside) > n:
            chosen = np.sort(np.random.default_rng(seed).choice(len(beside), size=n, replace=False))
            beside = Chosen(beside, chosen)
        reference_score = vendi_score(beside, q=q) if beside is not None and len(beside) == n else None
    except _ZeroRow as error:
        raise Unavailable(f"{error}; the cosine kernel needs features that are not all zero") from error
    score = float(np.exp(_entropy(eigenvalues, q)))
    factor: float | None = None
    if influence is not None and n >= 4 * score and n >= LEAST:
        error_of_log = float(np.std(influence, ddof=1)) / np.sqrt(n)
        factor = float(np.exp(scipy.special.ndtri(0.5 + confidence / 2) * error_of_log))
    return VendiResult(
        vendi=Estimate(score)
        if factor is None
        else Estimate(score, max(score / factor, 1.0), min(score * factor, float(min(n, dimensions)))),
        q="infinity" if np.isinf(q) else q,
        n_generated=n,
        dimensions=dimensions,
        vendi_reference=reference_score,
        n_reference=None if reference_score is None else n,
        interval=(
            "over new generated images in this number: delta method"
            if factor is not None
            else "none: q < 1, fewer than 10 images, or fewer than four to each effective one"
        ),
    )


def prepared(*, q: Positive | Literal["infinity"] = 1) -> Callable[[Any], dict[str, float]]:
    """The value alone as a function of generated rows."""
    return lambda generated: {"vendi": vendi_score(generated, q=float(q))}


class _ZeroRow(ValueError):
    """A row without direction."""


def _spectrum(rows: RowsLike, name: str, q: float | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Eigenvalues of K/N that are above rounding, and, for an order q >= 1, each row's influence on H_q (N,)."""
    n, dimensions = rows.shape
    dual = dimensions < n
    if dual:
        gram = np.zeros((dimensions, dimensions))
        for start, block in blocks(rows, name):
            f = _unit(block, name, start)
            gram += f.T @ f
    else:
        x = _unit(np.concatenate([block for _, block in blocks(rows, name)]), name, 0)  # N <= D: no larger than D x D
        gram = x @ x.T
    wants_influence = q is not None and q >= 1
    if not wants_influence:
        with one_core():
            return _above_rounding(scipy.linalg.eigvalsh(gram / n)), None
    with one_core():
        eigenvalues, vectors = scipy.linalg.eigh(gram / n)
    significant = eigenvalues > _rounding(eigenvalues)
    eigenvalues, vectors = eigenvalues[significant], vectors[:, significant]
    # Squared coordinates of each unit row along the eigenvectors of rho; from K = N V p V' they are N p_k V_ik^2.
    if dual:
        influence = np.concatenate(
            [_influence(np.square(_unit(block, name, i) @ vectors), eigenvalues, q) for i, block in blocks(rows, name)]
        )
    else:
        influence = _influence(np.square(vectors) * (n * eigenvalues), eigenvalues, q)
    return eigenvalues, influence


def _influence(squared: np.ndarray, p: np.ndarray, q: float | None) -> np.ndarray:
    """Influence on H_q up to a constant; squared coordinates (N, R), eigenvalues p (R,)."""
    assert q is not None
    if q == 1:
        return -squared @ np.log(p)
    if np.isinf(q):
        return -squared[:, np.argmax(p)] / p.max()
    if abs(q - 1) < NEAR_ONE:  # a row's coordinates sum to 1: the constant, which would swamp the rest, is left out
        return squared @ np.expm1((q - 1) * np.log(p)) / np.sum(p**q) * (q / (1 - q))
    ratios = p / p.max()  # p^q itself underflows
    return squared @ ratios ** (q - 1) / np.sum(ratios**q) / p.max() * (q / (1 - q))


def _entropy(p: np.ndarray, q: float) -> float:
    """Rényi's entropy of order q in nats; Shannon's at q = 1."""
    checked("q", q, Positive)
    if q == 1:
        return float(scipy.special.entr(p).sum())
    if np.isinf(q):
        return float(-np.log(p.max()))
    if abs(q - 1) < NEAR_ONE:  # sum of p^q less the sum of p, which is 1
        return float(np.log1p(np.sum(p * np.expm1((q - 1) * np.log(p)))) / (1 - q))
    largest = p.max()  # p^q itself underflows
    return float(q / (1 - q) * np.log(largest) + np.log(np.sum((p / largest) ** q)) / (1 - q))


def _rounding(eigenvalues: np.ndarray) -> float:
    """Eigenvalues at or below this are rounding: they'd count as directions for q < 1 and be NaN when negative."""
    return float(len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues[-1])


def _above_rounding(eigenvalues: np.ndarray) -> np.ndarray:
    return eigenvalues[eigenvalues > _rounding(eigenvalues)]


def _unit(block: np.ndarray, name: str, start: int) -> np.ndarray:
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    if not lengths.all():
        raise _ZeroRow(f"row {start + int(np.argmin(lengths))} of {name} is zero and has no direction")
    unit: np.ndarray = block / lengths
    return unit
