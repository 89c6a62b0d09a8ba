from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from genaudit.metrics.inception_score import inception_score, judge
from genaudit.metrics.result import Unavailable


def _logits(n: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, classes)).astype(np.float32) * 3


def test_sure_and_even_predictions_score_the_number_of_classes_and_equal_ones_score_one() -> None:
    sure = np.tile(np.eye(7) * 1000, (4, 1))
    assert inception_score(sure) == pytest.approx(7.0, rel=1e-12)
    assert inception_score(np.tile(_logits(1, 7), (20, 1))) == pytest.approx(1.0, abs=1e-12)


def test_two_classes_have_a_closed_form() -> None:
    # p = (a, 1 - a) and (1 - a, a) alternate: q is even, and log IS = log 2 - H(a).
    a = 0.9
    logits = np.log([[a, 1 - a], [1 - a, a]] * 5)
    entropy = -(a * np.log(a) + (1 - a) * np.log(1 - a))
    assert inception_score(logits) == pytest.approx(2 * np.exp(-entropy), rel=1e-13)


@pytest.mark.parametrize(("n", "splits"), [(103, 10), (50, 1), (40, 7)])
def test_it_equals_torch_fidelitys_on_equal_logits(n: int, splits: int) -> None:
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = _logits(n, 30)
    theirs = isc.isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=True, rng_seed=2020)
    # Both sum 30 terms in float64 for some hundred images: 1e-13 relative at worst.
    assert inception_score(logits, splits=splits, shuffle_seed=2020) == pytest.approx(
        theirs["inception_score_mean"], rel=1e-12
    )
    result = judge(generated=logits, splits=splits)
    assert result.inception_score == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert result.splits_deviation == pytest.approx(theirs["inception_score_std"], abs=1e-11)
    assert result.inception_score_unsplit == pytest.approx(inception_score(logits), rel=1e-12)


@pytest.mark.parametrize(("n", "size", "splits"), [(23, 5, 5), (20, 5, 4), (20, 50, 1), (21, 10, 3)])
def test_parts_of_a_size_are_cut_in_the_images_order_and_the_last_holds_what_is_left(
    n: int, size: int, splits: int
) -> None:
    """ADM's evaluator: parts of 5,000."""
    logits = _logits(n, 4)
    p = special.softmax(logits.astype(np.float64), axis=1)
    parts = [p[start : start + size] for start in range(0, n, size)]
    scores = [np.exp(special.rel_entr(part, part.mean(0)).sum(1).mean()) for part in parts]
    result = judge(generated=logits, splits=None, split_size=size, shuffle_seed=None)
    assert result.splits == len(parts) == splits
    assert result.inception_score == pytest.approx(np.mean(scores), rel=1e-12)
    for wrong in ({"splits": None}, {"splits": 10, "split_size": 5}):
        with pytest.raises(ValueError, match="one of splits and split_size must be null"):
            judge(generated=logits, **wrong)


def test_it_does_not_depend_on_constants_order_or_where_the_rows_lie(on_disk) -> None:
    logits = _logits(5000, 6).astype(np.float64)
    rng = np.random.default_rng(1)
    expected = inception_score(logits)
    moved = rng.permutation(logits + rng.normal(size=(5000, 1)) * 100)
    assert inception_score(moved) == pytest.approx(expected, rel=1e-11)
    rows = on_disk(logits)
    assert inception_score(rows, splits=10, shuffle_seed=3) == inception_score(logits, splits=10, shuffle_seed=3)
    assert rows.most_at_once < 5000


def test_the_interval_covers_the_mean_score_of_sets_of_this_size() -> None:
    # 300 intervals at 95 %: at least 0.95 - 4·0.0126 = 0.90.
    results = [judge(generated=_logits(300, 5, seed), splits=1) for seed in range(300)]
    mean = np.mean([each.inception_score_unsplit for each in results])
    inside = [each.inception_score_unsplit.lower <= mean <= each.inception_score_unsplit.upper for each in results]
    assert np.mean(inside) >= 0.90


def test_small_sets_get_a_caution_and_smaller_ones_no_score() -> None:
    result = judge(generated=_logits(60, 12), splits=10)
    assert [each.code for each in result.cautions] == ["fewer-images-than-classes"]
    assert result.inception_score.lower < result.inception_score < result.inception_score.upper
    assert judge(generated=_logits(60, 12), splits=2).cautions == ()
    with pytest.raises(Unavailable, match="at least 20 images"):
        judge(generated=_logits(19, 12))
    with pytest.raises(ValueError, match="splits must be"):
        inception_score(_logits(5, 3), splits=6)
