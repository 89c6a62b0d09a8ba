"""A PIAD small enough for thousands of steps: 8x8 images, four latent channels, a random perceptual network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genaudit.piad.networks import Architecture, PIADNetworks, build
from genaudit.piad.perceptual import FilterStatistics, Perceptual


@pytest.fixture
def networks() -> PIADNetworks:
    architecture = Architecture(latent=4, generator=(6, 4), encoder=(4, 6), critic=(4, 6), latent_critic=8)
    return build(architecture, 1, seed=0)


@pytest.fixture
def perceptual() -> Perceptual:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Tanh())
    statistics = FilterStatistics(np.array([0.1, 0.0, -0.1, 0.2, 0.0]), np.array([0.5, 1.0, 0.7, 0.4, 0.9]))
    return Perceptual(network, statistics, name="tiny")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
