"""CLIPScore: its definition, scale and what a set reaches that ignores its prompts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from genaudit.metrics.clip_score import clip_score, judge


def embeddings(n: int, seed: int, dimensions: int = 12) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, dimensions))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_score_is_a_hundred_times_the_cosine_and_never_negative() -> None:
    x, y = embeddings(30, 0), embeddings(30, 1)
    theirs = cosine_similarity(x, y).diagonal()
    assert clip_score(x, y) == pytest.approx(100 * np.maximum(theirs, 0), rel=1e-12, abs=1e-12)
    assert clip_score(3 * x, 0.1 * y) == pytest.approx(clip_score(x, y))  # of any length
    assert clip_score(x, x) == pytest.approx(np.full(30, 100.0))
    with pytest.raises(ValueError, match="one shape"):
        clip_score(x, y[1:])


def test_a_set_that_ignores_its_prompts_scores_as_the_shuffled_one() -> None:
    prompts = embeddings(400, 2)
    fitting = prompts + 0.3 * embeddings(400, 3)
    rows = lambda seen: np.column_stack([seen, prompts, np.zeros(400)])  # noqa: E731
    good, ignorant = judge(generated=rows(fitting)), judge(generated=rows(embeddings(400, 4)))
    assert good.clip_score.lower > 3 * good.shuffled
    # both means are of the same law: four standard errors of their difference
    error = (ignorant.clip_score.upper - ignorant.clip_score.lower) / 2 / 1.96
    assert abs(ignorant.clip_score - ignorant.shuffled) < 4 * np.sqrt(2) * error
    assert good.on_the_papers_scale == pytest.approx(good.clip_score / 40)
    assert good.clip_score_of_image.mean() == pytest.approx(good.clip_score.value)
    assert judge(generated=rows(fitting)[:1]).shuffled is None


def test_prompts_that_were_cut_are_said() -> None:
    rows = np.column_stack([embeddings(20, 0), embeddings(20, 1), [1.0] * 3 + [0.0] * 17])
    (caution,) = judge(generated=rows).cautions
    assert caution.code == "prompts-cut"
    assert caution.message.startswith("3 of 20 prompts")
