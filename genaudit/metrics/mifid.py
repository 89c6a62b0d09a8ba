"""Memorisation-informed Fréchet distance: FD, divided where generated images lie on training images (Bai et al. 2021).

    s = mean over generated g of min over training t of ( 1 - |cos(g, t)| )
    MiFID = FD / (s + epsilon)  where s < threshold,   MiFID = FD  elsewhere

The score of Kaggle's competition of 2019: threshold 0.1 and epsilon 1e-14 there, on FID's Inception. The threshold
belongs to the feature model: on Inception's features an honest model lies above 0.1; on others it need not, and real
images that the model has not seen show where it should be. N training, M generated, R reference images, D features.

torchmetrics 1.9 averages over the *training* images instead (its features stand the other way round), so that copies
of a few training images go unpunished; here, as in the paper and Kaggle's code, the mean is over generated images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from genaudit.metrics import frechet
from genaudit.metrics.result import Caution, Retrieval, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks
from genaudit.stats.bounds import Bounds
from genaudit.stats.chosen import Chosen
from genaudit.stats.neighbours import NeighbourIndex

EPSILON = 1e-14  # Kaggle's: copies alone have a huge score, not an infinite one
QUERIES = 4096
Threshold = Annotated[float, Bounds(0, 1, above=True)]


@dataclass(frozen=True, kw_only=True)
class MiFIDResult:
    """FD with a penalty for copies of training images, squared feature units, lower is better.

    `memorisation_distance` is s, in [0, 1]; `memorisation_distance_reference`, where reference images are given, that
    of real images that the model did not learn from. FD is taken to `compared_with`: the reference where there is
    one, else the training images as in the competition.
    """

    explanation: ClassVar[str] = (
        "Fréchet distance, divided by the samples' mean distance to the training images where that is small: high "
        "where training images are copied."
    )
    citation: ClassVar[str] = (
        "Bai, Lin, Raffel, Kan. On training sample memorization: lessons from benchmarking generative modeling with a "
        "large-scale competition. KDD 2021."
    )
    mifid: float = value("lower")
    fd: float
    memorisation_distance: float
    memorisation_distance_reference: float | None
    penalised: bool
    threshold: float
    compared_with: str
    images_without_direction: int
    n_generated: int
    n_train: int
    n_reference: int | None
    interval: str = "none: the penalty jumps at the threshold"
    nearest: Retrieval
    cautions: tuple[Caution, ...] = ()


def memorisation_distance(train: Any, generated: Any, *, device: str = "cpu") -> float:
    """The mean over generated images of the least cosine distance 1 - |cos| to a training image, Bai et al. 2021.

    Args:
        train: rows (N, D), NumPy array, torch tensor or rows on disk; rows that are zero are left out.
        generated: rows (M, D), likewise.
        device: where the matrix products run.

    Returns:
        s in [0, 1]; 0 for copies of training images, whatever their number.

    Raises:
        ValueError: shapes that do not fit, a set of zero rows only, or values that are not finite.
    """
    distances, _ = _nearest(as_rows(train, "train"), as_rows(generated, "generated"), device, "generated")
    return float(np.nanmean(distances))


def mifid(train: Any, generated: Any, *, reference: Any = None, threshold: float = 0.1, device: str = "cpu") -> float:
    """Memorisation-informed Fréchet distance, Bai et al. 2021; arguments as `judge`'s.

    Raises:
        ValueError: shapes that do not fit, a set of zero rows only, or values that are not finite.
    """
    return judge(generated=generated, train=train, reference=reference, threshold=threshold, device=device).mifid


def judge(
    *,
    generated: Any,
    train: Any,
    reference: Any = None,
    threshold: Threshold = 0.1,
    device: str = "cpu",
) -> MiFIDResult:
    """MiFID of generated images against training images; FD against reference images where there are any.

    Args:
        generated: rows (M, D).
        train: rows (N, D) of the images that the model learned from.
        reference: rows (R, D) of other real images, or None.
        threshold: the mean distance below which FD is divided by it, in (0, 1].
        device: where the matrix products run.

    Raises:
        Unavailable: all features of a set are zero.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie above 0 and at most at 1, not {threshold}")
    rows, training = as_rows(generated, "generated"), as_rows(train, "train")
    frechet.check_dimensions(rows.shape[1], training.shape[1])
    try:
        distances, indices = _nearest(training, rows, device, "generated")
        beside = None
        if reference is not None:
            beside = float(np.nanmean(_nearest(training, as_rows(reference, "reference"), device, "reference")[0]))
    except _NoDirection as reason:
        raise Unavailable(str(reason)) from reason
    real, name = (training, "train") if reference is None else (as_rows(reference, "reference"), "reference")
    fd = frechet.judge(generated=rows, reference=real)
    distance = float(np.nanmean(distances))
    penalised = distance < threshold
    cautions = [Caution(each.code, each.message.replace("The reference", f"The {name}")) for each in fd.cautions]
    if beside is not None and beside < threshold:
        cautions.append(
            Caution(
                "threshold-above-honest-images",
                f"Real images outside the training set lie {beside:.3g} from it on average, below the threshold of "
                f"{threshold:g}: with this feature model an honest model is penalised too. Set a lower "
                f"metric.mifid.fn.threshold.",
            )
        )
    return MiFIDResult(
        mifid=fd.fd.value / (distance + EPSILON) if penalised else fd.fd.value,
        fd=fd.fd.value,
        memorisation_distance=distance,
        memorisation_distance_reference=beside,
        penalised=penalised,
        threshold=float(threshold),
        compared_with=name,
        images_without_direction=int(np.isnan(distances).sum()),
        n_generated=len(rows),
        n_train=len(training),
        n_reference=None if reference is None else len(real),
        nearest=Retrieval("train", indices, distances),
        cautions=tuple(cautions),
    )


class _NoDirection(ValueError):
    """Every row of a set is zero."""


def _nearest(train: RowsLike, query: RowsLike, device: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """1 - |cos| to the nearest training image and its index, (M,) each; NaN and -1 for queries that are zero.

    The nearest by |cos| is that of the row or that of its negative; features without negative values need one search.
    """
    nonzero_train, negative_train = _directed(train, "train")
    nonzero, negative = _directed(query, name)
    index = NeighbourIndex(Chosen(train, nonzero_train), metric="cosine", device=device)
    distances, indices = np.full(len(query), np.nan), np.full(len(query), -1)
    for start in range(0, len(nonzero), QUERIES):
        at = nonzero[start : start + QUERIES]
        block = np.asarray(query[at])
        neighbours = index.nearest(block)
        best, where = neighbours.distances[:, 0], neighbours.indices[:, 0]
        if negative or negative_train:
            opposite = index.nearest(-block)
            nearer = opposite.distances[:, 0] < best
            best = np.where(nearer, opposite.distances[:, 0], best)
            where = np.where(nearer, opposite.indices[:, 0], where)
        distances[at], indices[at] = best, nonzero_train[where]
    return distances, indices


def _directed(rows: RowsLike, name: str) -> tuple[np.ndarray, bool]:
    """The indices of the rows that are not zero, and whether any value is negative."""
    nonzero, negative = [], False
    for start, block in blocks(rows, name, dtype=np.float32):
        nonzero.append(start + np.nonzero(block.any(axis=1))[0])
        negative = negative or bool((block < 0).any())
    indices = np.concatenate(nonzero)
    if len(indices) == 0:
        raise _NoDirection(f"all features of {name} are zero and have no direction")
    return indices, negative
