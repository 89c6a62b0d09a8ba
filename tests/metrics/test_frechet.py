from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genaudit.metrics.frechet import (
    fit_gaussian,
    frechet_distance,
    frechet_distance_from_moments,
    judge,
    moments,
)


def _correlated(
    rng: np.random.Generator, n: int, dimensions: int, scale: float = 1.0, shift: float = 0.0
) -> np.ndarray:
    mixing = np.random.default_rng(9).normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    return rng.normal(size=(n, dimensions)) @ mixing * scale + shift


def test_moments_that_were_rounded_to_float32_are_taken_and_impossible_ones_refused() -> None:
    mean, flat = np.zeros(2), np.diag([1.0, 0.0])
    # a negative eigenvalue within a thousandth of the largest stands for 0
    rounded = frechet_distance_from_moments(mean, np.diag([1.0, -5e-4]), mean, flat)
    assert rounded == pytest.approx(0.0, abs=1e-9)
    for impossible in (np.diag([1.0, -2e-3]), -np.eye(2)):
        with pytest.raises(ValueError, match="negative eigenvalue"):
            frechet_distance_from_moments(mean, impossible, mean, flat)
    with pytest.raises(ValueError, match="not symmetric"):
        frechet_distance_from_moments(mean, np.array([[1.0, 0.1], [0.0, 1.0]]), mean, flat)


def test_means_one_apart_in_every_one_of_2048_dimensions_give_2048() -> None:
    identity = np.eye(2048)
    # The traces, 4096 in all, cancel to their rounding.
    distance = frechet_distance_from_moments(np.zeros(2048), identity, np.ones(2048), identity)
    assert distance == pytest.approx(2048.0, abs=1e-9)


def test_commuting_covariances_have_a_closed_form() -> None:
    # S1 = Q diag(a) Q', S2 = Q diag(b) Q': FD = |m1 - m2|^2 + sum (sqrt a - sqrt b)^2, here with singular ones too.
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    a, b, shift = rng.uniform(0, 4, 40), rng.uniform(0, 4, 40), rng.normal(size=40)
    for zeros in (0, 7):
        a[:zeros] = b[zeros : 2 * zeros] = 0.0
        got = frechet_distance_from_moments(np.zeros(40), (q * a) @ q.T, shift, (q * b) @ q.T)
        # Eigenvalues of rounding size, 40·2^-52·4, enter with their roots times sqrt(4): 40·2e-7 at worst.
        tolerance = 1e-10 if zeros == 0 else 1e-5
        assert got == pytest.approx(shift @ shift + np.square(np.sqrt(a) - np.sqrt(b)).sum(), abs=tolerance)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (30, 200), (200, 30), (20, 35)])
def test_it_equals_the_formulas_of_torch_fidelity_and_torchmetrics(n: int, m: int) -> None:
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    torchmetrics_fid = pytest.importorskip("torchmetrics.image.fid")
    rng = np.random.default_rng(1)
    x, y = _correlated(rng, n, 48), _correlated(rng, m, 48, scale=1.3, shift=0.2)
    stats = [{"mu": s.mean(axis=0), "sigma": np.cov(s, rowvar=False)} for s in (x, y)]
    theirs = metric_fid.fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    tensors = [torch.from_numpy(s[key]) for s in stats for key in ("mu", "sigma")]
    # They take roots of the eigenvalues of a product; of singular ones sqrt(2^-52·48) survives, 48 times at most.
    tolerance = 1e-9 if min(n, m) > 48 else 48 * 1e-7
    assert frechet_distance(x, y) == pytest.approx(theirs, abs=tolerance)
    assert frechet_distance(x, y) == pytest.approx(float(torchmetrics_fid._compute_fid(*tensors)), abs=tolerance)
    assert frechet_distance_from_moments(*[s[key] for s in stats for key in ("mu", "sigma")]) == pytest.approx(
        frechet_distance(x, y), abs=tolerance
    )


@pytest.mark.parametrize("n", [300, 10])
def test_identical_sets_are_at_distance_zero_and_it_is_symmetric(n: int) -> None:
    rng = np.random.default_rng(2)
    x, y = _correlated(rng, n, 24), _correlated(rng, 40, 24, shift=1.0)
    # Traces of about 24 cancel: rounding of some 24·24·2^-52.
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-11)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-12)


def test_it_does_not_change_with_order_rotation_or_a_common_shift() -> None:
    rng = np.random.default_rng(3)
    x, y = _correlated(rng, 100, 12), _correlated(rng, 90, 12, scale=1.2)
    rotation, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    expected = frechet_distance(x, y)
    assert frechet_distance(rng.permutation(x), y) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(expected, rel=1e-11)
    # An offset of 1e4 costs 1e4·2^-52 in every difference, relative to values of 1.
    assert frechet_distance(x + 1e4, y + 1e4) == pytest.approx(expected, rel=1e-10)


