"""The image retrieval score: how many training images a generative model's samples reach.

Dombrowski, Zhang, Cechnicka, Reynaud, Kainz: Image Generation Diversity Issues and How to Tame Them, CVPR 2025. Every
generated image retrieves its nearest training image; n samples reach k different ones. With uniform draws k follows
the occupancy law of the number s of images that the model can produce, so that k estimates s:

    IRS_alpha = k / N (Eq. 2),    IRS_inf = s_mle / N,    IRS_inf,a = s_mle(generated) / s_mle(held-out real images).

The last is adjusted for the measurement gap: retrieval in feature space is not perfect, and real images that were not
trained on do not reach every training image either.

Draws are seldom uniform: in many dimensions some training images are everyone's neighbours (hubs), and real images
retrieve unevenly too. Then k is smaller than the law expects, s_mle grows with n and lies below the support: IRS_inf is
a lower bound. What needs no law stands first: `irs_relative`, the number of different training images retrieved,
relative to equally many held-out real images, by rarefaction.

N training images, each content once, n generated, D features, c_i how often training image i is retrieved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from genaudit.metrics.irs_cautions import cautions_of_law
from genaudit.metrics.measurement_gap import GAP_FIELDS, measurement_gap
from genaudit.metrics.result import SHARE, Caution, Curve, Estimate, Retrieval, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows
from genaudit.stats.bounds import Probability, Repeats, positive_int
from genaudit.stats.chosen import Chosen
from genaudit.stats.copies import copy_distance, mean_row, same_rows
from genaudit.stats.evenness import bias_pvalue, uniform_pvalue
from genaudit.stats.neighbours import NeighbourIndex, nearest
from genaudit.stats.occupancy import estimate_support, expected_distinct, likely_support, quantiles
from genaudit.stats.rarefaction import chao1, counts_of, rarefied, relative_distinct, sample_coverage

IDEAL = "ideal: every training image"
CURVE_POINTS = 32


@dataclass(frozen=True, kw_only=True)
class IRS:
    """How much of the training set the samples reach, and how much endless sampling would.

    `irs_relative` is the number of different training images that the samples retrieve, relative to equally many
    held-out real images, both rarefied to the smaller number (1: as diverse as real images; it may exceed 1), None
    without a reference; its interval is over both sets of images. `irs_alpha` is n_learned / n_train at the sampling
    rate n_sampled / n_train. `irs_inf` is the estimated share of the training set that the model can produce if it
    draws evenly, its ends one-sided bounds at level alpha each, all within [0, 1]. Where even draws are rejected
    (`irs_inf_is` "lower_bound" in place of "estimate") it lies below the truth, its lower bound still holds, and there
    is no upper one. `irs_chao1` is Chao's estimate of the same share, made for uneven draws: it lies below the truth
    too, on average, but less. `sample_coverage` is the estimated share of the model's draws that fall on images already
    retrieved. `irs_inf_reference` is `irs_inf` of as many held-out real images, `irs_inf_adjusted` their ratio;
    both are means over folds when the sets differ in size. `n_train` counts each content once. `nearest` (n_sampled,)
    are the retrieved rows of the set in `retrieval.role`.

    `law_pvalue` (and `law_pvalue_reference`, of the real images) is small where some images are retrieved more often
    than the uniform law allows given n_sampled and n_learned; `bias_pvalue` where the samples are more uneven than
    held-out real images.
    """

    explanation: ClassVar[str] = (
        "How many different training images the samples retrieve, against as many held-out real images, and which "
        "share they could reach; falls with mode collapse, blind to quality."
    )
    citation: ClassVar[str] = "Dombrowski et al., Image Generation Diversity Issues and How to Tame Them, CVPR 2025"

    n_train: int
    n_sampled: int
    n_learned: int
    irs_relative: Estimate | None = value(
        "higher", label="different training images, relative to as many held-out real images"
    )
    irs_alpha: float = value("higher", label="retrieved share at this number of samples", range=SHARE)
    irs_inf: Estimate = value(
        "higher", label="estimated share with endless samples, if the model draws evenly", range=SHARE
    )
    irs_inf_is: Literal["estimate", "lower_bound"]
    irs_chao1: Estimate = value("higher", label="the same for uneven draws (Chao's lower bound)", range=SHARE)
    sample_coverage: float
    irs_inf_reference: Estimate | None = value("none", label="the same for real held-out images", range=SHARE)
    irs_inf_adjusted: Estimate | None = value("higher", label="relative to real held-out images")
    nearest: np.ndarray
    sampling_rate: float
    alpha: float
    n_compared: int | None
    folds: int | None
    irs_inf_reference_std: float | None
    irs_inf_adjusted_std: float | None
    law_pvalue: float
    law_pvalue_reference: float | None
    bias_pvalue: float | None
    retrieval: Retrieval
    curve: Curve
    cautions: tuple[Caution, ...]

    @property
    def irs_inf_lower(self) -> float | None:
        """The lower end of `irs_inf`."""
        return self.irs_inf.lower

    @property
    def irs_inf_upper(self) -> float | None:
        """The upper end of `irs_inf`; None where even draws are rejected."""
        return self.irs_inf.upper


def irs(
    train: Any,
    reference: Any,
    generated: Any,
    *,
    alpha: float = 0.05,
    folds: int = 5,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> IRS:
    """The image retrieval score of `generated` against `train`, adjusted by `reference`; higher is more diverse.

    Departures from the authors' code: the occupancy law is exact instead of approximate, all folds are reported instead
    of the last, and the estimate is capped at N and flagged where no duplicate bounds it.

    Args:
        train: rows (N, D) that the model learned from; None splits `reference` in two seeded halves, one as `train`.
        reference: rows (M, D) of held-out real images; None leaves the adjusted score out.
        generated: rows (n, D). All may lie on disk: only indices and distances are held.
        alpha: level of each bound of `irs_inf` and of the adjusted score (alpha_e), in (0, 0.5).
        folds: seeded subsamples of the larger of `generated` and `reference`, to compare equally many.
        metric: "euclidean" or "cosine", for the retrieval.
        confidence: share of the acceptance band in the curve.
        seed: of the split, the folds and the simulated p-values.
        device: where the matrix products run.

    Raises:
        ValueError: neither `train` nor `reference`, wrong shapes, or a value that is not finite.
    """
    cautions: list[Caution] = []
    positive_int("folds", folds)
    generated = as_rows(generated, "generated")
    dims = generated.shape[1]
    reference = None if reference is None else as_rows(reference, "reference", columns=dims)
    role, origin = "train", None
    if train is not None:
        train = as_rows(train, "train", columns=dims)
    elif reference is None:
        raise ValueError("irs needs train, or reference to split in two halves")
    elif reference.shape[0] < 2:
        raise ValueError("irs without train splits reference in two halves, which needs 2 rows or more")
    else:
        shuffled = np.random.default_rng((seed, 0)).permutation(reference.shape[0])
        # A copy in the other half would be retrieved at once.
        shuffled = shuffled[same_rows(reference)[shuffled] == shuffled]
        origin, held_out = (np.sort(half) for half in np.array_split(shuffled, 2))
        role, train, reference = "reference", Chosen(reference, origin), Chosen(reference, held_out)
        cautions.append(
            Caution(
                "train-from-reference",
                f"No training set was given: {len(origin)} of the {len(shuffled)} reference images stand in for it and "
                "the other half for held-out images, so that the score says how much of the reference is covered.",
            )
        )

    first = same_rows(train)
    n_train, n = int((first == np.arange(len(first))).sum()), generated.shape[0]
    if n_train < len(first):
        message = f"{len(first) - n_train} of the {len(first)} training images are copies of others: each counts once."
        cautions.append(Caution("duplicates", message))
    neighbours = nearest(generated, train, metric=metric, device=device)
    retrieved = first[neighbours.indices[:, 0]]
    counts = counts_of(retrieved)
    support = estimate_support(len(counts), n, alpha=alpha, upper=n_train)
    irs_inf = support.map(lambda images: images / n_train)
    law = uniform_pvalue(counts, seed=seed)
    gap: dict[str, Any] = dict.fromkeys(GAP_FIELDS)
    relative: Estimate | None = None
    real_counts = law_reference = bias = held_out_median = None
    if reference is not None:
        nearest_real = nearest(reference, train, metric=metric, device=device)
        real = first[nearest_real.indices[:, 0]]
        held_out_median = float(np.median(nearest_real.distances[:, 0]))
        if copies := _copies_of_train(reference, nearest_real.distances[:, 0], train, metric):
            message = (
                f"{copies} of the {reference.shape[0]} reference images are training images and not held out: they "
            )
            message += "retrieve themselves, so that a perfect model looks less diverse than they do."
            cautions.append(Caution("same-images", message))
        real_counts = counts_of(real)
        gap = measurement_gap(retrieved, real, n_train, alpha, folds, seed)
        relative = relative_distinct(retrieved, real, n_train, confidence=1 - 2 * alpha)
        law_reference = uniform_pvalue(real_counts, seed=seed)
        bias = bias_pvalue(retrieved, real, seed=seed)
    even = min(law, 1.0 if law_reference is None else law_reference) >= alpha
    if not even:
        irs_inf = Estimate(irs_inf, irs_inf.lower)
        if reference is not None:
            gap["irs_inf_adjusted"] = Estimate(gap["irs_inf_adjusted"])
            gap["irs_inf_reference"] = Estimate(gap["irs_inf_reference"], gap["irs_inf_reference"].lower)
    cautions += cautions_of_law(n, len(counts), law, law_reference, bias, alpha)
    return IRS(
        n_train=n_train,
        n_sampled=n,
        n_learned=len(counts),
        irs_relative=relative,
        irs_alpha=len(counts) / n_train,
        irs_inf=irs_inf,
        irs_inf_is="estimate" if even else "lower_bound",
        irs_chao1=chao1(counts, confidence=1 - 2 * alpha).map(lambda images: min(1.0, images / n_train)),
        sample_coverage=sample_coverage(counts),
        nearest=retrieved if origin is None else origin[retrieved],
        sampling_rate=n / n_train,
        alpha=alpha,
        law_pvalue=law,
        law_pvalue_reference=law_reference,
        bias_pvalue=bias,
        retrieval=Retrieval(
            role, retrieved if origin is None else origin[retrieved], neighbours.distances[:, 0], held_out_median
        ),
        curve=_curve(counts, n_train, support.value, confidence if even else None, real_counts),
        cautions=tuple(cautions),
        **gap,
    )


def _copies_of_train(
    reference: RowsLike, distances: np.ndarray, train: RowsLike, metric: Literal["euclidean", "cosine"]
) -> int:
    """How many reference images are training images, by features that coincide."""
    allowed = copy_distance(reference, mean_row(train), metric)
    return int((distances <= allowed).sum())


def judge(
    *,
    generated: Any,
    train: Any = None,
    reference: Any = None,
    alpha: Probability | None = None,
    folds: Repeats = 5,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> IRS:
    """`irs` as the reports call it: alpha None is (1 - confidence)/2, so that each interval has the report's level.

    Raises:
        Unavailable: neither `train` nor enough of `reference` to stand in for it.
    """
    if train is None and (reference is None or reference.shape[0] < 2):
        raise Unavailable("needs train=... (the training images), or reference=... to stand in for them")
    return irs(
        train,
        reference,
        generated,
        alpha=(1 - confidence) / 2 if alpha is None else alpha,
        folds=folds,
        metric=metric,
        confidence=confidence,
        seed=seed,
        device=device,
    )


def prepared(
    *,
    train: Any = None,
    reference: Any = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    seed: int = 0,
    device: str = "cpu",
    support: bool = True,
) -> Callable[[Any], dict[str, float]]:
    """The values without intervals and tests as a function of generated rows, with what is retrieved from found once.

    `irs_relative` only where a reference is given; `support=False` leaves out the estimates of the support.

    Raises:
        Unavailable: as `judge`.
    """
    if train is None:
        if reference is None or reference.shape[0] < 2:
            raise Unavailable("needs train=... (the training images), or reference=... to stand in for them")
        order = np.random.default_rng((seed, 0)).permutation(len(reference))
        order = order[same_rows(reference)[order] == order]
        train, reference = (Chosen(reference, np.sort(half)) for half in np.array_split(order, 2))
    first, index = same_rows(train), NeighbourIndex(train, metric=metric, device=device)
    n_train = int((first == np.arange(len(first))).sum())

    def retrieved(rows: Any) -> np.ndarray:
        return counts_of(first[index.nearest(rows).indices[:, 0]])

    real = None if reference is None else retrieved(reference)

    def values_of(generated: Any) -> dict[str, float]:
        counts = retrieved(generated)
        n = int(counts.sum())
        values = {"irs_alpha": len(counts) / n_train}
        if support:
            values["irs_inf"] = likely_support(len(counts), n, upper=n_train) / n_train
            values["irs_chao1"] = min(1.0, chao1(counts).value / n_train)
        if real is not None:
            size = min(n, int(real.sum()))
            values["irs_relative"] = float(rarefied(counts, [size])[0] / rarefied(real, [size])[0])
        return values

    return values_of


def _curve(
    counts: np.ndarray, n_train: int, support: float, confidence: float | None, real: np.ndarray | None
) -> Curve:
    """Learned images against samples drawn, in random order; the band is the law at the estimate, if it fits."""
    n = int(counts.sum())
    x = np.unique(np.linspace(1, n, CURVE_POINTS).round().astype(int))
    lines = {"generated": rarefied(counts, x)}
    if real is not None:
        total = int(real.sum())
        lines["held-out real"] = np.where(x <= total, rarefied(real, np.minimum(x, total)), np.nan)
    lines[IDEAL] = np.asarray(expected_distinct(x, n_train))
    axes = ("Learned images", "samples drawn", "distinct training images")
    if confidence is None or not np.isfinite(support):
        return Curve(*axes, x, lines, guides=(IDEAL,))
    miss, s = (1 - confidence) / 2, int(support)
    low, high = np.array([quantiles(int(m), s, [miss, 1 - miss]) for m in x]).T
    label = f"{confidence:.0%} of uniform draws from {s:,} images"
    return Curve(*axes, x, lines, (low, high), label, guides=(IDEAL,))
