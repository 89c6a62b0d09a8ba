"""Distances to the nearest training image, beside those of held-out real images: copies of some samples show.

AuthPct and C_T speak of all samples at once; a model that copies one sample in twenty hides in them. With t the
training image nearest to x and t' the nearest other training image of t, let rho(x) = d(x, t) / d(t, t'), as AuthPct
compares them (Alaa et al. 2022). Held-out real images say which ratios are too small: the threshold is their k-th
smallest, k = 1 % of them, and

    near_copies = percent of generated images with rho below the threshold.

It is about 1 for real images. If generated and held-out images are exchangeable, the number of generated ones among the
smallest of the pooled ratios is hypergeometric whatever the law: with n generated and m held-out ones,
P(c or more below the k-th smallest held-out one) = P(at most k - 1 held-out ones among the c + k - 1 smallest).
n generated, m held-out images, N training images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.result import Caution, Unavailable, per_image, value
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Probability
from genaudit.stats.chosen import Chosen
from genaudit.stats.neighbours import nearest


@dataclass(frozen=True, kw_only=True)
class TrainDistanceResult:
    """Percent of samples nearer to a training image than all but 1 % of held-out real images; about 1 is honest.

    `train_distance_ratio` is the samples' median ratio over that of held-out images. `pvalue` is that of as many near
    copies, were the samples real images: exact.
    """

    explanation: ClassVar[str] = (
        "Percent of samples nearer to a training image than 99 % of unseen real images are; about 1 is honest, high "
        "where some training images are copied."
    )
    hypothesis: ClassVar[str] = "samples and held-out real images lie alike near the training images"
    citation: ClassVar[str] = (
        "Alaa, van Breugel, Saveliev, van der Schaar. How faithful is your synthetic data? Sample-level metrics for "
        "evaluating and auditing generative models. ICML 2022."
    )
    near_copies: float = value("lower", label="percent of samples, about 1 for real images")
    train_distance_ratio: float | None = value("none", label="median, over that of real images")
    pvalue: float
    threshold: float
    held_out_below: int
    n_generated: int
    n_reference: int
    n_train: int
    nearness: np.ndarray | None = per_image()
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
    ours, real = (
        nearness(each, rows, device) for each in (as_rows(generated, "generated"), as_rows(reference, "reference"))
    )
    n, m = len(ours), len(real)
    k = max(1, math.floor(share * m))
    threshold = float(np.sort(real)[k - 1])
    below = int((ours < threshold).sum())
    middle = float(np.median(real))
    return TrainDistanceResult(
        near_copies=100.0 * below / n,
        train_distance_ratio=float(np.median(ours)) / middle if middle > 0 else None,
        pvalue=near_pvalue(below, n, m, k),
        threshold=threshold,
        held_out_below=k,
        n_generated=n,
        n_reference=m,
        n_train=len(rows),
        nearness=ours,
    )


def near_pvalue(below: int, n: int, m: int, k: int) -> float:
    """P(`below` or more of n exchangeable values lie below the k-th smallest of m others).

    >>> near_pvalue(0, 10, 10, 1), near_pvalue(1, 1, 3, 1)
    (1.0, 0.25)
    """
    if below == 0:
        return 1.0
    from scipy import stats  # half a second: when it is needed

    return float(stats.hypergeom.cdf(k - 1, n + m, m, below + k - 1))


def nearness(rows: RowsLike, train: RowsLike, device: str = "cpu") -> np.ndarray:
    """rho of each row, (n,): its distance to the nearest training image over that one's own to its nearest other.

    0 for a copy; infinite where the training image has a copy itself and the row is none.
    """
    found = nearest(rows, train, device=device)
    retrieved, back = np.unique(found.indices[:, 0], return_inverse=True)
    near = nearest(Chosen(train, retrieved), train, k=2, device=device)
    own = np.where(near.indices[:, 0] == retrieved, near.distances[:, 1], near.distances[:, 0])[back]
    distances = found.distances[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.where(distances == 0, 0.0, distances / own)
    return ratio
