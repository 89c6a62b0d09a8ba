"""PIAD as a metric: how anomalous images look to a detector that was trained on real images.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection": the score of an image is its distance to its
reconstruction in the features of a perceptual network; with out-of-distribution images, the area under the ROC curve.

N images, m side of the map, S side of the reconstruction, D = 2 + m² + S² numbers a row of `genaudit.measures.piad`:
score, m, the map (which sums to the score), the reconstruction's pixels as red + 256·green + 65536·blue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import SHARE, Caution, Curve, Estimate, PictureRow, Pictures, RoleImage, per_image, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks
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
    shown: Natural = 5,
    confidence: float = 0.95,
    seed: int = 0,
) -> PIADResult:
    """Scores of generated images next to those of real ones; how well anomalies are distinguished from normal images.

    Args:
        generated: rows (N, D) of `genaudit.measures.piad`.
        reference: rows of real images that the detector was not trained on, or None; they are the normal images of
            `auroc`, which otherwise are the generated ones.
        anomalies: rows of out-of-distribution images, or None.
        shown: how many of the least and of the most anomalous images are shown beside their reconstruction.
        confidence, seed: of the bootstrap intervals.

    Raises:
        ValueError: rows of another kind.
    """
    by_role = {"generated": generated, "reference": reference, "anomalies": anomalies}
    rows = {role: as_rows(each, role) for role, each in by_role.items() if each is not None}
    scores = {role: _scores(each, role) for role, each in rows.items()}
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
            pictures(rows[role], scores[role], role, shown) for role in ("generated", "anomalies") if role in rows
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


def pictures(rows: RowsLike, scores: np.ndarray, role: str, shown: int = 5) -> Pictures:
    """The least and the most anomalous images beside their reconstruction and where the score lies (Figures 4 and 5).

    Args:
        rows: (N, D). scores: (N,). role: whose images they are. shown: how many of either end.
    """
    order = np.argsort(scores, kind="stable")
    shown = min(shown, len(order) // 2)
    ends = {"least anomalous": order[: max(shown, 1)], "most anomalous": order[len(order) - shown :][::-1]}
    unpacked = {int(i): _unpack(rows[int(i)]) for chosen in ends.values() for i in chosen}
    brightest = max(float(part.max()) for part, _ in unpacked.values())
    lines = [
        PictureRow(
            f"{end}, {scores[i]:.3g}",
            (RoleImage(role, int(i)), unpacked[int(i)][1], heat(unpacked[int(i)][0], brightest)),
        )
        for end, chosen in ends.items()
        for i in chosen
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


def _scores(rows: RowsLike, role: str) -> np.ndarray:
    """(N,) float64; the rest of a row is not kept."""
    side = int(np.asarray(rows[0])[1]) if rows.shape[1] > 2 else 0
    if side < 1 or math.isqrt(rows.shape[1] - 2 - side**2) ** 2 != rows.shape[1] - 2 - side**2:
        raise ValueError(f"{role}: these are not rows of genaudit.measures.piad")
    return np.concatenate([block[:, 0] for _, block in blocks(rows, role, size=1024, dtype=np.float32)]).astype(float)


def _unpack(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A row (D,) => its map (m, m) and its reconstruction (S, S, 3) uint8."""
    side = int(row[1])
    packed = row[2 + side**2 :].astype(np.uint32)
    size = math.isqrt(len(packed))
    colours = np.stack([packed & 255, packed >> 8 & 255, packed >> 16], axis=-1).astype(np.uint8)
    return row[2 : 2 + side**2].reshape(side, side), colours.reshape(size, size, 3)


def _shares(scores: dict[str, np.ndarray]) -> Curve:
    """The share of each role's images that score at most x."""
    together = np.concatenate(list(scores.values()))
    x = np.linspace(together.min(), np.quantile(together, 0.995), GRID)
    lines = {role: np.searchsorted(np.sort(each), x, side="right") / len(each) for role, each in scores.items()}
    return Curve("Anomaly scores", "score", "share of images with at most this score", x, lines)
