from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from genaudit.metrics import kernel
from genaudit.metrics.kernel import judge, kernel_distance


def test_it_equals_the_definition_in_exact_fractions() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, size=(4, 2)), rng.integers(-3, 4, size=(3, 2))

    def k(a: np.ndarray, b: np.ndarray) -> Fraction:
        return (Fraction(int(a @ b), 2) + 1) ** 3

    exact = (
        sum((k(x[i], x[j]) for i in range(4) for j in range(4) if i != j), Fraction(0)) / 12
        + sum((k(y[i], y[j]) for i in range(3) for j in range(3) if i != j), Fraction(0)) / 6
        - 2 * sum((k(a, b) for a in x for b in y), Fraction(0)) / 12
    )
    assert kernel_distance(x, y) == pytest.approx(float(exact), rel=1e-13)


def test_it_equals_the_formulas_of_torch_fidelity_and_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    torchmetrics_kid = pytest.importorskip("torchmetrics.image.kid")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 16)), rng.normal(size=(80, 16)) + 0.3
    theirs = metric_kid.mmd2(*[(a @ b.T / 16 + 1) ** 3 for a, b in ((x, x), (x, y), (y, y))])
    assert kernel_distance(x, y) == pytest.approx(theirs, rel=1e-11)
    tensors = [torch.from_numpy(s) for s in (x, y)]
    assert kernel_distance(x, y) == pytest.approx(float(torchmetrics_kid.poly_mmd(*tensors)), rel=1e-11)


def test_it_does_not_depend_on_order_rotation_or_tiles(on_disk, monkeypatch) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(50, 5)) + 0.2
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    expected = kernel_distance(x, y)
    assert kernel_distance(rng.permutation(x), y) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(x @ rotation, y @ rotation) == pytest.approx(expected, rel=1e-11)
    assert kernel_distance(y, x) == pytest.approx(expected, rel=1e-12)
    for size in (7, 64):
        monkeypatch.setattr(kernel, "BLOCK", size)
        rows = on_disk(x)
        assert kernel_distance(rows, on_disk(y)) == pytest.approx(expected, rel=1e-12)
        assert rows.most_at_once <= size


def test_it_is_unbiased_and_negative_about_half_the_time_for_equal_laws() -> None:
    rng = np.random.default_rng(3)
    values = [kernel_distance(rng.normal(size=(20, 3)), rng.normal(size=(30, 3))) for _ in range(400)]
    # Mean 0 within four standard errors of these 400 draws.
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert 0.3 < np.mean(np.array(values) < 0) < 0.8


def test_the_closed_form_jackknife_equals_leaving_out_each_image() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(7, 3)) + 1
    without_x = np.array([kernel_distance(np.delete(x, i, 0), y) for i in range(9)])
    without_y = np.array([kernel_distance(x, np.delete(y, i, 0)) for i in range(7)])
    variance = 8 * without_x.var() + 6 * without_y.var()
    assert judge(generated=x, reference=y).standard_error == pytest.approx(np.sqrt(variance), rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_interval_covers_the_true_distance(shift: float) -> None:
    # x ~ N(shift·1, I), y ~ N(0, I) in 4 dimensions; s = x'x'/4 has E s = a, and E (s + 1)^3 in closed form is messy,
    # so the truth is the mean of the unbiased estimates. 300 intervals at 95 %: at least 0.95 - 4·0.0126 = 0.90.
    rng = np.random.default_rng(5)
    results = [
        judge(generated=rng.normal(size=(80, 4)) + shift, reference=rng.normal(size=(60, 4))) for _ in range(300)
    ]
    truth = np.mean([result.kd for result in results])
    assert np.mean([result.kd.lower <= truth <= result.kd.upper for result in results]) >= 0.90


def test_too_few_rows_or_different_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance([[1.0]], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="equally many features"):
        kernel_distance([[1.0], [2.0]], [[1.0, 2.0], [2.0, 1.0]])
    assert judge(generated=[[1.0], [2.0]], reference=[[1.0], [2.0], [3.0]]).kd.lower is None


@pytest.mark.parametrize(("offset", "told"), [(0, False), (10**4, False), (10**8, True)])
def test_rounding_stays_within_its_bound_and_is_told_where_it_shows(offset: int, told: bool) -> None:
    rng = np.random.default_rng(5)
    x, y = (rng.integers(-9, 10, size=(12, 4)) + offset + shift for shift in (0, 3))
    pairs = [(i, j) for i in range(12) for j in range(12)]

    def mean(a: np.ndarray, b: np.ndarray, *, within: bool) -> Fraction:
        kernels = [(Fraction(int(a[i] @ b[j]), 4) + 1) ** 3 for i, j in pairs if not (within and i == j)]
        return sum(kernels, Fraction(0)) / len(kernels)

    exact = mean(x, x, within=True) + mean(y, y, within=True) - 2 * mean(x, y, within=False)
    rows = [each.astype(np.float64) for each in (x, y)]
    found = kernel.mmd(*rows, kernel.cubic, names=("x", "y"))
    assert abs(Fraction(found.value) - exact) <= found.rounding
    (caution,) = judge(generated=rows[0], reference=rows[1]).cautions or (None,)
    assert (caution is not None) == told
    if caution is not None:
        assert caution.code == "rounding"
        assert f"of {found.value:.3g} may be rounding" in caution.message
