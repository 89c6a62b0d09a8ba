from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.fd_infinity import fd_infinity, judge
from genaudit.metrics.frechet import GaussianMoments, frechet_distance, frechet_distance_from_moments
from genaudit.metrics.result import Unavailable

DIMENSIONS = 16
SPREAD = np.linspace(0.2, 1.0, DIMENSIONS)
LAW = GaussianMoments(np.zeros(DIMENSIONS), np.diag(SPREAD), None)


def _drawn(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, DIMENSIONS)) * np.sqrt(1.2 * SPREAD) + 0.2


def test_the_line_is_least_squares_of_the_subsets_distances() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x = _drawn(200, 0)
    result = judge(generated=x, reference=LAW, points=8, smallest=60)
    sizes, distances = np.array(result.subset_sizes), result.line.lines["subsets"][1:][::-1]
    line = linear.LinearRegression().fit(1 / sizes[:, None], distances)
    # The whole set is the last subset, whatever the draw.
    assert sizes[-1] == 200
    assert distances[-1] == pytest.approx(result.fd, rel=1e-12)
    assert result.fd_infinity == pytest.approx(line.intercept_, rel=1e-9)
    assert result.slope == pytest.approx(line.coef_[0], rel=1e-9)
    assert fd_infinity(x, LAW, points=8, smallest=60) == result.fd_infinity
    # as drawn: from endless images, where no subset is, to the smallest
    np.testing.assert_allclose(result.line.x, np.r_[0, 1 / sizes[::-1]], rtol=1e-12)
    np.testing.assert_allclose(result.line.lines["line"], line.predict(result.line.x[:, None]), rtol=1e-9)
    assert np.isnan(result.line.lines["subsets"][0])


def test_it_has_the_population_distance_where_fd_is_biased_and_its_interval_covers_it() -> None:
    # 60 sets: the mean's error is sd/sqrt(60); coverage at 95 % is at least 0.95 - 4·0.028 = 0.84.
    truth = frechet_distance_from_moments(np.full(DIMENSIONS, 0.2), 1.2 * LAW.sigma, LAW.mu, LAW.sigma)
    results = [judge(generated=_drawn(200, seed), reference=LAW, points=6, seed=seed) for seed in range(60)]
    values = np.array([result.fd_infinity for result in results])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(60))
    assert np.mean([result.fd for result in results]) > truth + 4 * values.std() / np.sqrt(60)
    assert np.mean([result.fd_infinity.lower <= truth <= result.fd_infinity.upper for result in results]) >= 0.84


def test_rows_and_their_moments_are_the_same_reference_and_rows_may_lie_on_disk(on_disk) -> None:
    x, y = _drawn(120, 1), _drawn(150, 2)
    moments = GaussianMoments(y.mean(axis=0), np.cov(y, rowvar=False), 150)
    assert fd_infinity(x, y, points=5) == pytest.approx(fd_infinity(x, moments, points=5), rel=1e-9)
    assert fd_infinity(on_disk(x), on_disk(y), points=5) == pytest.approx(fd_infinity(x, y, points=5), rel=1e-12)
    assert fd_infinity(x + 7, y + 7, points=5) == pytest.approx(fd_infinity(x, y, points=5), rel=1e-9)
    assert judge(generated=x, reference=y, points=5).fd == pytest.approx(frechet_distance(x, y), rel=1e-12)


def test_a_reference_of_rows_is_extrapolated_too_and_the_report_says_what_was() -> None:
    # Equal laws, 40 pairs of sets: free of both biases the mean is 0; with the reference whole its bias stays.
    rng = np.random.default_rng(0)
    sets = [(rng.normal(size=(150, 8)), rng.normal(size=(150, 8))) for _ in range(40)]
    both = np.array([fd_infinity(x, y, points=4, both=True) for x, y in sets])
    whole = np.array([fd_infinity(x, y, points=4) for x, y in sets])
    assert abs(both.mean()) < 4 * both.std() / np.sqrt(40)
    assert whole.mean() > 4 * whole.std() / np.sqrt(40)
    x, y = sets[0]
    assert judge(generated=x, reference=y, points=4).fd_infinity == both[0]
    assert judge(generated=x, reference=y, points=4).extrapolated == "generated and reference images"
    moments = GaussianMoments(y.mean(axis=0), np.cov(y, rowvar=False), 150)
    assert judge(generated=x, reference=moments, points=4).extrapolated == "generated images"


def test_too_few_images_have_no_interval_or_no_value() -> None:
    few = judge(generated=_drawn(30, 3), reference=LAW, points=5)
    assert few.fd_infinity.lower is None
    singular = "extrapolation-from-singular-subsets"
    assert singular in [each.code for each in few.cautions]
    for smallest, said in ((DIMENSIONS, True), (DIMENSIONS + 1, False)):
        result = judge(generated=_drawn(200, 3), reference=LAW, points=4, smallest=smallest)
        assert (singular in [each.code for each in result.cautions]) is said
    with pytest.raises(Unavailable, match="more than 19 generated images"):
        judge(generated=_drawn(19, 3), reference=LAW)
    with pytest.raises(ValueError, match="subsets from 100 to 50"):
        fd_infinity(_drawn(50, 3), LAW, smallest=100)
