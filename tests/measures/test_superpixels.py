"""Superpixel attribution: a planted vulnerable region is found, and the regression is least squares."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genaudit.errors import UserError
from genaudit.measures.superpixels import attribute, choose, regress, superpixels


def _grid(size: int = 32, cells: int = 4) -> np.ndarray:
    """Square superpixels, (size, size), cells² of them."""
    place = np.arange(size) * cells // size
    return place[:, None] * cells + place[None, :]


def _planted(labels: np.ndarray, target: int) -> Any:
    """A network that looks at one superpixel strongly, with a bend, and faintly at all others."""
    weights = torch.full(labels.shape, 0.01, dtype=torch.float64)
    weights[torch.from_numpy(labels == target)] = 1.0

    def network(images: torch.Tensor) -> torch.Tensor:
        total = (images.double() * weights).flatten(1).sum(1, keepdim=True)
        return torch.cat([total, torch.tanh(total)], dim=1)

    return network


@pytest.mark.parametrize("target", [0, 6, 15])
def test_the_planted_region_has_the_largest_coefficient_and_its_size(target: int) -> None:
    labels = _grid()
    image = torch.full((3, 32, 32), 0.5, dtype=torch.float64)
    found = attribute(_planted(labels, target), image, labels, trials=48, seed=1)
    assert int(found.coefficients.argmax()) == target
    others = np.delete(found.coefficients, target)
    # alpha·steps = 0.1 on 3·64 values of weight 1: 19.2, and 0.192 from each other region; the attack of one that
    # starts downhill goes down, which flips signs alike everywhere and leaves the sizes
    assert found.coefficients[target] == pytest.approx(19.2, rel=0.15)
    assert np.abs(others).max() < 2.5
    assert (np.abs(others) < 5 * found.standard_errors.max() + 0.5).all()
    assert found.share_explained > 0.95


def test_the_papers_budget_still_ranks_the_planted_region_first() -> None:
    # 20 trials for 16 superpixels and an intercept: barely determined, as in the paper
    labels = _grid()
    found = attribute(_planted(labels, 5), torch.full((3, 32, 32), 0.5, dtype=torch.float64), labels)
    assert found.chosen.shape == (20, 16)
    assert set(found.chosen.sum(1)) <= {3, 4, 5, 6}
    assert int(found.coefficients.argmax()) == 5


def test_the_regression_is_ordinary_least_squares_with_its_standard_errors() -> None:
    rng = np.random.default_rng(0)
    chosen = choose(60, 8, 3, 6, seed=2)
    changes = chosen @ rng.normal(size=8) + 3 + 0.1 * rng.normal(size=60)
    found = regress(chosen, changes)
    design = np.column_stack([np.ones(60), chosen])
    expected, residual, _, _ = np.linalg.lstsq(design, changes, rcond=None)
    np.testing.assert_allclose(np.append(found.intercept, found.coefficients), expected, rtol=1e-9)
    covariance = np.linalg.inv(design.T @ design) * residual[0] / (60 - 9)
    np.testing.assert_allclose(found.standard_errors, np.sqrt(np.diag(covariance))[1:], rtol=1e-9)


def test_too_few_trials_give_no_standard_errors() -> None:
    chosen, changes = choose(10, 20, 3, 6, seed=0), np.arange(10.0)
    found = regress(chosen, changes)
    assert np.isnan(found.standard_errors).all()
    # more unknowns than trials: of the coefficients that give every change exactly, the smallest
    np.testing.assert_allclose(found.intercept + chosen @ found.coefficients, changes, atol=1e-9)
    expected = np.linalg.lstsq(chosen - chosen.mean(0), changes - changes.mean(), rcond=None)[0]
    np.testing.assert_allclose(found.coefficients, expected, atol=1e-9)


def test_superpixels_cover_the_image_and_follow_its_regions() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((100, 80), Image.Resampling.NEAREST))
    labels = superpixels(image, 20)
    assert labels.shape == (80, 100)
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    assert 12 <= labels.max() + 1 <= 28
    spread = np.mean([image[labels == label].std(0).mean() for label in range(labels.max() + 1)])
    assert spread < 0.4 * image.std((0, 1)).mean()


def test_a_missing_scikit_image_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"genaudit-images\[explain\]"):
        superpixels(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("settings", [{"least": 0}, {"most": 99}, {"least": 5, "most": 4}])
def test_impossible_trials_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="superpixels"):
        attribute(lambda x: x.flatten(1), torch.zeros(3, 32, 32), _grid(), **settings)
