"""The shallow baselines against closed forms and against scikit-learn's parts put together another way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from genaudit.piad import baselines
from genaudit.stats.auroc import auroc

RNG = np.random.default_rng(0)
TRAIN = (RNG.standard_normal((60, 12)) * np.linspace(3, 0.1, 12)).reshape(60, 3, 4)
IMAGES = RNG.standard_normal((20, 3, 4)) * 2


def test_pca_reconstructions_are_projections_of_the_singular_value_decomposition() -> None:
    flat, mean = TRAIN.reshape(60, 12), TRAIN.reshape(60, 12).mean(0)
    axes = np.linalg.svd(flat - mean, full_matrices=False)[2][:5]
    expected = mean + (IMAGES.reshape(20, 12) - mean) @ axes.T @ axes
    got = baselines.pca_reconstructions(TRAIN, IMAGES, 5)
    # float32 of numbers below 10: 2^-24 · 10 < 1e-6
    np.testing.assert_allclose(got.reshape(20, 12), expected, atol=1e-5)
    assert got.shape == IMAGES.shape
    assert got.dtype == np.float32


def test_pca_with_all_components_gives_the_images_back_and_with_none_the_mean() -> None:
    np.testing.assert_allclose(baselines.pca_reconstructions(TRAIN, IMAGES, 12), IMAGES, atol=1e-5)
    none = baselines.pca_reconstructions(TRAIN, IMAGES, 0)
    np.testing.assert_allclose(none, np.broadcast_to(TRAIN.mean(0), IMAGES.shape), atol=1e-6)


def test_reduced_keeps_95_percent_of_the_variance_and_not_a_component_more() -> None:
    a, b = baselines.reduced(TRAIN, IMAGES)
    total = TRAIN.reshape(60, 12).var(0, ddof=1).sum()
    kept = a.var(0, ddof=1)
    assert kept.sum() >= 0.95 * total > kept[:-1].sum()
    assert b.shape == (20, a.shape[1])
    # a rotation: distances among training images shrink by what was left out alone
    assert np.linalg.norm(a - a.mean(0)) ** 2 <= np.linalg.norm(TRAIN - TRAIN.mean(0)) ** 2


def test_kde_is_a_mixture_of_gaussians_on_the_training_images() -> None:
    a, b = TRAIN.reshape(60, 12)[:, :3], IMAGES.reshape(20, 12)[:, :3]
    log = [multivariate_normal(mean=centre, cov=0.7**2).logpdf(b) for centre in a]
    expected = -(logsumexp(log, axis=0) - np.log(60))
    # scikit-learn bounds its error at rtol 0, atol 0: rounding of sums of 60 terms remains
    np.testing.assert_allclose(baselines.kde_scores(a, b, bandwidth=0.7), expected, rtol=1e-9)


def test_the_bandwidth_is_near_silverman_s_for_a_gaussian() -> None:
    """For N draws of a D-dimensional normal of deviation s it is about s (4 / (N (D + 2)))^(1 / (D + 4))."""
    draws = 16 * np.random.default_rng(1).standard_normal((500, 4))
    best = 16 * (4 / (500 * 6)) ** (1 / 8)  # 6.99, well inside the grid
    # the grid's steps are factors of sqrt(2), and likelihood and squared error differ by about one of them
    assert best / 2 <= baselines.kde_bandwidth(draws) <= best * 2


def test_the_one_class_svm_s_margin_is_its_sum_over_support_vectors() -> None:
    from sklearn.svm import OneClassSVM

    a, b = TRAIN.reshape(60, 12), IMAGES.reshape(20, 12)
    svm = OneClassSVM(gamma=1 / (12 * a.var()), nu=0.1).fit(a)
    kernel = np.exp(-svm.gamma * ((b[:, None] - svm.support_vectors_) ** 2).sum(-1))
    expected = -(kernel @ svm.dual_coef_[0] + svm.intercept_[0])
    np.testing.assert_allclose(baselines.ocsvm_scores(a, b), expected, atol=1e-10)
    # nu bounds the share of training images outside (Schölkopf et al. 2001, Proposition 3); the solver stops where its
    # conditions hold to 1e-3, and images on the margin are that far off
    assert (baselines.ocsvm_scores(a, a) > 2e-3).mean() <= 0.1


def test_nearest_neighbour_distances_are_the_smallest_of_all() -> None:
    a, b = TRAIN.reshape(60, 12), IMAGES.reshape(20, 12)
    expected = np.linalg.norm(b[:, None] - a, axis=-1).min(1)
    np.testing.assert_allclose(baselines.nearest_neighbour_scores(TRAIN, IMAGES), expected, rtol=1e-9)
    np.testing.assert_allclose(baselines.nearest_neighbour_scores(TRAIN, TRAIN[:5]), 0, atol=1e-6)


def test_every_score_is_higher_far_away() -> None:
    near = np.random.default_rng(2).standard_normal((200, 4))
    far = near[:50] + 8
    normal = np.random.default_rng(3).standard_normal((50, 4))
    for score in (
        baselines.ocsvm_scores,
        baselines.nearest_neighbour_scores,
        lambda train, images: baselines.kde_scores(train, images, bandwidth=1.0),
    ):
        assert auroc(score(near, far), score(near, normal)) > 0.99


def test_baselines_complain_about_images_of_another_shape_or_none() -> None:
    with pytest.raises(ValueError, match="one shape"):
        baselines.nearest_neighbour_scores(TRAIN, IMAGES[:, :2])
    with pytest.raises(ValueError, match="one shape"):
        baselines.pca_reconstructions(TRAIN[:0], IMAGES, 2)
