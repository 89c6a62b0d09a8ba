"""PIAD as a metric: how anomalous images look to a detector that was trained on real images.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection": the score of an image is its distance to its
reconstruction in the features of a perceptual network; with out-of-distribution images, the area under the ROC curve.

N images, m side of the map, S side and C channels of the reconstruction. A row of `genaudit.measures.piad` is the
score; beside it are the map (m, m), which sums to the score, and the reconstruction (S, S, C) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import SHARE, Caution, Curve, Estimate, PictureRow, Pictures, RoleImage, per_image, value
from genaudit.stats.arrays import as_rows, blocks
from genaudit.stats.auroc import auroc, auroc_interval
from genaudit.stats.bounds import Natural
from genaudit.stats.estimate import bootstrap_mean

GRID = 200  # points of a drawn curve
FRACTION = 8  # a heat map is drawn at least so many pixels a cell wide


@dataclass(frozen=True, kw_only=True)
class PIADResult:
    """Mean anomaly score of the generated images, 0 and up, lower is better; blurred and simple images score low too.

    Attributes:
        auroc: probability that an anomaly scores above a normal image (`normal` says which those are), ties counting
            half; None without anomalies.
        piad_mean_reference: the mean score of reference images, what real images reach; None without them.
        generated_above_reference: probability that a generated image scores above a reference image; 0.5 where
            they score alike.
    """

    explanation: ClassVar[str] = (
        "Perceptual reconstruction error of an anomaly detector trained on real images; high where an image looks "
        "unlike them."
    )
    citation: ClassVar[str] = (
        "Tuluptceva, Bakker, Fedulova, Konushin. Perceptual Image Anomaly Detection. ACPR 2019. arXiv:1909.05904."
    )
    piad_mean: Estimate = value("lower", label="mean over images")
    auroc: Estimate | None = value("higher", label="anomalies above normal images", range=SHARE, default=None)
    piad_mean_reference: float | None = None
    generated_above_reference: float | None = None
    normal: str | None = None
    interval: str = "over new images of every set in these numbers, the detector held fixed: percentile bootstrap"
    piad: np.ndarray | None = per_image(gallery=("Most anomalous", "Least anomalous"))
    scores: Curve
    pictures: tuple[Pictures, ...] = ()
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Any,
    reference: Any = None,
    anomalies: Any = None,
    attachments: Mapping[str, Mapping[str, Any]] | None = None,
    shown: Natural = 5,
    confidence: float = 0.95,
    seed: int = 0,
) -> PIADResult:
    """Scores of generated images next to those of real ones; how well anomalies are distinguished from normal images.

    Args:
        generated: rows (N, 1) of `genaudit.measures.piad`.
        reference: rows of real images that the detector was not trained on, or None; they are the normal images of
            `auroc`, which otherwise are the generated ones.
        anomalies: rows of out-of-distribution images, or None.
        attachments: by role, `map` (N, m, m) and `reconstruction` (N, S, S, C), of which only those that are shown are
            read; without them no pictures are shown.
        shown: how many of the least and of the most anomalous images are shown beside their reconstruction.
        confidence, seed: of the bootstrap intervals.

    Raises:
        ValueError: rows of another kind.
    """
    by_role = {"generated": generated, "reference": reference, "anomalies": anomalies}
    scores = {role: _scores(each, role) for role, each in by_role.items() if each is not None}
    mean = bootstrap_mean(scores["generated"], confidence=confidence, seed=seed)
    normal: str | None = None
    area: Estimate | None = None
    cautions: list[Caution] = []
    if anomalies is not None:
        normal = "reference" if reference is not None else "generated"
        area = auroc_interval(scores["anomalies"], scores[normal], confidence=confidence, seed=seed)
        if area.upper is not None and area.upper < 0.5:
            cautions.append(Caution("anomalies-score-lower", _LOWER.format(normal=normal)))
    mean_reference = above = None
    if reference is not None:
        real = bootstrap_mean(scores["reference"], confidence=confidence, seed=seed)
        mean_reference = real.value
        above = auroc(scores["generated"], scores["reference"])
        if mean.upper is not None and real.lower is not None and mean.upper < real.lower:
            cautions.append(Caution("easier-than-real", _EASIER))
    return PIADResult(
        piad_mean=mean,
        auroc=area,
        piad_mean_reference=mean_reference,
        generated_above_reference=above,
        normal=normal,
        piad=scores["generated"],
        scores=_shares(scores),
        pictures=tuple(
            pictures(attachments[role], scores[role], role, shown)
            for role in ("generated", "anomalies")
            if role in scores and attachments and role in attachments
        ),
        cautions=tuple(cautions),
    )


_LOWER = (
    "Anomalies score below the {normal} images. The detector reconstructs them better than what it knows, as happens "
    "where they are simpler or smoother: this score does not find such anomalies."
)
_EASIER = (
    "Generated images score below real ones: they are easier to reconstruct. Blurred or simplified images are, so a "
    "low piad_mean alone does not show quality; look at the least anomalous ones."
)


def pictures(attachments: Mapping[str, Any], scores: np.ndarray, role: str, shown: int = 5) -> Pictures:
    """The least and the most anomalous images beside their reconstruction and where the score lies (Figures 4 and 5).

    Args:
        attachments: `map` and `reconstruction`. scores: (N,). role: whose images they are.
        shown: how many of either end.
    """
    order = np.argsort(scores, kind="stable")
    shown = min(shown, len(order) // 2)
    ends = {"least anomalous": order[: max(shown, 1)], "most anomalous": order[len(order) - shown :][::-1]}
    every = np.concatenate(list(ends.values()))
    maps, made = (np.asarray(attachments[name][every]) for name in ("map", "reconstruction"))
    made = made.repeat(3 // made.shape[3], axis=3)
    captions = [f"{end}, {scores[i]:.3g}" for end, chosen in ends.items() for i in chosen]
    lines = [
        PictureRow(caption, (RoleImage(role, int(i)), picture, heat(shares, float(maps.max()))))
        for caption, i, picture, shares in zip(captions, every, made, maps, strict=True)
    ]
    return Pictures(
        f"Least and most anomalous images: {role}",
        ("image", "reconstruction", "where the score lies"),
        tuple(lines),
        note="The brightest place of all maps here is white; the parts of a map add up to the image's score.",
    )


def heat(shares: np.ndarray, brightest: float) -> np.ndarray:
    """A map (m, m) from 0 (black) over red and yellow to `brightest` (white), enlarged smoothly; uint8 (H, W, 3)."""
    factor = max(FRACTION, 64 // len(shares)) if len(shares) < 64 else 1
    level = scipy.ndimage.zoom(shares / (brightest or 1.0), factor, order=1, mode="nearest", grid_mode=True)
    colour = np.stack([3 * level, 3 * level - 1, 3 * level - 2], axis=-1).clip(0, 1)
    return np.rint(255 * colour).astype(np.uint8)


def _scores(given: Any, role: str) -> np.ndarray:
    """Rows (N, 1) => (N,) float64."""
    rows = as_rows(given, role)
    if rows.shape[1] != 1:
        raise ValueError(f"{role}: rows of genaudit.measures.piad hold one score, these {rows.shape[1]:,} numbers")
    return np.concatenate([block[:, 0] for _, block in blocks(rows, role, dtype=np.float32)]).astype(float)


def _shares(scores: dict[str, np.ndarray]) -> Curve:
    """The share of each role's images that score at most x."""
    together = np.concatenate(list(scores.values()))
    x = np.linspace(together.min(), np.quantile(together, 0.995), GRID)
    lines = {role: np.searchsorted(np.sort(each), x, side="right") / len(each) for role, each in scores.items()}
    return Curve("Anomaly scores", "score", "share of images with at most this score", x, lines)
