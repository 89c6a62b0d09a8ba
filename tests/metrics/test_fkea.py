from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.fkea import fkea, fourier_rows, judge


@pytest.mark.parametrize("q", [1, 2, np.inf])
def test_modes_far_apart_are_counted(q: float) -> None:
    # Copies of 5 centres: the kernel is 1 within a mode and 0 between. Estimated products between modes have a
    # deviation of 1/sqrt(2·4000) = 0.011: entropies lose half the sum of their 20 squares over 5, 2.5e-4, or four
    # times that; the largest eigenvalue gains up to their matrix' norm, near 2·sqrt(5)·0.011 = 0.05.
    x = 100 * np.eye(8)[np.arange(100) % 5]
    assert fkea(x, sigma=1.0, q=q, frequencies=4000) == pytest.approx(5, rel=0.06 if np.isinf(q) else 1e-3)
    assert fkea(np.ones((20, 3)), sigma=1.0, q=q) == pytest.approx(1.0, rel=1e-9)


def test_it_nears_the_score_of_the_exact_kernel_matrix() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x = np.random.default_rng(1).normal(size=(300, 6))
    p = np.linalg.eigvalsh(pairwise.rbf_kernel(x, gamma=1 / (2 * 3.0**2)) / 300)
    p = p[p > 1e-14]
    exact = {1: np.exp(-(p * np.log(p)).sum()), 2: 1 / np.square(p).sum()}
    for q, score in exact.items():
        errors = [abs(fkea(x, sigma=3.0, q=q, frequencies=count, seed=0) / score - 1) for count in (30, 2000)]
        # Products err by 1/sqrt(2·2000) = 0.016 each, at random over 300 images.
        assert errors[1] < 0.016
        assert errors[1] < errors[0]


def test_the_rows_have_unit_length_and_the_kernel_as_products(on_disk) -> None:
    x = np.random.default_rng(2).normal(size=(50, 4))
    rows = fourier_rows(on_disk(x), sigma=2.0, frequencies=20_000, seed=0)
    read = rows[:50]
    assert rows.shape == read.shape == (50, 40_000)
    products = read @ read.T
    np.testing.assert_allclose(np.diag(products), 1.0, rtol=1e-12)
    exact = np.exp(-np.square(x[:, None] - x[None]).sum(axis=2) / 8)
    # The mean of 20,000 cosines has a deviation below 1/sqrt(2·20,000) = 0.005; five of them for 1,225 pairs.
    np.testing.assert_allclose(products, exact, atol=0.025)


def test_it_does_not_depend_on_order_shift_or_common_scale() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 5))
    expected = fkea(x, sigma=1.5, frequencies=100)
    assert fkea(rng.permutation(x) + 4, sigma=1.5, frequencies=100) == pytest.approx(expected, rel=1e-9)
    assert fkea(10 * x, sigma=15.0, frequencies=100) == pytest.approx(expected, rel=1e-9)


def test_judge_takes_the_width_from_the_reference_and_cautions_at_the_ceiling() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(200, 5)), 3 * rng.normal(size=(250, 5))
    distances = np.linalg.norm(y[:, None] - y[None], axis=2)[np.triu_indices(250, 1)]
    result = judge(generated=x, reference=y, frequencies=100)
    assert result.sigma == pytest.approx(np.median(distances) / 2, rel=1e-12)
    assert result.fkea_vendi_reference > result.fkea_vendi > result.fkea_rke > 1
    assert result.fkea_vendi == pytest.approx(fkea(x, sigma=result.sigma, frequencies=100), rel=1e-9)
    assert result.fkea_rke.lower is None  # the width moves with the reference
    given = judge(generated=x, reference=y, frequencies=100, sigma=result.sigma)
    assert given.fkea_rke.lower < given.fkea_rke < given.fkea_rke.upper
    assert result.cautions == ()
    narrow = judge(generated=x, sigma=0.1, frequencies=500)
    assert [each.code for each in narrow.cautions] == ["width-too-small"]
    with pytest.raises(ValueError, match="sigma must be"):
        fkea(x, sigma=0)
