from __future__ import annotations

import numpy as np
import pytest
import torch

from genaudit.metrics import mind as module
from genaudit.metrics.mind import judge, mind
from genaudit.metrics.swd import swd


def test_it_is_the_papers_average_of_sorted_projections(monkeypatch) -> None:
    # Berthet et al. 2026: (3D / nM) sum over M directions of |sort(Xu) - sort(Yu)|^2, here in torch as peers have it.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 12)), rng.normal(size=(70, 12)) * 1.2 + 0.3
    drawn = torch.randn(40, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    unit = drawn / drawn.norm(dim=1, keepdim=True)
    projected = [(torch.from_numpy(rows) @ unit.T).sort(dim=0).values for rows in (x, y)]
    expected = float(3 * 12 * ((projected[0] - projected[1]) ** 2).mean())
    monkeypatch.setattr(module, "random_directions", lambda count, dimensions, seed: unit.numpy())
    assert mind(x, y, directions=40) == pytest.approx(expected, rel=1e-12)


def test_it_is_3d_times_the_squared_sliced_distance_and_sees_what_fd_does_not() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3))
    y = rng.choice([-1.0, 1.0], size=(300, 3))  # the same mean and covariance, another law
    assert mind(x, y) == pytest.approx(9 * swd(x, y) ** 2, rel=1e-12)
    assert judge(generated=y, reference=x).mind.lower > judge(generated=rng.normal(size=(300, 3)), reference=x).mind


def test_copies_of_every_image_change_nothing() -> None:
    # The law is the same, whatever the sizes: subsampling the larger set would change it.
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(40, 5)) + 1
    assert mind(np.repeat(x, 3, axis=0), y) == pytest.approx(mind(x, y), rel=1e-12)
    assert mind(np.repeat(x, 2, axis=0), x) == pytest.approx(0.0, abs=1e-20)


def test_judge_brackets_its_value_and_cautions_below_a_thousand_images() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(1000, 4)), rng.normal(size=(1000, 4)) + 0.5
    result = judge(generated=x, reference=y, directions=20)
    assert result.mind.lower < result.mind < result.mind.upper
    assert result.cautions == ()
    assert [each.code for each in judge(generated=x[:99], reference=y, directions=20).cautions] == ["few-images"]
