"""AuthPct: the share of generated images no closer to a training image than training images are to each other.

Alaa et al. 2022 ("authenticity"), as the percentage of Stein et al. 2023: with t the training image nearest to a
generated image g, and t' the nearest other training image of t, g is authentic if d(g, t) > d(t, t').
N training images, M generated images, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.result import Caution, Estimate, Retrieval, Unavailable, per_image, value
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.chosen import Chosen
from genaudit.stats.neighbours import Neighbours, nearest
from genaudit.stats.subsampling import Spread, kth_kept, over_parts, share_interval

LISTED = 4  # nearest training images of each image: the chance that none is in a part is 1/256


@dataclass(frozen=True, kw_only=True)
class AuthPctResult:
    """Percent of authentic generated images, in [0, 100], higher is better; copies of training images lower it.

    It is not 100 for an honest model: `authpct_reference`, where reference images are given, is what real images that
    the model did not learn from reach.
    """

    explanation: ClassVar[str] = (
        "Percent of samples that are not closer to their nearest training image than that one's own neighbour; low "
        "where training images are copied."
    )
    citation: ClassVar[str] = (
        "Alaa, van Breugel, Saveliev, van der Schaar. How faithful is your synthetic data? Sample-level metrics for "
        "evaluating and auditing generative models. ICML 2022."
    )
    copies_break: ClassVar[dict[str, str]] = {
        "train": "the neighbour of a training image that has a copy lies at distance 0, so that every generated image "
        "near it counts as authentic",
    }
    authpct: Estimate = value("none", range=(0.0, 100.0), held_out="authpct_reference")
    n_generated: int
    n_train: int
    authpct_reference: float | None
    interval: str = (
        "over new generated and training images in these numbers: from random parts of both sets, in Wilson's form"
    )
    authentic: np.ndarray | None = per_image()
    nearest: Retrieval
    cautions: tuple[Caution, ...] = ()


def authpct(train: Any, generated: Any, *, device: str = "cpu") -> float:
    """Percent of generated images that are authentic, Alaa et al. 2022; nothing is subtracted.

    Args:
        train: rows (N, D) of the images that the model learned from, N >= 2.
        generated: rows (M, D).
        device: where the matrix products run.

    Returns:
        the percentage in [0, 100], higher is better. An exact copy of a training image is never authentic; nor is an
        image exactly as far from its nearest training image as that one's own neighbour.

    Raises:
        ValueError: shapes that do not fit, fewer than two training images, or values that are not finite.

    >>> authpct([[0.0], [1.0]], [[0.5], [3.0], [0.0], [-1.5]])
    50.0
    """
    rows = as_rows(train, "train")
    if len(rows) < 2:
        raise ValueError("train must have at least 2 rows: each one's nearest neighbour among the others is compared")
    flags, _, _ = _authentic(rows, as_rows(generated, "generated"), device)
    return 100.0 * float(flags.mean())


def judge(
    *, generated: Any, train: Any, reference: Any = None, confidence: float = 0.95, seed: int = 0, device: str = "cpu"
) -> AuthPctResult:
    """AuthPct of generated images against training images, beside that of reference images where there are any.

    Args:
        generated: rows (M, D).
        train: rows (N, D).
        reference: rows (R, D) of real images outside the training set, or None.
        confidence: of the interval, in (0, 1).
        seed: of the parts behind the interval.
        device: where the matrix products run.

    Raises:
        Unavailable: fewer than two training images.
    """
    rows = as_rows(train, "train")
    if len(rows) < 2:
        raise Unavailable("AuthPct compares with the distances between training images and needs at least 2 of them")
    samples = as_rows(generated, "generated")
    flags, neighbours, flat = _authentic(rows, samples, device)
    cautions = []
    if flat.any():
        message = (
            f"{np.count_nonzero(flat):,} of {len(flat):,} generated images are nearest to a training image that has a "
            f"copy (in features), at distance 0: all but copies of it count as authentic, and AuthPct is too high."
        )
        cautions.append(Caution("duplicates", message))
    share = float(flags.mean())
    estimate = share_interval(share, _spread(rows, samples, device, seed), len(flags), confidence)
    beside: float | None = None
    yardstick: float | None = None
    if reference is not None:
        real_flags, real, _ = _authentic(rows, as_rows(reference, "reference"), device)
        beside, yardstick = 100.0 * float(real_flags.mean()), float(np.median(real.distances[:, 0]))
    return AuthPctResult(
        authpct=estimate.map(lambda share: 100.0 * share),
        n_generated=len(flags),
        n_train=len(rows),
        authpct_reference=beside,
        authentic=flags,
        nearest=Retrieval("train", neighbours.indices[:, 0], neighbours.distances[:, 0], yardstick),
        cautions=tuple(cautions),
    )


def prepared(*, train: Any, device: str = "cpu") -> Callable[[Any], dict[str, float]]:
    """The value alone as a function of generated rows."""
    return lambda generated: {"authpct": authpct(train, generated, device=device)}


def _authentic(train: RowsLike, generated: RowsLike, device: str) -> tuple[np.ndarray, Neighbours, np.ndarray]:
    """Per generated image: authentic (M,), its nearest training image, and whether that one has a copy (M,)."""
    neighbours = nearest(generated, train, device=device)
    retrieved, back = np.unique(neighbours.indices[:, 0], return_inverse=True)
    # Only the training images that were retrieved need their own neighbour: the second of two, since each is at
    # distance 0 from itself, and from its copies.
    own_distance = nearest(Chosen(train, retrieved), train, k=2, device=device).distances[:, 1]
    flags: np.ndarray = neighbours.distances[:, 0] > own_distance[back]
    return flags, neighbours, own_distance[back] == 0


def _spread(train: RowsLike, generated: RowsLike, device: str, seed: int) -> Spread:
    """The spread of the authentic share over new generated and training images."""
    listed = nearest(generated, train, k=min(LISTED, len(train)), device=device)
    retrieved, back = np.unique(listed.indices, return_inverse=True)
    back = back.reshape(listed.indices.shape)
    near = nearest(Chosen(train, retrieved), train, k=min(LISTED + 2, len(train)), device=device)
    others = near.indices != retrieved[:, None]  # a copy's own place may be anywhere among the copies
    order = np.argsort(~others, axis=1, kind="stable")[:, : max(near.indices.shape[1] - 1, 1)]
    neighbours, own = (np.take_along_axis(each, order, 1) for each in (near.indices, near.distances))

    def of_part(generated: np.ndarray, train: np.ndarray) -> dict[str, float]:
        at = kth_kept(listed.indices, train, 1)[:, None]
        distances, image = (np.take_along_axis(each, at, 1)[:, 0] for each in (listed.distances, back))
        own_distance = np.take_along_axis(own, kth_kept(neighbours, train, 1)[:, None], 1)[:, 0]
        return {"share": float((distances > own_distance[image])[generated].mean())}

    sizes = {"generated": len(generated), "train": len(train)}
    return over_parts(of_part, sizes, halves=0, seed=seed)["share"]
