"""Every density model's YAML makes the network that the paper describes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from genaudit.likelihood.glow import Glow
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.likelihood.wide_resnet import ClassifierRecipe

FOLDER = Path(__file__).parents[2] / "configs" / "likelihood"
BASELINE = "wide_resnet"  # no density model
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != BASELINE)


def test_all_models_of_the_paper_are_there() -> None:
    assert {"glow", "glow_fc", "glow_local", "glow_laptop", "pixelcnnpp"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_config_makes_a_model_and_a_recipe(name: str) -> None:
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    assert isinstance(instantiate(config.recipe), TrainingRecipe)
    knobs = {"steps": 1, "hidden": 4} if "steps" in config.model else {"filters": 2}
    # The fully connected rotations of 32x32 take a minute to draw: the same knobs at a quarter of the side.
    model = instantiate(config.model, **knobs, size=8)
    x = torch.zeros(1, *model.image_shape)
    if name == "pixelcnnpp":  # ten components for three channels: a weight, three means, scales and coefficients each
        assert model.parameters_of(x).shape == (1, 10 * (1 + 3 * 3), 8, 8)
        return
    # Untrained couplings shift nothing, and black stays 0 under rotations: the density is the standard normal's, times
    # what the couplings scale by, sigmoid(2) of half of what a scale sees (the laptop's by 1).
    seen = 8 * 8 * config.model.channels
    halves = seen / 2 * (1 + 1 / 2 + 1 / 4 if "scales" in config.model else 1)
    scaled = halves * math.log(1 / (1 + math.exp(-2))) if config.model.coupling == "sigmoid" else 0.0
    expected = -seen / 2 * math.log(2 * math.pi) + scaled
    assert model.log_prob(x).tolist() == pytest.approx([expected], rel=1e-5)


def test_the_discriminative_baseline_is_wide_resnet_28_10() -> None:
    config = OmegaConf.load(FOLDER / f"{BASELINE}.yaml")
    assert isinstance(instantiate(config.recipe), ClassifierRecipe)
    assert (config.model.depth, config.model.width) == (28, 10)
    with torch.device("meta"):
        model = instantiate(config.model)
    # Zagoruyko and Komodakis 2016, Table 4: 36.5 million
    assert sum(each.numel() for each in model.parameters()) == pytest.approx(36.5e6, rel=2e-3)
    assert model(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2,)


def test_laptop_model_is_small_and_grey() -> None:
    model = instantiate(OmegaConf.load(FOLDER / "glow_laptop.yaml").model)
    assert isinstance(model, Glow)
    assert model.shapes == [(4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert 4 * sum(p.numel() for p in model.parameters()) < 500_000  # bytes, to ship with the package
