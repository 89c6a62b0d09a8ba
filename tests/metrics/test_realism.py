from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.realism import EPSILON, judge, realism
from genaudit.metrics.result import Unavailable
from genaudit.stats import balls


def _brute_force(reference: np.ndarray, generated: np.ndarray, k: int) -> np.ndarray:
    """Kynkäänniemi et al. 2019, Eq. 3, with every distance stored."""
    own = np.linalg.norm(reference[:, None] - reference[None], axis=2)
    np.fill_diagonal(own, np.inf)
    radii = np.sort(own, axis=1)[:, k - 1]
    kept = radii <= np.median(radii)
    between = np.linalg.norm(generated[:, None] - reference[None, kept], axis=2)
    ratios: np.ndarray = (radii[kept] / (between + EPSILON)).max(axis=1)
    return ratios


def _sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(150, 6)).astype(np.float32), rng.normal(size=(90, 6)).astype(np.float32) * 1.3


def test_three_points_on_a_line_have_a_closed_form() -> None:
    # Radii to the nearest other: 1, 1, 2; the median is 1. From 5 the nearest kept centre is 1: ratio 1/4.
    found = realism(np.array([[0.0], [1.0], [3.0]]), np.array([[5.0], [0.5]]), k=1)
    np.testing.assert_allclose(found, [1 / (4 + EPSILON), 1 / (0.5 + EPSILON)], rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_it_equals_the_definition_with_every_distance_stored(k: int, offset: float) -> None:
    reference, generated = _sets()
    reference, generated = reference + np.float32(offset), generated + np.float32(offset)
    expected = _brute_force(reference.astype(np.float64), generated.astype(np.float64), k)
    np.testing.assert_allclose(realism(reference, generated, k=k), expected, rtol=1e-9)


def test_it_is_at_least_one_exactly_inside_the_kept_balls_and_large_for_copies() -> None:
    reference, generated = _sets()
    radii = balls.radii(reference, 3)
    kept = radii <= np.median(radii)
    inside = (np.linalg.norm(generated[:, None] - reference[None, kept], axis=2) < radii[kept] - 2 * EPSILON).any(
        axis=1
    )
    np.testing.assert_array_equal(realism(reference, generated) >= 1, inside)
    assert realism(reference, reference[kept]).min() > 1000


def test_it_does_not_depend_on_order_tiles_or_where_the_rows_lie(on_disk, monkeypatch) -> None:
    reference, generated = _sets()
    expected = realism(reference, generated)
    order = np.random.default_rng(1).permutation(150)
    np.testing.assert_allclose(realism(reference[order], generated), expected, rtol=1e-12)
    monkeypatch.setattr(balls, "CENTRE_TILE", 32)
    monkeypatch.setattr(balls, "POINT_TILE", 17)
    np.testing.assert_allclose(realism(on_disk(reference), on_disk(generated)), expected, rtol=1e-12)


def test_judge_summarises_with_intervals() -> None:
    reference, generated = _sets()
    result = judge(generated=generated, reference=reference)
    assert result.realism_median.lower < result.realism_median < result.realism_median.upper
    assert result.realism_median == np.median(result.realism)
    assert result.realistic == np.mean(result.realism >= 1)
    assert result.realistic.lower < result.realistic < result.realistic.upper
    with pytest.raises(Unavailable, match="more than 3 reference images"):
        judge(generated=generated, reference=reference[:3])
    with pytest.raises(ValueError, match="k must be"):
        realism(reference, generated, k=150)


def test_balls_of_radius_0_are_said_and_where_they_decide_there_is_no_value() -> None:
    reference, generated = _sets()
    assert judge(generated=generated, reference=reference).cautions == ()
    copied = np.concatenate([reference, np.repeat(reference[:2], 3, axis=0)])
    (caution,) = judge(generated=generated, reference=copied).cautions
    assert caution.code == "duplicates"
    assert caution.message.startswith("8 of 156 reference images")
    with pytest.raises(Unavailable, match="radius 0"):
        judge(generated=generated, reference=np.repeat(reference, 4, axis=0))
