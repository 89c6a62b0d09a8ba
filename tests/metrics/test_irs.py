"""The image retrieval score on draws whose diversity is known, with its bounds, its gap and its warnings."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from genaudit.metrics.irs import IRS, irs, judge
from genaudit.metrics.result import Unavailable, declared
from genaudit.stats.occupancy import estimate_support, expected_distinct, rejection_threshold
from genaudit.stats.rarefaction import chao1, counts_of, relative_distinct, sample_coverage


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)


def drawn(train: np.ndarray, n: int, support: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples next to training images drawn uniformly from the first `support`, and which they were."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, support, n)
    return (train[index] + 1e-3 * rng.normal(size=(n, train.shape[1]))).astype(np.float32), index


def codes(result: IRS) -> set[str]:
    return {caution.code for caution in result.cautions}


def test_score_is_the_share_of_training_images_retrieved_and_its_estimate_the_exact_one() -> None:
    train = images(400)
    generated, index = drawn(train, 300, 250, 1)
    found = irs(train, None, generated)
    k = len(np.unique(index))
    np.testing.assert_array_equal(found.nearest, index)
    assert (found.n_train, found.n_sampled, found.n_learned) == (400, 300, k)
    assert found.irs_alpha == k / 400
    support = estimate_support(k, 300, alpha=0.05, upper=400)
    value, (lower, upper) = support.value, support.ends
    assert (found.irs_inf, found.irs_inf_lower, found.irs_inf_upper) == (value / 400, lower / 400, upper / 400)
    assert found.irs_inf_lower <= 250 / 400 <= found.irs_inf_upper
    assert found.retrieval.role == "train"
    np.testing.assert_allclose(found.retrieval.distances, np.linalg.norm(generated - train[index], axis=1), rtol=1e-3)


def test_without_a_duplicate_the_estimate_is_the_cap_and_flagged() -> None:
    train = images(50)
    found = irs(train, None, train[:10])
    assert (found.irs_inf, found.irs_inf_upper) == (1, 1)
    assert "no-duplicates" in codes(found)
    assert (found.retrieval.distances == 0).all()


def test_a_single_sample_identifies_nothing() -> None:
    found = irs(images(50), None, images(1, 5))
    assert np.isnan(found.irs_inf)
    assert codes(found) == {"single-sample"}
    assert found.curve.band is None


def test_full_collapse_is_one_image() -> None:
    train = images(50)
    found = irs(train, None, np.repeat(train[3:4], 60, axis=0))
    assert (found.n_learned, found.irs_inf, found.irs_inf_upper) == (1, 1 / 50, 1 / 50)


def test_without_a_reference_nothing_is_adjusted() -> None:
    train = images(60)
    found = irs(train, None, drawn(train, 50, 60, 1)[0])
    assert found.irs_inf_reference is None
    assert found.irs_inf_adjusted is None
    assert found.bias_pvalue is None


def test_adjusted_score_compares_equally_many_samples_over_folds() -> None:
    train = images(500)
    generated, _ = drawn(train, 400, 150, 1)
    reference, theirs = drawn(train, 250, 300, 2)
    found = irs(train, reference, generated, folds=4)
    assert (found.n_compared, found.folds) == (250, 4)
    real = estimate_support(len(np.unique(theirs)), 250, upper=500)
    # The smaller set is used whole in every fold.
    assert found.irs_inf_reference == pytest.approx(real.value / 500, rel=1e-12)
    assert found.irs_inf_reference_std == pytest.approx(0, abs=1e-15)
    assert found.irs_inf_adjusted is not None
    assert found.irs_inf_adjusted_std is not None
    assert found.irs_inf_adjusted_std > 0
    assert found.irs_inf_adjusted.lower is not None
    assert found.irs_inf_adjusted.upper is not None
    assert found.irs_inf_adjusted.lower < 150 / 300 < found.irs_inf_adjusted.upper
    assert found.irs_inf_adjusted.lower < found.irs_inf_adjusted < found.irs_inf_adjusted.upper


def test_equal_sets_need_one_fold_and_give_their_exact_ratio() -> None:
    train = images(500)
    generated, ours = drawn(train, 300, 200, 3)
    reference, theirs = drawn(train, 300, 400, 4)
    found = irs(train, reference, generated)
    value = [estimate_support(len(np.unique(i)), 300, upper=500).value for i in (ours, theirs)]
    assert found.folds == 1
    assert found.irs_inf_adjusted == pytest.approx(value[0] / value[1], rel=1e-12)
    assert found.irs_inf_reference == pytest.approx(value[1] / 500, rel=1e-12)


def test_without_train_one_seeded_half_of_the_reference_stands_in_for_it() -> None:
    reference = images(120)
    generated, index = drawn(reference, 80, 120, 5)
    found = irs(None, reference, generated, seed=1)
    assert found.n_train == 60
    assert found.n_compared == 60
    assert "train-from-reference" in codes(found)
    assert found.retrieval.role == "reference"
    half = np.unique(found.nearest)
    assert half.max() >= 60  # indices of the whole reference, not of the half
    kept = np.isin(index, half)
    np.testing.assert_array_equal(found.nearest[kept], index[kept])
    np.testing.assert_array_equal(found.nearest, irs(None, reference, generated, seed=1).nearest)
    assert set(half) != set(irs(None, reference, generated, seed=2).nearest)


def test_curve_is_the_mean_over_all_subsets_and_ends_at_what_was_learned() -> None:
    train = images(12)
    index = [0, 0, 0, 1, 2, 2, 3]
    found = irs(train, train[[4, 4, 5]], train[index])
    curve = found.curve
    np.testing.assert_array_equal(curve.x, np.arange(1, 8))
    for m in curve.x:
        subsets = list(combinations(index, int(m)))
        expected = np.mean([len(set(s)) for s in subsets])
        assert curve.lines["generated"][m - 1] == pytest.approx(expected, rel=1e-12)
    assert curve.lines["held-out real"][2] == pytest.approx(2, rel=1e-12)
    assert np.isnan(curve.lines["held-out real"][3:]).all()
    np.testing.assert_allclose(curve.lines["ideal: every training image"], expected_distinct(curve.x, 12))


def test_band_holds_the_central_share_of_the_law_at_the_estimate() -> None:
    train = images(400)
    found = irs(train, None, drawn(train, 300, 250, 1)[0], confidence=0.9)
    assert found.curve.band is not None
    s = round(found.irs_inf * 400)
    low, high = found.curve.band
    assert low[-1] == rejection_threshold(300, s, 0.05)
    assert high[-1] == rejection_threshold(300, s, 0.95)
    assert low[-1] <= found.n_learned <= high[-1]


def test_uneven_draws_are_flagged_and_uniform_ones_are_not() -> None:
    train = images(400)
    weights = np.arange(1, 401) ** -1.0
    uneven = train[np.random.default_rng(0).choice(400, 500, p=weights / weights.sum())]
    even, reference = drawn(train, 500, 400, 1)[0], drawn(train, 500, 400, 2)[0]
    assert {"uneven-retrieval", "bias-amplified"} <= codes(irs(train, reference, uneven))
    assert codes(irs(train, reference, even)) == set()


def test_score_ignores_order_offset_and_scale() -> None:
    train = images(200)
    generated, _ = drawn(train, 150, 120, 1)
    reference, _ = drawn(train, 100, 200, 2)
    first = irs(train, reference, generated)
    shuffled = irs(train, reference, np.random.default_rng(0).permutation(generated))
    # Samples lie 0.003 from their image and images 1 from each other: the offset costs 1e-4 in float32.
    moved = irs(train + 1000, reference + 1000, generated + 1000)
    scaled = irs(train * 4, reference * 4, generated * 4)
    for other in (shuffled, moved, scaled):
        assert (other.irs_alpha, other.irs_inf, other.irs_inf_reference) == (
            first.irs_alpha,
            first.irs_inf,
            first.irs_inf_reference,
        )


def test_cosine_ignores_each_rows_scale() -> None:
    train = images(100)
    generated, index = drawn(train, 60, 100, 1)
    scales = np.random.default_rng(0).uniform(0.1, 10, (60, 1)).astype(np.float32)
    np.testing.assert_array_equal(irs(train, None, generated * scales, metric="cosine").nearest, index)


def test_tensors_are_taken_and_judge_is_the_same_score() -> None:
    train = images(60)
    generated, _ = drawn(train, 50, 60, 1)
    found = irs(torch.from_numpy(train), None, torch.from_numpy(generated))
    judged = judge(generated=generated, train=train)
    assert found.irs_inf == judged.irs_inf


def test_headline_fields_carry_their_directions() -> None:
    better = {name: said.better for name, said in declared(IRS).items()}
    assert better == {
        "irs_relative": "higher",
        "irs_chao1": "higher",
        "irs_alpha": "higher",
        "irs_inf": "higher",
        "irs_inf_reference": "none",
        "irs_inf_adjusted": "higher",
    }


def uneven_draws(train: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Rows near training images that are drawn with probabilities of all sizes, as hubs in many dimensions are."""
    rng = np.random.default_rng(seed)
    p = np.random.default_rng(99).exponential(size=len(train)) ** 1.5
    index = rng.choice(len(train), n, p=p / p.sum())
    return (train[index] + 1e-3 * rng.normal(size=(n, train.shape[1]))).astype(np.float32)


