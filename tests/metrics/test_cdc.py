from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest
from scipy import stats

from genaudit.metrics.cdc import ClippedValues, clipped, expected_filling, judge, prepared, values_of_part
from genaudit.metrics.result import Estimate, Unavailable
from genaudit.stats.balls import Members, spare_neighbours, tiles
from genaudit.stats.subsampling import cut_interval

Sets = tuple[np.ndarray, np.ndarray]


def _sets(seed: int, n: int, m: int, dimensions: int, shift: float = 0.0, scale: float = 1.0, bad: float = 0.0) -> Sets:
    """Real and generated rows; a share of the generated ones is far from everything."""
    rng = np.random.default_rng(seed)
    reference, generated = rng.normal(size=(n, dimensions)), rng.normal(size=(m, dimensions)) * scale + shift
    generated[: int(bad * m)] += 50
    return reference, generated


def _exact_filling(n: int, m: int, k: int) -> Fraction:
    """E[min(J, k)] / k by ranks: of m points in random order with n - 1 others J stand before the k-th of these."""
    ways = comb(n - 1 + m, m)
    ends = (min(j, k) * comb(j + k - 1, j) * comb(n - 1 - k + m - j, m - j) for j in range(m + 1))
    return Fraction(sum(ends), k * ways)


def _brute_force(reference: np.ndarray, generated: np.ndarray, k: int) -> ClippedValues:
    """The definition, with every distance stored and the calibration in exact fractions."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(a[:, None, :] - b[None, :, :]).sum(axis=2))

    own = distances(reference, reference)
    np.fill_diagonal(own, np.inf)
    radii = np.sort(own, axis=1)[:, k - 1]
    narrow, between = np.minimum(radii, np.median(radii))[:, None], distances(reference, generated)
    made, real = (np.minimum((each <= narrow).sum(axis=0), k).mean() for each in (between, own))
    filled = Fraction(int(np.minimum((between < radii[:, None]).sum(axis=1), k).sum()), k * len(reference))
    m = generated.shape[0]
    below = sum(_exact_filling(len(reference), good, k) < filled for good in range(m))
    return ClippedValues(min(float(made / real), 1.0), below / m)


# What the authors' released class gives (github.com/nicolassalvy/ClippedDensityCoverage), and what seqme 0.5.1, which
# reads the paper independently, gives for the same sets: density, coverage each.
RECORDED: dict[tuple[Any, ...], tuple[float, float, float, float]] = {
    # seed, n, m, D, k, shift, scale, bad
    (0, 200, 200, 4, 5, 0.0, 1.0, 0.0): (1.0, 1.0, 1.0, 1.0),
    (1, 200, 150, 8, 5, 0.3, 1.0, 0.0): (1.0, 0.8278145695364238, 1.0, 0.8333333134651184),
    (2, 150, 300, 3, 3, 0.0, 0.5, 0.0): (1.0, 0.38870431893687707, 1.0, 0.38999998569488525),
    (3, 120, 120, 16, 5, 0.0, 1.0, 0.4): (
        0.617363344051447,
        0.6363636363636364,
        0.6173633988733517,
        0.6416666507720947,
    ),
    (4, 100, 100, 2, 1, 1.5, 1.0, 0.0): (0.368421052631579, 0.27722772277227725, 0.368421052631579, 0.2800000011920929),
    (5, 90, 90, 6, 5, 6.0, 1.0, 0.5): (0.0, 0.0, 0.0, 0.0),
    (6, 80, 500, 2, 5, 0.0, 1.0, 0.97): (
        *(0.039354838709677424, 0.03592814371257485),
        *(0.03935483627835383, 0.035999998450279236),
    ),
}


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_it_equals_the_authors_class_and_an_independent_one(case: tuple[Any, ...]) -> None:
    seed, n, m, dimensions, k, shift, scale, bad = case
    found = clipped(*_sets(seed, n, m, dimensions, shift, scale, bad), k=k)
    released_density, released_coverage, density, coverage = RECORDED[case]
    assert found.clipped_density == pytest.approx(released_density, rel=1e-12)
    assert found.clipped_density == pytest.approx(density, rel=1e-6)  # theirs is float32
    assert found.clipped_coverage == pytest.approx(coverage, rel=1e-6)
    # the released class counts m among the M + 1 values f(0), ..., f(M), and is 1 only beyond the last
    assert released_coverage in (pytest.approx(found.clipped_coverage * m / (m + 1), rel=1e-12), 1.0)


@pytest.mark.parametrize(("n", "m", "k"), [(20, 30, 5), (40, 15, 1), (6, 50, 5), (50, 3, 5)])
def test_it_equals_brute_force_and_the_calibration_exact_fractions(n: int, m: int, k: int) -> None:
    filling = expected_filling(n, m, k)
    assert filling == pytest.approx([float(_exact_filling(n, good, k)) for good in range(m + 1)], rel=1e-9, abs=1e-13)
    for seed in range(3):
        reference, generated = _sets(seed, n, m, 2, shift=0.4 * seed)
        found, whole = clipped(reference, generated, k=k), _brute_force(reference, generated, k)
        assert vars(found) == pytest.approx(vars(whole), rel=1e-12)


def test_points_on_a_sphere_and_copies_are_decided_as_the_definition_says() -> None:
    # Small integers: every squared distance is exact, and most balls have points exactly on their sphere.
    rng = np.random.default_rng(1)
    for offset in (0, 1000):
        reference, generated = rng.integers(0, 6, size=(90, 3)), rng.integers(0, 6, size=(70, 3))
        found = clipped(reference + offset, generated + offset, k=4)
        assert vars(found) == pytest.approx(vars(_brute_force(reference, generated, 4)), rel=1e-12)


def test_every_ball_holds_its_own_neighbours_in_float32_features_with_an_offset() -> None:
    reference, generated = (each.astype(np.float32) + np.float32(1000) for each in _sets(3, 150, 100, 6))
    exact = _brute_force(reference.astype(float), generated.astype(float), 5)
    assert vars(clipped(reference, generated, k=5)) == pytest.approx(vars(exact), rel=1e-12)


@pytest.mark.parametrize("bad", [0.0, 0.25, 0.5, 0.9])
def test_both_values_are_the_share_of_good_samples_among_useless_ones(bad: float) -> None:
    found = [vars(clipped(*_sets(seed, 300, 400, 5, bad=bad))) for seed in range(12)]
    for name in ("clipped_density", "clipped_coverage"):
        # A set's value varies by 0.03 or so (12 of them by 0.01); both are cut at 1, which lowers the mean there.
        assert np.mean([each[name] for each in found]) == pytest.approx(1 - bad, abs=0.04), name


def test_outliers_of_the_reference_hardly_move_the_density_and_crowding_loses_coverage() -> None:
    reference, far = _sets(0, 300, 300, 3, shift=8.0)
    with_outliers = np.concatenate([reference, np.full((7, 3), 8.0) + 12 * np.arange(7)[:, None]])
    assert clipped(with_outliers, far).clipped_density < 0.02
    crowded = np.repeat(reference[:1], 300, axis=0) + np.random.default_rng(1).normal(size=(300, 3)) * 1e-3
    found = clipped(reference, crowded)
    assert found.clipped_density == 1.0
    assert found.clipped_coverage < 0.1


def test_the_values_alone_are_those_of_the_result_and_blocks_change_nothing(
    on_disk: Callable[[np.ndarray], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaudit.stats.balls.CENTRE_TILE", 64)
    monkeypatch.setattr("genaudit.stats.balls.POINT_TILE", 32)
    reference, generated = _sets(2, 150, 300, 3, 0.3, 0.5)
    whole = judge(generated=on_disk(generated), reference=on_disk(reference), k=3)
    values = {"clipped_density": whole.clipped_density, "clipped_coverage": whole.clipped_coverage}
    assert prepared(reference=reference, k=3)(generated) == values == vars(clipped(reference, generated, k=3))
    assert whole.real_neighbourhoods is not None
    assert whole.real_neighbourhoods.mean() / whole.density_of_real >= whole.clipped_density == 1.0


def test_copies_are_said_and_too_few_images_have_no_value() -> None:
    reference, generated = _sets(0, 40, 40, 2)
    reference[:6] = reference[0]
    result = judge(generated=generated, reference=reference)
    assert [each.code for each in result.cautions] == ["duplicates"]
    assert "6 of 40" in result.cautions[0].message
    with pytest.raises(ValueError, match="half of the reference images"):
        judge(generated=generated, reference=np.repeat(reference[:4], 10, axis=0))
    with pytest.raises(Unavailable, match="more than 5 reference images, not 5"):
        judge(generated=generated, reference=reference[:5])
    with pytest.raises(ValueError, match="k must be"):
        clipped(reference, generated, k=40)
    with pytest.raises(ValueError, match="equally many features"):
        clipped(reference, generated[:, :1])


def test_the_values_of_a_part_are_those_of_its_images_alone() -> None:
    reference, generated = _sets(3, 120, 90, 3, shift=0.4)
    rng = np.random.default_rng(0)
    for share in (1.0, 0.75):
        kept, made = (np.isin(np.arange(n), rng.permutation(n)[: int(share * n)]) for n in (120, 90))
        members = Members(spare_neighbours(reference, 5), 5, 90)
        for tile in tiles(reference, generated, names=("reference", "generated")):
            tile.add_members(members)
        found = values_of_part(members, 5, kept, made)
        alone = judge(generated=generated[made], reference=reference[kept])
        assert alone.real_neighbourhoods is not None
        assert found["density"] == pytest.approx(alone.real_neighbourhoods.mean() / alone.density_of_real, rel=1e-12)
        assert found["filled"] == pytest.approx(alone.coverage_uncalibrated, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0, 40.0])
def test_an_interval_holds_its_value_and_stays_between_0_and_1(shift: float) -> None:
    reference, generated = _sets(5, 150, 130, 4, shift=shift)
    result = judge(generated=generated, reference=reference)
    for each in (result.clipped_density, result.clipped_coverage):
        assert each.lower is not None
        assert each.upper is not None
        assert 0 <= each.lower <= each <= each.upper <= 1
        assert each.lower < each.upper
    wider = judge(generated=generated, reference=reference, confidence=0.99)
    assert wider.clipped_density.lower <= result.clipped_density.lower  # type: ignore[operator]
    few = judge(generated=generated[:9], reference=reference)
    assert few.clipped_density.ends == few.clipped_coverage.ends == (None, None)


@pytest.mark.parametrize(("mean", "error"), [(0.4, 0.1), (0.95, 0.1), (1.0, 0.05), (1.2, 0.1), (3.0, 0.2)])
def test_a_cut_interval_is_the_expectation_of_the_cut_normal_law(mean: float, error: float) -> None:
    law = stats.norm(mean, error)
    expected = law.expect(lambda x: min(x, 1.0), lb=mean - 9 * error, ub=mean + 9 * error, points=[1.0])
    cut = cut_interval(Estimate(mean, mean, mean), error, 1.0)
    assert cut.value == min(mean, 1.0)
    assert cut.lower == pytest.approx(min(expected, cut.value), abs=1e-6)
    assert cut.upper == cut.value  # which the expectation lies below
    assert cut_interval(Estimate(mean), error, 1.0).ends == (None, None)
    assert cut_interval(Estimate(0.9, 0.8, 1.3), 0.0, 1.0).ends == (0.8, 1.0)
