"""The data-copying test C_T: are generated images nearer to training images than held-out images are?

Meehan, Chaudhuri & Dasgupta 2020. k-means on the training images cuts the feature space into cells. Within a cell let
L(x) be the distance of x to the nearest training image of that cell, n held-out and m generated images lie there, and

    U = #{(i, j): L(g_j) > L(h_i)} + #{ties} / 2
    Z = (U - n m / 2) / sqrt(n m (n + m + 1) / 12)                       (Mann-Whitney, normal limit)
    C_T = sum over cells of (n / N) Z / sum over cells of n / N          (their Eq. 2)

over the cells with at least 20 generated images (their tau = 20/M) and at least one held-out image. C_T far below 0:
the generated images sit too near the training images (copying); far above 0: too far (underfitting); C_T
grows with the numbers of images. Departures from the authors' code: no continuity correction of 0.5 (neither has the
paper), and a cell without held-out images is left out, where the code stops with an error.
N held-out, M generated images, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import Caution, Estimate, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks
from genaudit.stats.auroc import auroc
from genaudit.stats.bounds import Count
from genaudit.stats.chosen import Chosen
from genaudit.stats.neighbours import nearest
from genaudit.stats.subsampling import Spread, kth_kept, normal_interval, over_parts

MIN_GENERATED = 20  # in a cell: below, U is too far from normal (Meehan et al. 2020, section 4)
LISTED = 4  # nearest training images of each image: the chance that none is in a part is 1/256
INTERVAL = "over new generated, held-out and training images in these numbers: from random parts, and cells fitted anew"
REFITS = 8  # of the cells, each to another half of the training images
JUDGED = 2_000  # images a role that are judged in cells fitted anew
FIT_ROWS = 20_000  # training images that k-means is fitted to: bounds its memory; all of them are assigned to cells


@dataclass(frozen=True)
class Region:
    """One k-means cell: images of each role in it, its Z and the share of (generated, held-out) pairs behind it."""

    n_train: int
    n_reference: int
    n_generated: int
    z: float | None
    farther: float | None


@dataclass(frozen=True, kw_only=True)
class CTResult:
    """Data-copying statistic: about 0 is good, far below 0 means copies of training images, far above 0 underfitting.

    `pvalue` is one-sided: the chance of a C_T this low if generated and held-out images had equal distances to the
    training images. `farther` is the weighted share of pairs in which the generated image is the farther one (0.5 is
    ideal): unlike C_T it does not grow with the numbers of images.
    """

    hypothesis: ClassVar[str] = "samples lie no closer to the training images than held-out real images do"
    explanation: ClassVar[str] = (
        "Whether samples lie closer to the training images than unseen real images do; below 0 points to copying, "
        "above 0 to underfitting."
    )
    citation: ClassVar[str] = (
        "Meehan, Chaudhuri, Dasgupta. A non-parametric test to detect data-copying in generative models. AISTATS 2020."
    )
    ct: Estimate = value("none", held_out=0.0)
    pvalue: float
    farther: float
    share_generated_in_cells: float
    n_generated: int
    n_reference: int
    n_train: int
    cells: tuple[Region, ...]
    interval: str
    cautions: tuple[Caution, ...] = ()


def ct(
    train: Any, reference: Any, generated: Any, *, cells: int = 3, min_generated: int = MIN_GENERATED, seed: int = 0
) -> float:
    """The data-copying statistic C_T, Meehan et al. 2020, Eq. 2; see the module's text for the exact definition.

    Args:
        train: rows (T, D) of the images that the model learned from, T >= cells.
        reference: rows (N, D) of real images that the model did not learn from.
        generated: rows (M, D).
        cells: of the k-means partition of the training images; 3 is the authors' for MNIST.
        min_generated: cells with fewer generated images do not count.
        seed: of k-means and of the training images that it is fitted to, where there are more than 20,000.

    Returns:
        a z-like number; about 0 is good, below -3 is copying, above 3 underfitting.

    Raises:
        ValueError: shapes that do not fit, T < cells, no cell that counts, or values that are not finite.
    """
    return judge(
        generated=generated, reference=reference, train=train, cells=cells, min_generated=min_generated, seed=seed
    ).ct.value


def judge(
    *,
    generated: Any,
    reference: Any,
    train: Any,
    cells: Count = 3,
    min_generated: Count = MIN_GENERATED,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> CTResult:
    """C_T of generated images, with an interval over images and a one-sided p-value for copying.

    The p-value takes each Z as N(0, 1) and the cells as independent. The interval does not assume equal laws. Its error
    is that of random parts of all sets in the cells as they are, and the scatter over cells that k-means finds in
    halves of the training images: where modes outnumber cells, another training set of the same law gives others. There
    is no interval where a cell's pairs all agree, since its error is then 0.

    Args:
        generated: rows (M, D).
        reference: rows (N, D) of held-out real images: with training images among them C_T is too high.
        train: rows (T, D).
        cells: of the k-means partition of the training images.
        min_generated: cells with fewer generated images do not count.
        confidence: of the interval, in (0, 1).
        seed: of k-means.
        device: where the matrix products run.

    Raises:
        Unavailable: no cell holds enough generated images together with held-out ones.
    """
    rows = {"train": as_rows(train, "train")}
    dimensions = rows["train"].shape[1]
    rows["reference"] = as_rows(reference, "reference", columns=dimensions)
    rows["generated"] = as_rows(generated, "generated", columns=dimensions)
    if not 1 <= cells <= len(rows["train"]):
        raise ValueError(f"cells must be between 1 and the number of training images, not {cells}")
    regions, searched = _search(rows, _fit(rows["train"], cells, seed), min_generated, device)

    counted = [cell for cell in regions if cell.z is not None]
    if not counted:
        raise Unavailable(
            f"none of the {cells} cells holds {min_generated} generated images and a held-out one: more images or "
            f"fewer cells are needed"
        )
    weights = np.array([cell.n_reference for cell in counted], dtype=np.float64)
    weights /= weights.sum()
    statistic = float(weights @ [cell.z for cell in counted])
    spread = _spread(searched, {role: len(each) for role, each in rows.items()}, seed)
    error = np.hypot(spread.error, _scatter_of_cells(rows, cells, min_generated, device, seed))
    estimate = normal_interval(statistic, replace(spread, error=float(error)), confidence)
    if any(cell.farther in (0.0, 1.0) for cell in counted):
        estimate = Estimate(statistic)  # the parts agree as well, and show no error
    share = sum(cell.n_generated for cell in counted) / len(rows["generated"])
    cautions = []
    if len(counted) < cells:
        cautions.append(
            Caution(
                "cells-left-out",
                f"{cells - len(counted)} of {cells} cells hold fewer than {min_generated} generated images or no "
                f"held-out image and do not count: C_T speaks of {share:.0%} of the generated images.",
            )
        )
    return CTResult(
        ct=estimate,
        pvalue=float(scipy.special.ndtr(statistic / np.sqrt(np.square(weights).sum()))),
        farther=float(weights @ [cell.farther for cell in counted]),
        share_generated_in_cells=share,
        n_generated=len(rows["generated"]),
        n_reference=len(rows["reference"]),
        n_train=len(rows["train"]),
        cells=tuple(regions),
        interval="none: in some cell all pairs of a generated and a held-out image agree"
        if estimate.lower is None
        else INTERVAL,
        cautions=tuple(cautions),
    )


def prepared(
    *,
    reference: Any,
    train: Any,
    cells: Count = 3,
    min_generated: Count = MIN_GENERATED,
    seed: int = 0,
    device: str = "cpu",
) -> Callable[[Any], dict[str, float]]:
    """The value alone as a function of generated rows, without the parts behind its interval; NaN where none counts."""
    fixed = {"train": as_rows(train, "train"), "reference": as_rows(reference, "reference")}
    means = _fit(fixed["train"], cells, seed)

    def value_of(generated: Any) -> dict[str, float]:
        rows = fixed | {"generated": as_rows(generated, "generated")}
        searched = _search(rows, means, min_generated, device)[1]
        if not searched:
            return {"ct": float("nan")}
        weights = np.array([len(each.inside["reference"]) for each in searched], float)
        return {"ct": float(weights @ [_score(*each.distances())[0] for each in searched] / weights.sum())}

    return value_of


def _search(
    rows: Mapping[str, RowsLike], means: Any, min_generated: int, device: str
) -> tuple[list[Region], list[_Searched]]:
    """Every cell of the fitted k-means, and the neighbours of those that count."""
    cells = len(means.cluster_centers_)
    labels = {
        role: np.concatenate([means.predict(block) for _, block in blocks(those, role)]) for role, those in rows.items()
    }
    regions: list[Region] = []
    searched: list[_Searched] = []
    for cell in range(cells):
        inside = {role: np.nonzero(labels[role] == cell)[0] for role in rows}
        n, m = len(inside["reference"]), len(inside["generated"])
        z = farther = None
        if m >= max(min_generated, 1) and n > 0 and len(inside["train"]) > 0:
            searched.append(_Searched(rows, inside, device))
            fake, held_out = searched[-1].distances()
            z, farther = _score(fake, held_out)
        regions.append(Region(len(inside["train"]), n, m, z, farther))
    return regions, searched


def _fit(train: RowsLike, cells: int, seed: int, starts: int = 10) -> Any:
    """k-means of the training images, the best of so many starts."""
    from sklearn.cluster import KMeans

    if len(train) > FIT_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(train), size=FIT_ROWS, replace=False))
        sample = np.asarray(train[chosen], dtype=np.float64)
    else:
        sample = np.concatenate([block for _, block in blocks(train, "train")])
    return KMeans(n_clusters=min(cells, _distinct(sample, cells)), n_init=starts, random_state=seed).fit(sample)


def _distinct(rows: np.ndarray, most: int) -> int:
    """How many different rows there are, counted up to `most`: k-means has no more cells."""
    if len(np.unique(rows[:, 0])) >= most:
        return most
    count = 0
    while len(rows) and count < most:
        rows = rows[(rows != rows[0]).any(axis=1)]
        count += 1
    return count


class _Searched:
    """A cell's images and their nearest training images in the cell."""

    def __init__(self, rows: Mapping[str, RowsLike], inside: dict[str, np.ndarray], device: str) -> None:
        self.inside = inside
        training = Chosen(rows["train"], inside["train"])
        self.neighbours = {
            role: nearest(
                Chosen(rows[role], inside[role]), training, k=min(LISTED, len(inside["train"])), device=device
            )
            for role in ("generated", "reference")
        }

    def distances(self, **kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of the generated and of the held-out images to the nearest training image; of the kept ones."""
        if not kept:
            return self.neighbours["generated"].distances[:, 0], self.neighbours["reference"].distances[:, 0]
        training = kept["train"][self.inside["train"]]
        fake, held_out = (
            np.take_along_axis(each.distances, kth_kept(each.indices, training, 1)[:, None], 1)[:, 0][
                kept[role][self.inside[role]]
            ]
            for role, each in self.neighbours.items()
        )
        return fake, held_out


def _spread(cells: list[_Searched], sizes: dict[str, int], seed: int) -> Spread:
    """The spread of C_T over new images of all three sets; C_T of a part is scaled up to all images."""

    def of_part(**kept: np.ndarray) -> dict[str, float]:
        pairs = [cell.distances(**kept) for cell in cells]
        pairs = [(fake, held_out) for fake, held_out in pairs if len(fake) and len(held_out)]
        weights = np.array([len(held_out) for _, held_out in pairs], float)
        share = np.mean([each.mean() for each in kept.values()])
        if not len(pairs):
            return {"ct": float("nan")}
        return {"ct": float(weights @ [_score(*pair)[0] for pair in pairs] / weights.sum() / np.sqrt(share))}

    return over_parts(of_part, sizes, halves=0, seed=seed)["ct"]


def _scatter_of_cells(rows: Mapping[str, RowsLike], cells: int, min_generated: int, device: str, seed: int) -> float:
    """The standard deviation of C_T over cells fitted to random halves of the training images.

    At most `JUDGED` images a role are judged. A Z grows with the square root of nm/(n + m), by which C_T of fewer
    images is scaled up.
    """
    rng = np.random.default_rng((seed, REFITS))
    size = {role: len(each) for role, each in rows.items()}
    fitted = max(min(size["train"], FIT_ROWS) // 2, cells)
    values = []
    for refit in range(REFITS):
        means = _fit(Chosen(rows["train"], _drawn(rng, size["train"], fitted)), cells, refit, starts=3)
        judged = {role: Chosen(each, _drawn(rng, size[role], JUDGED)) for role, each in rows.items()}
        n, m = len(judged["reference"]), len(judged["generated"])
        _, searched = _search(judged, means, max(1, round(min_generated * m / size["generated"])), device)
        if searched:
            weights = np.array([len(cell.inside["reference"]) for cell in searched], float)
            whole = size["reference"] * size["generated"] / (size["reference"] + size["generated"])
            mean = weights @ [_score(*cell.distances())[0] for cell in searched] / weights.sum()
            values.append(mean * np.sqrt(whole * (n + m) / (n * m)))
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _drawn(rng: np.random.Generator, size: int, most: int) -> np.ndarray:
    """The places of all, or of `most` drawn at random."""
    return np.arange(size) if size <= most else np.sort(rng.permutation(size)[:most])


def _score(made: np.ndarray, held_out: np.ndarray) -> tuple[float, float]:
    """A cell's Z, and P(made > held_out) + P(tie)/2 over all pairs."""
    m, n = len(made), len(held_out)
    farther = auroc(made, held_out)
    return float((farther - 0.5) * n * m / np.sqrt(n * m * (n + m + 1) / 12)), farther
