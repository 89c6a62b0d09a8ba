from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest

from genaudit.metrics.prdc import PRDCValues, judge, prdc
from genaudit.metrics.result import Unavailable
from genaudit.stats import balls


def _brute_force(reference: np.ndarray, generated: np.ndarray, k: int) -> PRDCValues:
    """The definition, with every distance stored."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(a[:, None, :] - b[None, :, :]).sum(axis=2))

    def radii(a: np.ndarray) -> np.ndarray:
        own = distances(a, a)
        np.fill_diagonal(own, np.inf)
        return np.sort(own, axis=1)[:, k - 1]

    between = distances(reference, generated)
    in_reference, in_generated = between < radii(reference)[:, None], between < radii(generated)[None, :]
    return PRDCValues(
        precision=float(in_reference.any(axis=0).mean()),
        recall=float(in_generated.any(axis=1).mean()),
        density=float(in_reference.sum(axis=0).mean() / k),
        coverage=float((between.min(axis=1) < radii(reference)).mean()),
    )


def _as_tuple(found: PRDCValues) -> tuple[float, ...]:
    return (found.precision, found.recall, found.density, found.coverage)


@pytest.mark.parametrize(("n", "m", "dimensions", "k"), [(200, 150, 3, 5), (120, 240, 40, 3), (60, 60, 1, 1)])
def test_it_equals_the_prdc_package_and_brute_force(n: int, m: int, dimensions: int, k: int) -> None:
    package = pytest.importorskip("prdc")
    rng = np.random.default_rng(0)
    reference, generated = rng.normal(size=(n, dimensions)), rng.normal(size=(m, dimensions)) * 0.9 + 0.1
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = package.compute_prdc(reference, generated, nearest_k=k)
    found = prdc(reference, generated, k=k)
    names = ("precision", "recall", "density", "coverage")
    assert _as_tuple(found) == pytest.approx([theirs[name] for name in names], rel=1e-12)
    assert _as_tuple(found) == pytest.approx(_as_tuple(_brute_force(reference, generated, k)), rel=1e-12)


def test_lattices_full_of_ties_are_decided_strictly_as_the_definition_says() -> None:
    # Small integers: every squared distance is exact, and most balls have points exactly on their sphere.
    rng = np.random.default_rng(1)
    for offset in (0, 1000):
        reference, generated = rng.integers(0, 4, size=(90, 3)), rng.integers(0, 4, size=(70, 3))
        found = prdc(reference + offset, generated + offset, k=4)
        assert _as_tuple(found) == pytest.approx(_as_tuple(_brute_force(reference, generated, 4)), rel=1e-12)


def test_a_copy_of_the_reference_set_has_all_four_at_one() -> None:
    # Each image's ball holds its own copy and its k - 1 nearest, not the k-th on the sphere: density k/k.
    reference = np.random.default_rng(2).normal(size=(300, 16)).astype(np.float32) + 50
    assert _as_tuple(prdc(reference, reference.copy(), k=5)) == (1.0, 1.0, 1.0, 1.0)


def test_mode_collapse_keeps_precision_and_loses_recall() -> None:
    rng = np.random.default_rng(3)
    reference = rng.normal(size=(400, 8))
    collapsed = reference[rng.integers(0, 5, 300)] + rng.normal(size=(300, 8)) * 1e-3
    found = prdc(reference, collapsed)
    assert found.precision > 0.95
    assert found.recall < 0.05
    assert found.coverage < 0.1


def test_it_does_not_depend_on_order_tiles_or_where_the_rows_lie(on_disk, monkeypatch) -> None:
    rng = np.random.default_rng(4)
    reference = rng.normal(size=(150, 12)).astype(np.float32)
    generated = rng.normal(size=(130, 12)).astype(np.float32) * 1.1
    generated[::5] = reference[:26]
    expected = prdc(reference, generated)
    assert prdc(rng.permutation(reference), rng.permutation(generated)) == expected
    monkeypatch.setattr(balls, "CENTRE_TILE", 32)
    monkeypatch.setattr(balls, "POINT_TILE", 17)
    monkeypatch.setattr(balls, "PAIR_BYTES", 1)
    assert prdc(on_disk(reference), on_disk(generated)) == expected


def test_equal_laws_have_density_one_and_the_coverage_that_judge_tells() -> None:
    # Ranks among exchangeable points: E density = 1 for every n, m, k; coverage as the field says.
    rng = np.random.default_rng(5)
    results = [judge(reference=rng.normal(size=(40, 2)), generated=rng.normal(size=(60, 2)), k=3) for _ in range(100)]
    for name, expected in (("density", 1.0), ("coverage", results[0].coverage_of_equal_laws)):
        values = np.array([getattr(result, name) for result in results])
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / 10)


def test_judge_brackets_its_values_and_counts_balls_per_image() -> None:
    rng = np.random.default_rng(6)
    reference, generated = rng.normal(size=(600, 4)), rng.normal(size=(550, 4))
    result = judge(reference=reference, generated=generated)
    for name in ("precision", "recall", "density", "coverage"):
        value = getattr(result, name)
        assert getattr(result, name).lower < value < getattr(result, name).upper
    assert result.reference_balls.mean() / 5 == pytest.approx(result.density)
    assert (result.reference_balls > 0).mean() == pytest.approx(result.precision)
    assert result.cautions == ()
    again = judge(reference=reference, generated=generated)
    assert (again.density.lower, again.density.upper) == (result.density.lower, result.density.upper)
    codes = [caution.code for caution in judge(reference=reference, generated=generated[:100]).cautions]
    assert codes == ["few-images", "unequal-sets"]


def test_too_few_images_or_different_widths_are_refused() -> None:
    rows = np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match="k must be"):
        prdc(rows, rows, k=5)
    with pytest.raises(Unavailable, match="more than 5 images"):
        judge(reference=rows, generated=rows, k=5)
    with pytest.raises(ValueError, match="equally many features"):
        prdc(rows, np.zeros((9, 2)), k=1)


def test_balls_of_radius_0_are_said_and_where_there_are_no_others_there_is_no_value() -> None:
    rng = np.random.default_rng(0)
    reference, generated = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    codes = {caution.code for caution in judge(generated=generated, reference=reference).cautions}
    assert "duplicates" not in codes
    copied = np.concatenate([reference, np.repeat(reference[:2], 5, axis=0)])
    for roles, words in (
        ({"reference": copied, "generated": generated}, "12 of 70 reference .* precision, density and coverage are"),
        ({"reference": generated, "generated": copied}, "12 of 70 generated .* recall is too low"),
    ):
        (caution,) = (each for each in judge(**roles).cautions if each.code == "duplicates")
        assert re.match(words, caution.message)
    with pytest.raises(Unavailable, match="radius 0"):
        judge(generated=generated, reference=np.repeat(reference[:9], 6, axis=0))


def test_the_caution_for_few_images_states_the_values_at_half_of_them() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(200, 64)), rng.normal(size=(200, 64))
    (caution,) = judge(generated=x, reference=y).cautions
    told = float(caution.message.split("at half of them ")[1][:4])
    halves = [prdc(y[rng.permutation(200)[:100]], x[rng.permutation(200)[:100]]).precision for _ in range(20)]
    # the mean of 8 random halves; one half has a deviation of `halves`'
    assert told == pytest.approx(np.mean(halves), abs=4 * np.std(halves) / np.sqrt(8) + 0.005)