def test_moments_in_blocks_equal_the_plain_ones_and_survive_a_large_offset(on_disk) -> None:
    x = np.random.default_rng(4).normal(size=(9000, 5)) + 1e6
    rows = on_disk(x)
    found = moments(rows)
    assert rows.most_at_once < 9000
    assert found.n == 9000
    np.testing.assert_allclose(found.mu, x.mean(axis=0), rtol=1e-14)
    # The input itself is rounded at 1e6·2^-53 = 1e-10; sums about the origin would lose 1e6^2·2^-52 = 2e-4.
    np.testing.assert_allclose(found.sigma, np.cov(x - 1e6, rowvar=False), atol=1e-11)


def test_judge_takes_moments_as_the_reference() -> None:
    rng = np.random.default_rng(5)
    x, y = _correlated(rng, 200, 8), _correlated(rng, 300, 8, shift=0.3)
    given = SimpleNamespace(mu=y.mean(axis=0), sigma=np.cov(y, rowvar=False), n=None)
    from_rows, from_moments = judge(generated=x, reference=y), judge(generated=x, reference=given)
    assert from_moments.fd == pytest.approx(from_rows.fd, rel=1e-12)
    assert from_moments.n_reference is None
    # The reference's share of the variance is missing.
    assert from_moments.fd.upper - from_moments.fd < from_rows.fd.upper - from_rows.fd
    assert "fixed" in from_moments.interval


def test_fewer_images_than_dimensions_is_cautioned_with_the_number_and_has_no_interval() -> None:
    rng = np.random.default_rng(6)
    result = judge(generated=_correlated(rng, 8, 8), reference=_correlated(rng, 100, 8))
    assert [caution.code for caution in result.cautions] == ["fewer-samples-than-dimensions"]
    assert "N = 8" in result.cautions[0].message
    assert result.fd.lower is None
    assert judge(generated=_correlated(rng, 17, 8), reference=_correlated(rng, 100, 8)).cautions == ()


@pytest.mark.parametrize(("shift", "most"), [(0.5, 0.99), (0.0, 1.0)])
def test_the_interval_covers_the_mean_distance_of_sets_of_these_sizes(shift: float, most: float) -> None:
    # 200 intervals at 95 %: at least 0.95 - 4·sqrt(0.95·0.05/200) = 0.89; far apart the interval may not be much too
    # wide either: 0.99 is passed by an exact 95 % interval with probability above 0.99.
    rng = np.random.default_rng(7)
    results = [
        judge(generated=_correlated(rng, 120, 6, scale=1.2, shift=shift), reference=_correlated(rng, 150, 6))
        for _ in range(200)
    ]
    mean = np.mean([result.fd for result in results])
    coverage = np.mean([result.fd.lower <= mean <= result.fd.upper for result in results])
    assert 0.89 <= coverage <= most


def test_a_feature_that_never_changes_leaves_a_value_without_interval() -> None:
    rng = np.random.default_rng(8)
    x, y = _correlated(rng, 60, 6), _correlated(rng, 60, 6)
    expected = frechet_distance(x[:, :5], y[:, :5])
    x[:, 5] = y[:, 5] = 3.0
    result = judge(generated=x, reference=y)
    assert result.fd == pytest.approx(expected, rel=1e-9)
    assert result.fd.lower is None
    assert "singular" in result.interval


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0], [np.nan]], [[1.0], [2.0]]), "not finite"),
        (([[0.0], [1.0]], [[1.0, 2.0], [2.0, 2.0]]), "equally many features"),
        (([0.0, 1.0], [[1.0], [2.0]]), "shape"),
    ],
)
def test_bad_rows_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(*arguments)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [([[1.0, 2.0], [0.0, 1.0]], "symmetric"), ([[1.0, 0.0], [0.0, -1.0]], "negative"), ([[1.0]], "shapes")],
)
def test_bad_moments_are_refused(covariance: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance_from_moments([0.0, 0.0], covariance, [0.0, 0.0], np.eye(2))


def test_the_factor_of_few_rows_has_their_covariance_and_no_null_direction() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((7, 20)) + 3
    factor = fit_gaussian(rows, "rows").factor
    assert factor.shape == (20, 6)
    np.testing.assert_allclose(factor @ factor.T, np.cov(rows, rowvar=False), rtol=1e-12, atol=1e-13)
    assert np.linalg.matrix_rank(factor) == 6


@pytest.mark.parametrize("decades", [1, 5, 9])
def test_few_rows_with_small_directions_keep_their_digits(decades: int) -> None:
    rng = np.random.default_rng(0)
    # sets that differ by a factor of 2 about a common mean: S1 = 4 S2, so FD = tr S2 exactly
    spectrum = np.logspace(0, -decades, 60)
    second = rng.standard_normal((50, 60)) * spectrum
    second -= second.mean(axis=0)
    exact = float(np.square(second).sum() / 49)
    # rounding of the features themselves and of singular values of a norm of about 60
    assert frechet_distance(2 * second, second) == pytest.approx(exact, rel=1e-12)
