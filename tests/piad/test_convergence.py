"""A training says whether it beats detectors that need none, against scikit-learn's PCA; and its rule of choosing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from genaudit.piad.convergence import Convergence, convergence
from genaudit.piad.networks import Architecture, GeneratorNetwork, PIADNetworks, build

SCRIPT = Path(__file__).parents[2] / "scripts" / "choose_piad_recipe.py"
TINY = Architecture(latent=2, generator=(2, 2), encoder=(2, 2), critic=(2, 2), latent_critic=2)


def chooser() -> Any:
    spec = importlib.util.spec_from_file_location("choose_piad_recipe", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(count: int, seed: int) -> np.ndarray:
    """Around one image, along twenty directions."""
    basis = np.random.default_rng(0).normal(size=(21, 64))
    weights = np.concatenate([np.ones((count, 1)), np.random.default_rng(seed).normal(size=(count, 20)) / 4], axis=1)
    return np.clip(weights @ basis / 8, -1, 1).reshape(-1, 1, 8, 8).astype(np.float32)


def that_returns(out: nn.Module) -> PIADNetworks:
    """Networks whose reconstruction is `out` of the image."""
    networks = build(TINY, 1, seed=0)
    generator = GeneratorNetwork(out, latent_shape=(2, 1, 1), image_shape=(1, 8, 8))
    encoder = nn.Sequential(nn.Identity())
    encoder.register_parameter("where", nn.Parameter(torch.zeros(1)))
    return networks._replace(generator=generator, encoder=encoder)


def test_losses_are_those_of_scikit_learns_components_and_of_the_mean() -> None:
    train, held = images(100, 1), images(40, 2)
    found = convergence(that_returns(nn.Identity()), train, held, None, "mse", held_out=True)
    flat, other = train.reshape(100, -1).astype(float), held.reshape(40, -1).astype(float)
    pca = PCA(8).fit(flat)
    errors = [((other - each) ** 2).mean() for each in (flat.mean(0), pca.inverse_transform(pca.transform(other)))]
    # float32 images and sums of 64 squares: a relative error of some 1e-6
    assert [found.class_mean, found.components] == pytest.approx(errors, rel=1e-5)
    assert found.piad == 0
    assert found.converged
    assert (found.images, found.held_out) == (40, True)


def test_one_that_is_no_better_than_a_baseline_has_not_converged() -> None:
    blank = convergence(
        that_returns(nn.Hardtanh(-1e-9, 1e-9)), images(50, 1), images(20, 2), None, "mse", held_out=False
    )
    assert not blank.converged
    assert "20 training images" in blank.sentence
    assert "not converged, no better than the class mean and PCA-8" in blank.sentence
    between = Convergence(0.5, 0.6, 0.4, True, 9)
    assert "no better than PCA-8;" in between.sentence
    assert "not converged" not in Convergence(0.3, 0.6, 0.4, True, 9).sentence
    assert not Convergence(0.4, 0.6, 0.4, True, 9).converged  # as good as PCA is not better
    assert not Convergence(float("nan"), 0.6, 0.4, True, 9).converged


def test_of_many_images_those_that_are_judged_are_spread_over_all_of_them() -> None:
    """Images of a folder are in order: the first ones may be of one kind."""
    train, many = images(60, 1), np.concatenate([images(600, 2), np.zeros((600, 1, 8, 8), np.float32)])
    found = convergence(that_returns(nn.Hardtanh(-1e-9, 1e-9)), train, many, None, "mse", held_out=True)
    assert found.images == 512
    # a blank reconstruction is right about the second half, which is blank
    assert found.piad == pytest.approx((many**2).mean(), rel=0.05)


def test_the_rule_takes_the_better_history_and_the_length_after_which_little_is_gained() -> None:
    script = chooser()
    rows = {"a": [{"auroc": 0.9}, {"auroc": 0.7}], "b": [{"auroc": 0.8}, {"auroc": 0.81}]}
    assert script.history_of(rows) == "b"
    assert script.history_of({"a": rows["b"], "b": rows["b"]}) == "a"
    assert script.length_of([1.0, 0.9, 0.88, 0.8]) == 1  # 0.88 is 2.2 % lower
    assert script.length_of([1.0, 0.98]) == 0
    assert script.length_of([1.0, 0.9, 0.8, 0.7]) == 3
    assert script.length_of([1.0, 1.2, 0.5]) == 0
    assert script.length_of([1.0]) == 0


def test_pseudo_anomalies_are_made_of_the_image_alone() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    for made in chooser().pseudo_anomalies(image).values():
        assert sorted(made.ravel()) == list(range(16))
        assert not np.array_equal(made, image)
    assert chooser().pseudo_anomalies(image)["rearranged"][0, 0, 0].tolist() == [10, 11, 8, 9]
