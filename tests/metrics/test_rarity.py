from __future__ import annotations

import warnings

import numpy as np
import pytest

from genaudit.metrics.rarity import judge, rarity
from genaudit.metrics.result import Unavailable
from genaudit.stats import balls


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.linalg.norm(a[:, None].astype(np.float64) - b[None].astype(np.float64), axis=2)
    return found


def _brute_force(reference: np.ndarray, generated: np.ndarray, k: int) -> np.ndarray:
    """Han et al. 2023, Definition 1, with every distance stored."""
    own = _distances(reference, reference)
    np.fill_diagonal(own, np.inf)
    radii = np.sort(own, axis=1)[:, k - 1]
    smallest = np.where(_distances(generated, reference) < radii, radii, np.inf).min(axis=1)
    return np.where(np.isfinite(smallest), smallest, np.nan)


def _sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(150, 5)).astype(np.float32), rng.normal(size=(90, 5)).astype(np.float32) * 1.3


@pytest.mark.parametrize("k", [1, 3])
def test_it_equals_the_definition_with_every_distance_stored(k: int) -> None:
    reference, generated = _sets()
    np.testing.assert_allclose(rarity(reference, generated, k=k), _brute_force(reference, generated, k), rtol=1e-12)


def test_lattices_full_of_ties_are_decided_strictly() -> None:
    rng = np.random.default_rng(1)
    reference, generated = rng.integers(0, 4, size=(60, 3)), rng.integers(0, 4, size=(40, 3))
    np.testing.assert_array_equal(rarity(reference + 1000, generated + 1000), _brute_force(reference, generated, 3))


def test_it_grows_with_the_features_scale_and_with_sparseness() -> None:
    reference, generated = _sets()
    np.testing.assert_allclose(rarity(reference * 4, generated * 4), rarity(reference, generated) * 4, rtol=1e-12)
    # Radii are 1 in the dense line and 10 in the sparse one.
    dense, sparse = np.arange(10.0)[:, None], 1000 + 10 * np.arange(10.0)[:, None]
    found = rarity(np.concatenate([dense, sparse]), np.array([[4.5], [1045.0]]), k=1)
    np.testing.assert_allclose(found, [1.0, 10.0])


def test_it_does_not_depend_on_order_tiles_or_where_the_rows_lie(on_disk, monkeypatch) -> None:
    reference, generated = _sets()
    expected = rarity(reference, generated)
    order = np.random.default_rng(1).permutation(150)
    np.testing.assert_array_equal(rarity(reference[order], generated), expected)
    monkeypatch.setattr(balls, "CENTRE_TILE", 32)
    monkeypatch.setattr(balls, "POINT_TILE", 17)
    np.testing.assert_array_equal(rarity(on_disk(reference), on_disk(generated)), expected)


def test_judge_rates_real_images_among_the_others() -> None:
    reference, generated = _sets()
    result = judge(generated=generated, reference=reference)
    own = _distances(reference, reference)
    np.fill_diagonal(own, np.inf)
    radii = np.sort(own, axis=1)[:, 2]
    among_others = np.where(own < radii, radii, np.inf).min(axis=1)
    assert result.rarity_reference == pytest.approx(among_others[np.isfinite(among_others)].mean(), rel=1e-12)
    assert result.share_rated == np.mean(np.isfinite(result.rarity))
    assert result.rarity_mean == pytest.approx(np.nanmean(result.rarity), rel=1e-12)
    assert result.rarity_mean.lower < result.rarity_mean < result.rarity_mean.upper
    with pytest.raises(Unavailable, match="none has a rarity"):
        judge(generated=generated + 100, reference=reference)
    with pytest.raises(Unavailable, match="more than 3 reference images"):
        judge(generated=generated, reference=reference[:3])


def test_balls_of_radius_0_are_said_and_where_they_decide_there_is_no_value() -> None:
    reference, generated = _sets()
    assert judge(generated=generated, reference=reference).cautions == ()
    copied = np.concatenate([reference, np.repeat(reference[:2], 3, axis=0)])
    (caution,) = judge(generated=generated, reference=copied).cautions
    assert caution.code == "duplicates"
    assert caution.message.startswith("8 of 156 reference images")
    with pytest.raises(Unavailable, match="radius 0"):
        judge(generated=generated, reference=np.repeat(reference, 4, axis=0))


def test_with_one_neighbour_no_real_image_lies_in_the_ball_of_another_and_there_is_no_warning() -> None:
    """A ball of radius d(r, nearest) holds none of the others strictly inside; generated images may lie in it."""
    rng = np.random.default_rng(0)
    generated, reference = rng.normal(size=(2, 30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = judge(generated=generated, reference=reference, k=1)
    assert np.isnan(result.rarity_reference)
    assert result.rarity_mean == pytest.approx(np.nanmean(_brute_force(reference, generated, 1)), rel=1e-12)
