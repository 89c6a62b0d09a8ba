from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics import kernel
from genaudit.metrics.cmmd import cmmd, judge


def _sets(n: int = 70, m: int = 50, dimensions: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, dimensions)), rng.normal(size=(m, dimensions)) + 0.3


@pytest.mark.parametrize("sigma", [0.5, 10.0])
def test_it_equals_the_mean_of_sklearns_kernels(sigma: float) -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = _sets()
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y)]
    for normalise, (a, b) in ((True, unit), (False, (x, y))):
        xx, yy, xy = (pairwise.rbf_kernel(p, q, gamma=1 / (2 * sigma**2)) for p, q in ((a, a), (b, b), (a, b)))
        # Theirs cancels from 1: 3·2^-53 each time 1,000, which is 1e-12.
        assert cmmd(x, y, sigma=sigma, normalise=normalise) == pytest.approx(
            1000 * (xx.mean() + yy.mean() - 2 * xy.mean()), abs=1e-11
        )
        within = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
        assert cmmd(x, y, sigma=sigma, normalise=normalise, unbiased=True) == pytest.approx(
            1000 * (sum(within) - 2 * xy.mean()), abs=1e-11
        )


def test_with_its_wide_kernel_it_is_all_but_ten_times_the_squared_distance_of_the_mean_directions() -> None:
    # exp(-s/200) = 1 - s/200 + s^2/80000 with s <= 4: 1000·s/200 counts |difference of means|^2·10, the rest <= 1 %.
    x, y = _sets()
    means = [(rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0) for rows in (x, y)]
    assert cmmd(x, y) == pytest.approx(10 * np.square(means[0] - means[1]).sum(), rel=0.02)


def test_equal_sets_are_at_distance_zero_and_it_is_symmetric_and_blind_to_lengths() -> None:
    x, y = _sets()
    assert cmmd(x, x) == pytest.approx(0.0, abs=1e-12)
    assert cmmd(x, y) == pytest.approx(cmmd(y, x), rel=1e-12)
    assert cmmd(x * np.arange(1, 71)[:, None], y) == pytest.approx(cmmd(x, y), rel=1e-10)


def test_it_does_not_depend_on_blocks_or_where_the_rows_lie(on_disk, monkeypatch) -> None:
    x, y = _sets()
    expected = judge(generated=x, reference=y)
    monkeypatch.setattr(kernel, "BLOCK", 13)
    found = judge(generated=on_disk(x), reference=on_disk(y))
    for name in ("cmmd", "cmmd_unbiased", "standard_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)


def test_the_jackknife_leaves_each_image_out() -> None:
    x, y = _sets(9, 7, 3)
    without_x = [cmmd(np.delete(x, i, 0), y) for i in range(9)]
    without_y = [cmmd(x, np.delete(y, i, 0)) for i in range(7)]
    error = np.sqrt(8 * np.var(without_x) + 6 * np.var(without_y))
    assert judge(generated=x, reference=y).standard_error == pytest.approx(error, rel=1e-9)


def test_zero_rows_and_widths_are_refused() -> None:
    x, y = _sets()
    with pytest.raises(ValueError, match="no direction"):
        cmmd(np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"sigma must be a number from 1e-20 to 1e\+20, got 0"):
        cmmd(x, y, sigma=0)
