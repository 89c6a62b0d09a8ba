"""The four networks: the specification's parameter counts, shapes, blocks and initialisation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genaudit.piad.networks import ARCHITECTURES, Architecture, MinibatchDeviation, PreActivation, build

COUNTS = [
    ("mnist", 1, (90_433, 73_280, 72_769, 20_865)),
    ("mnist", 3, (90_499, 73_856, 73_345, 20_865)),
    ("cifar10", 3, (2_897_539, 2_338_304, 571_137, 1_313_793)),
    ("lsun", 3, (427_011, 373_152, 363_905, 5_249_025)),
    ("celeba", 3, (435_075, 366_976, 363_905, 82_689)),
]


@pytest.mark.parametrize(("name", "channels", "counts"), COUNTS)
def test_parameter_counts_are_those_of_the_tables(name: str, channels: int, counts: tuple[int, ...]) -> None:
    networks = build(name, channels)
    assert tuple(sum(p.numel() for p in network.parameters()) for network in networks) == counts


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "size", "latent"),
    [("mnist", 32, (32, 1, 1)), ("cifar10", 32, (256, 1, 1)), ("lsun", 64, (32, 4, 4)), ("celeba", 64, (64, 1, 1))],
)
def test_networks_map_latents_to_images_and_back(name: str, size: int, latent: tuple[int, ...], channels: int) -> None:
    networks = build(name, channels)
    with torch.inference_mode():
        x = networks.generator(torch.randn(2, *latent))
        z = networks.encoder(x)
        assert networks.latent_shape == latent
        assert networks.image_shape == (channels, size, size)
        assert x.shape == (2, channels, size, size)
        assert z.shape == (2, *latent)
        assert networks.image_critic(x).shape == networks.latent_critic(z).shape == (2,)


@pytest.mark.parametrize("size", [8, 16, 24, 28, 40, 64, 112])
def test_another_size_keeps_the_widths_at_the_latent_end(size: int) -> None:
    cifar10 = ARCHITECTURES["cifar10"]
    other = cifar10.sized(size)
    assert other.size == size
    shared = min(len(other.encoder), len(cifar10.encoder))
    assert other.encoder[-shared:] == cifar10.encoder[-shared:]
    assert other.generator[:shared] == cifar10.generator[:shared]
    networks = build(other.widened(1 / 32), 1)
    with torch.inference_mode():
        x = networks.generator(torch.randn(2, *networks.latent_shape))
        assert x.shape == (2, 1, size, size)
        assert networks.encoder(x).shape == (2, *networks.latent_shape)
        assert networks.image_critic(x).shape == (2,)


def test_the_same_size_and_width_change_nothing() -> None:
    for architecture in ARCHITECTURES.values():
        assert architecture.sized(architecture.size).widened(1) == architecture


@pytest.mark.parametrize("size", [4, 7, 30, 36, 33])
def test_a_size_that_cannot_be_halved_to_the_base_is_an_error_that_names_a_near_one(size: int) -> None:
    with pytest.raises(ValueError, match="try"):
        ARCHITECTURES["mnist"].sized(size)


def test_bad_names_channels_and_widths_are_errors() -> None:
    with pytest.raises(ValueError, match="celeba"):
        build("imagenet", 3)
    with pytest.raises(ValueError, match="channels must be a positive integer, got 0"):
        build("mnist", 0)
    with pytest.raises(ValueError, match="equally many"):
        Architecture(4, (4, 4), (4, 4, 4), (4, 4), 8)


def test_a_seed_repeats_the_weights_and_leaves_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, third = (build("mnist", 1, seed=seed).encoder.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["0.weight"], third["0.weight"])


@pytest.mark.parametrize(("before", "after"), [(3, 3), (3, 5)])
def test_blocks_are_the_figures(before: int, after: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, before, 8, 8, dtype=torch.float64)
    kept = x.clone()

    def lrelu(t: torch.Tensor) -> torch.Tensor:
        return torch.where(t > 0, t, 0.2 * t)

    for up, down in ((False, False), (True, False), (False, True)):
        block = PreActivation(before, after, up=up, down=down).double()

        def resize(t: torch.Tensor, up: bool = up, down: bool = down) -> torch.Tensor:
            if up:
                return t.repeat_interleave(2, 2).repeat_interleave(2, 3)
            return t.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) if down else t

        h = F.conv2d(resize(lrelu(x)), block.conv1.weight, block.conv1.bias, padding=1)
        h = F.conv2d(lrelu(h), block.conv2.weight, block.conv2.bias, padding=1)
        # float64 sums of some tens of terms: 1e-12 leaves a factor of 1e3
        torch.testing.assert_close(block(x), block.skip(resize(x)) + h, rtol=0, atol=1e-12)
        assert isinstance(block.skip, nn.Identity) == (before == after)
    assert torch.equal(x, kept)


def test_minibatch_deviation_is_one_constant_last_channel() -> None:
    x = torch.zeros(4, 2, 3, 3)
    x[:, 0] = torch.tensor([-1.0, -1.0, 1.0, 1.0]).reshape(4, 1, 1)  # population deviation 1 in one of two channels
    y = MinibatchDeviation()(x)
    assert y.shape == (4, 3, 3, 3)
    assert torch.equal(y[:, :2], x)
    # (1 + sqrt(1e-8)) / 2 for 9 positions each
    assert torch.allclose(y[:, 2], torch.tensor((math.sqrt(1 + 1e-8) + 1e-4) / 2), rtol=1e-6, atol=0)


def test_initial_weights_are_kaiming_and_xavier() -> None:
    networks: Any = build("cifar10", 3, seed=0)
    weight = networks.encoder[3].conv2.weight
    assert weight.shape == (256, 256, 3, 3)
    # deviation of 589,824 normal draws: relative standard error 1/sqrt(2n) = 0.0009; five of them
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 1.04 / (256 * 9)), rel=0.005)
    hidden, output = networks.latent_critic[3].weight, networks.latent_critic[5].weight
    bound = math.sqrt(2 / 1.04) * math.sqrt(6 / 2048)
    assert bound * 0.999 < hidden.abs().max().item() <= bound
    assert output.abs().max().item() <= math.sqrt(6 / 1025)
