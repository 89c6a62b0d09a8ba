"""Distances to the nearest training image, beside those of held-out real images: copies of some samples show.

AuthPct and C_T speak of all samples at once; a model that copies one sample in twenty hides in them. With t the
training image nearest to x and t' the nearest other training image of t, let rho(x) = d(x, t) / d(t, t'), as AuthPct
compares them (Alaa et al. 2022). Held-out real images say which ratios are too small: the threshold is their k-th
smallest, k = 1 % of them, and

    near_copies = percent of generated images with rho below the threshold.

It is about 1 for real images. If generated and held-out images are exchangeable, the number of generated ones among the
smallest of the pooled ratios is hypergeometric whatever the law: with n generated and m held-out ones,
P(c or more below the k-th smallest held-out one) = P(at most k - 1 held-out ones among the c + k - 1 smallest).

Beside it stands the criterion of the papers on diffusion models: with t2 the nearest training image of other content
than t, the l2 ratio is d(x, t) / d(x, t2), and

    l2_memorised = percent of generated images with an l2 ratio below 1/3

(Yoon, Choi, Kwon, Ryu 2023; Carlini et al. 2023 divide by the mean distance to more neighbours). It looks from the
sample alone: 1 lies between training images, 0 is a copy. It needs no held-out images to be computed, but only these,
`l2_memorised_reference`, say what it is for images that nobody learned from.
n generated, m held-out images, N training images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import Caution, Retrieval, Unavailable, per_image, value
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Probability
from genaudit.stats.chosen import Chosen
from genaudit.stats.neighbours import Neighbours, nearest

MEMORISED = 1 / 3  # of the l2 ratio, Yoon et al. 2023


@dataclass(frozen=True, kw_only=True)
class TrainDistanceResult:
    """Percent of samples nearer to a training image than all but 1 % of held-out real images; about 1 is honest.

    `train_distance_ratio` is the samples' median ratio over that of held-out images. `pvalue` is that of as many near
    copies, were the samples real images: exact.
    """

    explanation: ClassVar[str] = (
        "Percent of samples nearer to a training image than 99 % of unseen real images are; about 1 is honest, high "
        "where some training images are copied. l2_memorised: those three times nearer to one than to the next."
    )
    hypothesis: ClassVar[str] = "samples and held-out real images lie alike near the training images"
    citation: ClassVar[str] = (
        "Alaa, van Breugel, Saveliev, van der Schaar. How faithful is your synthetic data? Sample-level metrics for "
        "evaluating and auditing generative models. ICML 2022. Yoon, Choi, Kwon, Ryu. Diffusion probabilistic models "
        "generalize when they fail to memorize. ICML 2023 workshop on structured probabilistic inference."
    )
    near_copies: float = value("lower", label="percent of samples, about 1 for real images")
    l2_memorised: float = value("lower", label="percent of samples with an l2 ratio below 1/3", range=(0.0, 100.0))
    l2_memorised_reference: float | None = value("none", label="the same of held-out real images", range=(0.0, 100.0))
    train_distance_ratio: float | None = value("none", label="median, over that of real images")
    pvalue: float
    threshold: float
    held_out_below: int
    n_generated: int
    n_reference: int
    n_train: int
    nearness: np.ndarray | None = per_image()
    l2_ratio: np.ndarray | None = per_image()
    nearest: Retrieval
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Any,
    reference: Any,
    train: Any,
    share: Probability = 0.01,
    device: str = "cpu",
) -> TrainDistanceResult:
    """Near copies of training images among the generated ones.

    Args:
        generated: rows (n, D).
        reference: rows (m, D) of held-out real images.
        train: rows (N, D), N >= 2.
        share: of the held-out images that lie below the threshold.
        device: where the matrix products run.

    Raises:
        Unavailable: fewer than two training images.
    """
    rows = as_rows(train, "train")
    if len(rows) < 2:
        raise Unavailable("compares with the distances between training images and needs at least 2 of them")
    samples, real_rows = as_rows(generated, "generated"), as_rows(reference, "reference")
    neighbours, neighbours_real = (nearest(each, rows, k=2, device=device) for each in (samples, real_rows))
    ours = nearness(samples, rows, device, neighbours=neighbours)
    real = nearness(real_rows, rows, device, neighbours=neighbours_real)
    n, m = len(ours), len(real)
    k = max(1, math.floor(share * m))
    threshold = float(np.sort(real)[k - 1])
    below = int((ours < threshold).sum())
    middle = float(np.median(real))
    ratios = l2_ratios(neighbours, samples, rows, device)
    held_out = l2_ratios(neighbours_real, real_rows, rows, device)
    return TrainDistanceResult(
        near_copies=100.0 * below / n,
        l2_memorised=100.0 * float((ratios < MEMORISED).mean()),
        l2_memorised_reference=100.0 * float((held_out < MEMORISED).mean()),
        train_distance_ratio=float(np.median(ours)) / middle if middle > 0 else None,
        pvalue=near_pvalue(below, n, m, k),
        threshold=threshold,
        held_out_below=k,
        n_generated=n,
        n_reference=m,
        n_train=len(rows),
        nearness=ours,
        l2_ratio=ratios,
        nearest=Retrieval(
            "train",
            neighbours.indices[:, 0],
            neighbours.distances[:, 0],
            held_out=float(np.median(neighbours_real.distances[:, 0])),
            ratios=ratios,
        ),
    )


def near_pvalue(below: int, n: int, m: int, k: int) -> float:
    """P(`below` or more of n exchangeable values lie below the k-th smallest of m others).

    >>> near_pvalue(0, 10, 10, 1), near_pvalue(1, 1, 3, 1)
    (1.0, 0.25)
    """
    if below == 0:
        return 1.0
    return float(scipy.stats.hypergeom.cdf(k - 1, n + m, m, below + k - 1))


def l2_ratios(neighbours: Neighbours, rows: RowsLike, train: RowsLike, device: str = "cpu") -> np.ndarray:
    """Each row's distance to the nearest training row over that to the next of other content, (n,), in [0, 1].

    0 for a copy of a training row. Copies of the nearest training row are passed over: with each training row twice
    every ratio would be 1. It is 1 where all training rows have one content.

    Args:
        neighbours: the two nearest training rows of each row.
    """
    first, second = neighbours.distances[:, 0], neighbours.distances[:, 1].copy()
    # a copy of the nearest row is as far, but for rounding
    for place in np.flatnonzero((first > 0) & (second <= first * (1 + 1e-9))):
        second[place] = _next_content(Chosen(rows, np.array([place])), train, device)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: np.ndarray = np.where(first == 0, 0.0, first / second)
    return ratios


def _next_content(row: RowsLike, train: RowsLike, device: str) -> float:
    """The distance of one row to the nearest training row that is not equal to its nearest one."""
    k = 2
    while True:
        neighbours = nearest(row, train, k=k, device=device)
        others = np.asarray(train[neighbours.indices[0]])
        differ = (others != others[0]).any(axis=1)
        if differ.any() or k == len(train):
            return float(neighbours.distances[0, int(np.argmax(differ)) if differ.any() else 0])
        k = min(4 * k, len(train))


def nearness(
    rows: RowsLike, train: RowsLike, device: str = "cpu", *, neighbours: Neighbours | None = None
) -> np.ndarray:
    """rho of each row, (n,): its distance to the nearest training image over that one's own to its nearest other.

    0 for a copy; infinite where the training image has a copy itself and the row is none. `neighbours`: the
    nearest training rows, where they are known.
    """
    neighbours = nearest(rows, train, device=device) if neighbours is None else neighbours
    retrieved, back = np.unique(neighbours.indices[:, 0], return_inverse=True)
    near = nearest(Chosen(train, retrieved), train, k=2, device=device)
    own = np.where(near.indices[:, 0] == retrieved, near.distances[:, 1], near.distances[:, 0])[back]
    distances = neighbours.distances[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.where(distances == 0, 0.0, distances / own)
    return ratio
