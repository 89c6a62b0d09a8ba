"""CLIPScore: how well images fit their prompts (Hessel et al. 2021).

    CLIPScore(image, prompt) = 100 max(cos(E_image, E_prompt), 0)

The scale is that of torchmetrics and of papers on text-to-image models, 0 to 100; the paper's own, with w = 2.5 in
place of 100, is a fortieth of it. N images, E dimensions of the embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genaudit.metrics.result import Caution, Estimate, Unavailable, per_image, value
from genaudit.stats.estimate import bootstrap_mean

SCALE = 100.0
OF_PAPER = 2.5


@dataclass(frozen=True, kw_only=True)
class ClipScoreResult:
    """100 times the cosine of CLIP's embeddings of image and prompt, or 0, mean over images; higher is better.

    `shuffled` is the mean with the prompt of another image: what a set reaches that ignores its prompts.
    """

    explanation: ClassVar[str] = (
        "How well each image fits its prompt, as CLIP sees it (100 times a cosine); blind to what CLIP misses, "
        "such as counts and positions."
    )
    citation: ClassVar[str] = (
        "Hessel, Holtzman, Forbes, Le Bras, Choi. CLIPScore: a reference-free evaluation metric for image captioning. "
        "EMNLP 2021."
    )
    unbiased: ClassVar[bool] = True
    clip_score: Estimate = value("higher", label="100 x cosine, mean over images", range=(0.0, 100.0))
    shuffled: float | None
    on_the_papers_scale: float
    n_generated: int
    interval: str = "over new images with new prompts: percentile bootstrap"
    clip_score_of_image: np.ndarray | None = per_image(
        name="clip_score", gallery=("Fit their prompts best", "Fit their prompts least")
    )
    cautions: tuple[Caution, ...] = ()


def clip_score(images: Any, prompts: Any) -> np.ndarray:
    """CLIPScore of each image with its prompt, Hessel et al. 2021, Eq. 1 with w = 100.

    Args:
        images: embeddings (N, E), of any length. prompts: embeddings (N, E).

    Returns:
        (N,) in [0, 100], higher is better.

    Raises:
        ValueError: shapes that differ.

    >>> clip_score([[2.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [-1.0, 0.0]]).round(2).tolist()
    [70.71, 0.0]
    """
    x, y = np.asarray(images, np.float64), np.asarray(prompts, np.float64)
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"images and prompts must have embeddings of one shape (N, E), not {x.shape} and {y.shape}")
    cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    return np.asarray(SCALE * np.maximum(cosines, 0.0))


def judge(*, generated: Any, reference: Any = None, confidence: float = 0.95, seed: int = 0) -> ClipScoreResult:
    """The mean CLIPScore of generated images, and of each.

    Args:
        generated: rows (N, 2E + 1): the image's embedding, the prompt's, 1 where the prompt was cut.
        reference: the same of real images with prompts of their own, which stand beside as the real floor; unused here.
        confidence: of the interval, in (0, 1). seed: of the bootstrap and of the shuffled prompts.

    Raises:
        Unavailable: no image.
    """
    rows = np.asarray(generated[:], np.float64)
    if not len(rows):
        raise Unavailable("there is no image with a prompt")
    seen, read = np.split(rows[:, :-1], 2, axis=1)
    scores, cut = clip_score(seen, read), int(rows[:, -1].sum())
    cautions = []
    if cut:
        message = f"{cut:,} of {len(rows):,} prompts are longer than CLIP reads; their ends have no part in the score."
        cautions.append(Caution("prompts-cut", message))
    return ClipScoreResult(
        clip_score=bootstrap_mean(scores, confidence=confidence, seed=seed),
        shuffled=_shuffled(seen, read, seed),
        on_the_papers_scale=float(scores.mean()) * OF_PAPER / SCALE,
        n_generated=len(rows),
        clip_score_of_image=scores,
        cautions=tuple(cautions),
    )


def _shuffled(seen: np.ndarray, read: np.ndarray, seed: int) -> float | None:
    """The mean score with prompts of other images: each one's successor in a random circle; None for one image."""
    if len(seen) < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(seen))
    return float(clip_score(seen[order], read[np.roll(order, 1)]).mean())