def test_where_retrieval_is_uneven_irs_inf_is_a_lower_bound_and_says_so() -> None:
    train = images(400)
    found = irs(train, uneven_draws(train, 500, 1), uneven_draws(train, 500, 2))
    assert found.irs_inf_is == "lower_bound"
    assert found.irs_inf_upper is None
    assert found.irs_inf_lower <= found.irs_inf < 1  # the truth is 1
    assert found.irs_inf_adjusted.lower is None
    assert found.irs_inf_reference.upper is None
    assert found.curve.band is None
    even = irs(train, drawn(train, 500, 400, 1)[0], drawn(train, 500, 400, 2)[0])
    assert even.irs_inf_is == "estimate"
    assert even.irs_inf_upper is not None
    assert even.curve.band is not None


def test_irs_relative_is_the_ratio_of_the_images_retrieved_and_irs_inf_moves_with_n() -> None:
    """What its interval covers is tested of `relative_distinct`, in tests/stats/test_rarefaction.py."""
    train, values = images(300), []
    generated, reference = uneven_draws(train, 200, 0), uneven_draws(train, 350, 1)
    retrieved, real = (cdist(rows, train).argmin(axis=1) for rows in (generated, reference))
    for alpha in (0.025, 0.1):  # of either side
        found = irs(train, reference, generated, alpha=alpha).irs_relative
        expected = relative_distinct(retrieved, real, 300, confidence=1 - 2 * alpha)
        assert (float(found), *found.ends) == (float(expected), *expected.ends)
    for n in (100, 3000):
        found = irs(train, uneven_draws(train, n, 5), uneven_draws(train, n, 6))
        values.append((found.irs_inf, found.irs_relative))
    assert values[1][0] > 1.5 * values[0][0]  # one model, another number of samples
    assert values[1][1] == pytest.approx(values[0][1], rel=0.25)


