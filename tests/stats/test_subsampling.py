"""Errors from random parts: when there is one, and of which size."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.stats.subsampling import over_parts, quantile


@pytest.mark.parametrize(("images", "known"), [(9, False), (10, True)])
def test_ten_images_of_a_set_are_the_fewest_that_have_an_error(images: int, known: bool) -> None:
    x = np.arange(images, dtype=float)

    def mean(kept: np.ndarray, other: np.ndarray) -> dict[str, float]:
        return {"mean": float(x[kept].mean())}

    assert np.isfinite(over_parts(mean, {"kept": images, "other": 50})["mean"].error) == known


def test_an_error_rests_on_as_many_parts_less_one() -> None:
    # Student's 97.5 % point with 59 degrees of freedom, from tables
    assert quantile(0.95, 60) == pytest.approx(2.000995, abs=1e-6)
    assert quantile(0.95) == quantile(0.95, 60)
