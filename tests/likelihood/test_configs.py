"""Every density model's YAML makes the network that the paper describes."""

from __future__ import annotations

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
    assert torch.isfinite(model.log_prob(x)).all()


def test_the_discriminative_baseline_is_wide_resnet_28_10() -> None:
    config = OmegaConf.load(FOLDER / f"{BASELINE}.yaml")
    assert isinstance(instantiate(config.recipe), ClassifierRecipe)
    assert (config.model.depth, config.model.width) == (28, 10)
    model = instantiate(config.model, depth=10, width=1, size=8)
    assert torch.isfinite(model.eval()(torch.zeros(2, *model.image_shape))).all()


def test_laptop_model_is_small_and_grey() -> None:
    model = instantiate(OmegaConf.load(FOLDER / "glow_laptop.yaml").model)
    assert isinstance(model, Glow)
    assert model.shapes == [(4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert 4 * sum(p.numel() for p in model.parameters()) < 500_000  # bytes, to ship with the package