def test_chao1_and_coverage_are_those_of_the_counts() -> None:
    train = images(50)
    index = np.repeat(np.arange(12), [1] * 6 + [2] * 3 + [4] * 3)
    found = irs(train, None, train[index])
    assert found.irs_chao1 == pytest.approx(chao1(counts_of(index)).value / 50)
    assert found.sample_coverage == pytest.approx(sample_coverage(counts_of(index)))
    assert found.irs_chao1.lower <= found.irs_chao1 <= found.irs_chao1.upper


def test_each_content_of_the_training_set_counts_once() -> None:
    train = images(200)
    generated, _ = drawn(train, 150, 200, 1)
    once = irs(train, None, generated)
    twice = irs(np.concatenate([train, train * np.float32(1 + 1e-7)]), None, generated)
    assert (twice.n_train, twice.n_learned, twice.irs_inf) == (200, once.n_learned, once.irs_inf)
    assert "duplicates" in codes(twice)


def test_training_images_among_the_reference_are_said() -> None:
    train = images(100)
    reference = np.concatenate([drawn(train, 50, 100, 2)[0], train[:7]])
    found = irs(train, reference, drawn(train, 60, 100, 1)[0])
    assert "7 of the 57 reference images" in next(c.message for c in found.cautions if c.code == "same-images")


@pytest.mark.parametrize(("confidence", "alpha"), [(0.95, 0.025), (0.8, 0.1)])
def test_confidence_moves_every_interval_of_the_report(confidence: float, alpha: float) -> None:
    train = images(200)
    generated, reference = drawn(train, 150, 120, 1)[0], drawn(train, 150, 200, 2)[0]
    judged = judge(generated=generated, train=train, reference=reference, confidence=confidence)
    direct = irs(train, reference, generated, alpha=alpha)
    assert judged.alpha == pytest.approx(alpha)
    for name in ("irs_inf", "irs_chao1", "irs_relative", "irs_inf_reference", "irs_inf_adjusted"):
        assert getattr(judged, name).ends == pytest.approx(getattr(direct, name).ends), name


@pytest.mark.parametrize("reference", [None, images(1)])
def test_judge_says_what_is_missing(reference: Any) -> None:
    with pytest.raises(Unavailable, match="train"):
        judge(generated=images(5), reference=reference)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="needs train"):
        irs(None, None, images(5))
    with pytest.raises(ValueError, match="columns"):
        irs(images(5), None, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="folds"):
        irs(images(5), None, images(5), folds=0)
