"""Inception Score: are classes predicted surely for each image, and evenly over images? (Salimans et al. 2016)

    IS = exp( mean_i KL(p_i || q) ),   p_i = softmax(logits_i),   q = mean_i p_i

As usual the images are shuffled and cut into ten splits, and the mean over the splits' scores is told; beside it the
score of all images at once. No real image enters: a set with one perfect image a class has the highest score, whatever
it leaves out, and classes that the classifier does not know count for nothing (Barratt & Sharma 2018).
N images, C classes, S splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import Caution, Estimate, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks
from genaudit.stats.bounds import Count, Seed, positive_int

SHUFFLE_SEED = 2020  # torch-fidelity's: equal logits in equal order have equal scores


@dataclass(frozen=True, kw_only=True)
class InceptionScoreResult:
    """Sureness and evenness of predicted classes, from 1 to the number of classes, higher is better.

    It grows with the images of a split: compare sets of equally many. `splits_deviation` is what papers write after ±.
    """

    explanation: ClassVar[str] = (
        "Whether a classifier is sure of each sample and finds all classes; no real image enters, blind to variety "
        "within classes and to memorisation."
    )
    citation: ClassVar[str] = (
        "Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen. Improved techniques for training GANs. NeurIPS 2016."
    )
    inception_score: Estimate = value("higher", label="mean over splits")
    inception_score_unsplit: Estimate = value("higher", label="all samples at once")
    splits: int
    splits_deviation: float
    classes: int
    n_generated: int
    interval: str = (
        "over new generated images in this number: Student's over the splits; delta method on the logarithm for the "
        "unsplit score"
    )
    cautions: tuple[Caution, ...] = ()


def inception_score(logits: Any, *, splits: int = 1, shuffle_seed: int | None = None) -> float:
    """Inception Score of class logits, Salimans et al. 2016; the mean over the splits where there are several.

    Args:
        logits: (N, C), NumPy array, torch tensor or rows on disk.
        splits: parts of as equal sizes as can be, 1 <= splits <= N.
        shuffle_seed: the images are shuffled before they are split, as `numpy.random.RandomState` does; None: not.

    Returns:
        the score in [1, C], higher is better: 1 where all images have the same prediction, C where each is sure of a
        class and all classes are predicted equally often.

    Raises:
        ValueError: a wrong shape, a value that is not finite, or splits out of range.

    >>> inception_score([[100.0, 0.0], [0.0, 100.0]])
    2.0
    """
    rows = as_rows(logits, "logits")
    return float(np.mean(_scores(rows, "logits", _split_of(len(rows), splits, shuffle_seed), splits)[0]))


def judge(
    *,
    generated: Any,
    splits: Count | None = 10,
    split_size: Count | None = None,
    shuffle_seed: Seed | None = SHUFFLE_SEED,
    confidence: float = 0.95,
) -> InceptionScoreResult:
    """Inception Score of generated images from their class logits, split and unsplit.

    The interval of the mean over splits is Student's. That of the unsplit score is the delta method's on its logarithm,
    whose influence function is KL(p_i || q); it says how the score would vary over new images in the same number.

    Args:
        generated: logits (N, C).
        splits: parts whose scores are averaged; 10 is usual. None: `split_size` says how many.
        split_size: images a part, the last of which holds what is left; ADM takes 5,000. None: `splits` says it.
        shuffle_seed: of the shuffle before the split; 2020 is torch-fidelity's; None splits in order, as ADM does.
        confidence: of the intervals, in (0, 1).

    Raises:
        Unavailable: fewer than two images a split.
        ValueError: both or neither of `splits` and `split_size`.
    """
    rows = as_rows(generated, "generated")
    n, classes = rows.shape
    splits = _number_of_splits(n, splits, split_size)
    if n < 2 * splits:
        raise Unavailable(f"{splits} splits need at least {2 * splits} images, not {n}; fewer splits need fewer")
    scores, _ = _scores(rows, "generated", _split_of(n, splits, shuffle_seed, split_size), splits)
    whole, marginals = _scores(rows, "generated", np.zeros(n, np.int64), 1)
    mean, unsplit, half = float(scores.mean()), float(whole[0]), None
    if splits > 1:
        half = float(scipy.special.stdtrit(splits - 1, 0.5 + confidence / 2) * scores.std(ddof=1) / np.sqrt(splits))
    error_of_log = float(_divergences(rows, marginals[0]).std(ddof=1)) / np.sqrt(n)
    factor = float(np.exp(scipy.special.ndtri(0.5 + confidence / 2) * error_of_log))
    cautions = []
    if n // splits < classes:
        cautions.append(
            Caution(
                "fewer-images-than-classes",
                f"A split holds {n // splits} images for {classes} classes, so that few classes can be predicted and "
                f"the score is far below what more images would give: compare it only with scores of equally many.",
            )
        )
    return InceptionScoreResult(
        inception_score=Estimate(mean)
        if half is None
        else Estimate(mean, max(mean - half, 1.0), min(mean + half, float(classes))),
        inception_score_unsplit=Estimate(unsplit, max(unsplit / factor, 1.0), min(unsplit * factor, float(classes))),
        splits=splits,
        splits_deviation=float(scores.std()),
        classes=classes,
        n_generated=n,
        cautions=tuple(cautions),
    )


def _number_of_splits(n: int, splits: int | None, split_size: int | None) -> int:
    if (splits is None) == (split_size is None):
        raise ValueError(f"one of splits and split_size must be null, got {splits} and {split_size}")
    return positive_int("splits", splits) if split_size is None else -(-n // positive_int("split_size", split_size))


def _split_of(n: int, splits: int, shuffle_seed: int | None, split_size: int | None = None) -> np.ndarray:
    """The split of every image (N,): splits of as equal sizes as can be, or of `split_size` but for the last."""
    if not 1 <= splits <= n:
        raise ValueError(f"splits must be between 1 and the {n} images there are, not {splits}")
    order = np.arange(n) if shuffle_seed is None else np.random.RandomState(shuffle_seed).permutation(n)
    ends = np.arange(1, splits + 1) * (n if split_size is None else splits * split_size) // splits
    split_of = np.empty(n, np.int64)
    split_of[order] = np.searchsorted(ends, np.arange(n), side="right")
    return split_of


def _scores(rows: RowsLike, name: str, split_of: np.ndarray, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Each split's score (S,) and mean prediction q (S, C); the logits are read once, in blocks.

    mean_i KL(p_i || q) is the mean of sum p log p minus sum q log q.
    """
    counts = np.bincount(split_of, minlength=splits)
    marginals, negative_entropy = np.zeros((splits, rows.shape[1])), np.zeros(splits)
    for start, block in blocks(rows, name):
        log_p = scipy.special.log_softmax(block, axis=1)
        p = np.exp(log_p)
        own = split_of[start : start + len(block)]
        negative_entropy += np.bincount(own, weights=np.einsum("ij,ij->i", p, log_p), minlength=splits)
        for split in np.unique(own):
            marginals[split] += p[own == split].sum(axis=0)
    marginals /= counts[:, None]
    return np.exp(negative_entropy / counts + scipy.special.entr(marginals).sum(axis=1)), marginals


def _divergences(rows: RowsLike, q: np.ndarray) -> np.ndarray:
    """KL(p_i || q) of every image (N,)."""
    log_q = np.log(np.maximum(q, np.finfo(np.float64).tiny))
    divergences = []
    for _, block in blocks(rows, "generated"):
        log_p = scipy.special.log_softmax(block, axis=1)
        divergences.append(np.einsum("ij,ij->i", np.exp(log_p), log_p - log_q))
    return np.concatenate(divergences)
