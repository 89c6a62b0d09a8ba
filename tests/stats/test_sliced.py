from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from genaudit.stats import sliced
from genaudit.stats.chosen import Chosen
from genaudit.stats.sliced import random_directions, sliced_wasserstein


def _sets(n: int, m: int, dimensions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, dimensions)), rng.normal(size=(m, dimensions)) * 1.5 + 0.4


def _transport(u: np.ndarray, v: np.ndarray) -> float:
    """Squared Wasserstein-2 distance of numbers by linear programming over all couplings."""
    n, m = len(u), len(v)
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    marginals = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    cost = np.square(u[:, None] - v[None]).ravel()
    return float(optimize.linprog(cost, A_eq=np.concatenate([rows, columns]), b_eq=marginals).fun)


@pytest.mark.parametrize(("n", "m"), [(7, 7), (7, 4), (6, 9), (1, 5)])
def test_along_each_direction_it_is_the_cheapest_of_all_couplings(n: int, m: int) -> None:
    x, y = _sets(n, m)
    directions = random_directions(5, 4, 0)
    found = sliced_wasserstein(x, y, directions).squared
    # The linear programme's own tolerance is 1e-7 of the costs.
    np.testing.assert_allclose(found, [_transport(x @ u, y @ u) for u in directions], rtol=1e-6)


def test_a_shift_has_a_closed_form_and_pairs_of_numbers_agree_with_scipy() -> None:
    x, _ = _sets(50, 1)
    shift = np.array([1.0, -2.0, 0.5, 3.0])
    directions = random_directions(30, 4, 1)
    found = sliced_wasserstein(x, x + shift, directions)
    np.testing.assert_allclose(found.squared, (directions @ shift) ** 2, rtol=1e-12)
    # For a shift W1 is the root of W2^2.
    w1 = [stats.wasserstein_distance(x @ u, (x + shift) @ u) for u in directions]
    np.testing.assert_allclose(np.sqrt(found.squared), w1, rtol=1e-12)


def test_the_influences_are_the_jackknife_to_first_order() -> None:
    x, y = _sets(60, 45, 3)
    directions = random_directions(10, 3, 2)
    found = sliced_wasserstein(x, y, directions)
    for rows, influence, without in (
        (x, found.influence_x, lambda i: (np.delete(x, i, 0), y)),
        (y, found.influence_y, lambda i: (x, np.delete(y, i, 0))),
    ):
        n = len(rows)
        left_out = np.array([sliced_wasserstein(*without(i), directions).mean for i in range(n)])
        jackknife = np.sqrt((n - 1) * left_out.var())
        # Second-order terms of the jackknife are of relative order 1/n.
        assert influence.std(ddof=1) / np.sqrt(n) == pytest.approx(jackknife, rel=2 / np.sqrt(n))
        assert np.corrcoef(left_out, influence)[0, 1] < -0.97


def test_the_error_covers_the_mean_of_sets_of_this_size() -> None:
    # 200 intervals at 95 %: at least 0.95 - 4·0.0154 = 0.888.
    values, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = sliced_wasserstein(
            rng.normal(size=(150, 8)), rng.normal(size=(100, 8)) + 0.3, random_directions(100, 8, seed)
        )
        values.append(found.mean)
        errors.append(found.standard_error)
    assert np.mean(np.abs(np.array(values) - np.mean(values)) <= 1.959964 * np.array(errors)) >= 0.888


def test_it_does_not_depend_on_order_tiles_or_where_the_rows_lie(monkeypatch) -> None:
    x, y = _sets(40, 30)
    directions = random_directions(9, 4, 3)
    expected = sliced_wasserstein(x, y, directions)
    order = np.random.default_rng(4).permutation(40)
    moved = sliced_wasserstein(x[order], y, directions)
    np.testing.assert_allclose(moved.squared, expected.squared, rtol=1e-12)
    np.testing.assert_allclose(moved.influence_x, expected.influence_x[order], rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(sliced, "PROJECTED_BYTES", 1)
    np.testing.assert_allclose(
        sliced_wasserstein(Chosen(x, np.arange(40)), y, directions).squared, expected.squared, rtol=1e-12
    )
    with pytest.raises(ValueError, match="equally many columns"):
        sliced_wasserstein(x, y[:, :3], directions)
