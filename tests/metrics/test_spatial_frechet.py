from __future__ import annotations

import numpy as np
import pytest
import torch

from genaudit.metrics import frechet
from genaudit.metrics.spatial_frechet import judge


def _rows(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=(n, 6)) * np.linspace(0.5, 2, 6)


def test_it_is_torchmetrics_frechet_distance_with_that_ones_interval() -> None:
    peer = pytest.importorskip("torchmetrics.image.fid")
    rng = np.random.default_rng(0)
    x, y = _rows(rng, 90), _rows(rng, 120) + 0.3
    moments = [torch.from_numpy(part) for rows in (x, y) for part in (rows.mean(axis=0), np.cov(rows, rowvar=False))]
    result, plain = judge(generated=x, reference=y), frechet.judge(generated=x, reference=y)
    assert result.sfd == pytest.approx(float(peer._compute_fid(*moments)), rel=1e-9)
    assert (result.sfd, result.sfd.lower, result.sfd.upper) == (plain.fd, plain.fd.lower, plain.fd.upper)


def test_moving_things_about_changes_it_where_pooled_features_stay_equal() -> None:
    # A map of 3 positions: the same values at other places have the same mean over positions.
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(200, 3)) * [1, 1, 5]
    moved = maps[:, [2, 0, 1]]
    pooled = [each.mean(axis=1, keepdims=True) for each in (moved, maps)]
    assert frechet.frechet_distance(*pooled) == pytest.approx(0.0, abs=1e-12)
    assert judge(generated=moved, reference=maps).sfd > 10
