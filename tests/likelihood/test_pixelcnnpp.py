"""PixelCNN++ is autoregressive and a probability distribution; so is its mixture of logistics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import logistic

from genaudit.likelihood.logistic_mixture import draw, log_mass, parameter_count
from genaudit.likelihood.pixelcnnpp import PixelCNNpp


def _moved(model: PixelCNNpp, spread: float = 0.3) -> PixelCNNpp:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def test_mixture_sums_to_one_over_256_values() -> None:
    # Narrow and wide logistics, inside, at the edge and far outside.
    torch.manual_seed(0)
    logits, means = torch.randn(40, 5) * 3, torch.randn(40, 5) * 2
    log_scales = torch.randn(40, 5) * 4 - 2
    parameters = torch.cat([logits, means, log_scales], dim=1).double()[:, :, None, None].expand(-1, -1, 1, 256)
    values = (2 * torch.arange(256, dtype=torch.float64) / 255 - 1).expand(40, 1, 1, 256)
    total = log_mass(parameters, values).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)


def test_mixture_is_the_difference_of_scipys_distribution_functions() -> None:
    parameters = torch.tensor([0.3, -0.5, 0.1, -0.4, -2.0, -3.0], dtype=torch.float64).view(1, 6, 1, 1)
    weights = np.exp([0.3, -0.5]) / np.exp([0.3, -0.5]).sum()
    for value in (0, 1, 100, 140, 255):
        x = 2 * value / 255 - 1
        upper = np.inf if value == 255 else x + 1 / 255
        lower = -np.inf if value == 0 else x - 1 / 255
        components = [logistic(0.1, math.exp(-2)), logistic(-0.4, math.exp(-3))]
        cells = [component.cdf(upper) - component.cdf(lower) for component in components]
        found = log_mass(parameters, torch.full((1, 1, 1, 1), x, dtype=torch.float64)).exp()
        assert float(found) == pytest.approx(float(weights @ cells), rel=1e-9)


def test_mixture_has_finite_tails_and_gradients_in_float32() -> None:
    parameters = torch.tensor([0.0, 30.0, -20.0]).view(1, 3, 1, 1).requires_grad_()
    log_p = log_mass(parameters, torch.full((1, 1, 1, 1), -0.9))
    # The scale is held at exp(-7): 30.9 cells' widths away, log p is about -(30.9 - 1/255)·exp(7).
    assert log_p.item() == pytest.approx(-(30.9 - 1 / 255) * math.exp(7), rel=1e-3)
    log_p.sum().backward()
    assert parameters.grad is not None
    # one component has no say in its own weight, and the scale is held: only the mean has a gradient
    torch.testing.assert_close(parameters.grad.flatten(), torch.tensor([0.0, -math.exp(7), 0.0]), rtol=1e-3, atol=1e-6)


def test_colour_mixture_sums_to_one_over_all_colours() -> None:
    torch.manual_seed(0)
    bins = 5
    parameters = torch.randn(1, parameter_count(3, 2), 1, 1).double().expand(bins**3, -1, -1, -1)
    colours = torch.tensor(list(itertools.product(range(bins), repeat=3))).double()
    total = log_mass(parameters, (2 * colours / (bins - 1) - 1)[:, :, None, None], bins).exp().sum()
    assert float(total) == pytest.approx(1.0, rel=1e-12)


def test_drawn_values_follow_the_mass() -> None:
    torch.manual_seed(0)
    bins, n = 3, 20000
    parameters = torch.randn(1, parameter_count(3, 2), 1, 1)
    drawn = draw(parameters.expand(n, -1, -1, -1), 3, torch.Generator().manual_seed(1), bins)[:, :, 0, 0]
    colours = torch.tensor(list(itertools.product(range(bins), repeat=3)))
    mass = log_mass(parameters.expand(27, -1, -1, -1), (colours.float() - 1)[:, :, None, None], bins).exp().flatten()
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27)
    # Five standard errors of a binomial share.
    assert ((counts / n - mass).abs() <= 5 * (mass * (1 - mass) / n).sqrt() + 1e-4).all()


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8)])
def test_no_output_sees_its_own_or_a_later_pixel(channels: int, size: int) -> None:
    torch.manual_seed(0)
    model = _moved(PixelCNNpp(channels, size, filters=3, blocks=1, components=1))
    x = (torch.rand(1, channels, size, size) * 2 - 1).requires_grad_()
    output = model.parameters_of(x).sum(1).flatten()
    seen = torch.stack([torch.autograd.grad(o, x, retain_graph=True)[0].abs().sum((0, 1)).flatten() for o in output])
    assert torch.triu(seen).abs().max() == 0
    # And each but the first does see the pixel before it or the one above.
    for place in range(1, size * size):
        before = place - 1 if place % size else place - size
        assert seen[place, before] > 0


@pytest.mark.parametrize(("channels", "bins"), [(1, 4), (3, 2)])
def test_probabilities_of_all_tiny_images_sum_to_one(channels: int, bins: int) -> None:
    torch.manual_seed(0)
    model = _moved(PixelCNNpp(channels, 2, filters=3, blocks=1, resolutions=2, components=2, bins=bins), 0.1)
    dims = 4 * channels
    images = torch.tensor(list(itertools.product(range(bins), repeat=dims))).view(-1, channels, 2, 2)
    with torch.no_grad():
        density = model.log_prob((images + 0.5) / bins - 0.5).double()
    # A density on the axis, constant in each of bins^D cells; float32 sums of 4,096 masses.
    assert float((density - dims * math.log(bins)).exp().sum()) == pytest.approx(1.0, rel=1e-4)


def test_noise_within_a_pixels_cell_changes_nothing() -> None:
    torch.manual_seed(0)
    model = _moved(PixelCNNpp(1, 8, filters=3, blocks=1, components=2))
    pixels = torch.randint(0, 256, (3, 1, 8, 8))
    with torch.no_grad():
        middle = model.log_prob((pixels + 0.5) / 256 - 0.5)
        noisy = model.log_prob((pixels + 0.99 * torch.rand(pixels.shape)) / 256 - 0.5)
    assert torch.equal(middle, noisy)
    assert model.contributions((pixels + 0.5) / 256 - 0.5).shape == (3, 1)


def test_samples_are_pixels_and_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    model = _moved(PixelCNNpp(3, 4, filters=3, blocks=1, components=2), 0.1)
    samples = model.sample(2, torch.Generator().manual_seed(0))
    assert samples.shape == (2, 3, 4, 4)
    values = (samples + 0.5) * 256 - 0.5
    torch.testing.assert_close(values, values.round())
    assert torch.equal(samples, model.sample(2, torch.Generator().manual_seed(0)))


def test_samples_have_the_models_probabilities() -> None:
    torch.manual_seed(0)
    model = _moved(PixelCNNpp(1, 2, filters=3, blocks=1, resolutions=1, components=2, bins=2), 0.1)
    n = 4000
    drawn = ((model.sample(n, torch.Generator().manual_seed(0)) + 0.5) * 2).floor().flatten(1).long()
    images = torch.tensor(list(itertools.product(range(2), repeat=4)))
    with torch.no_grad():
        mass = (model.log_prob((images.view(-1, 1, 2, 2) + 0.5) / 2 - 0.5) - 4 * math.log(2)).exp()
    counts = torch.bincount(drawn @ torch.tensor([8, 4, 2, 1]), minlength=16)
    assert ((counts / n - mass).abs() <= 5 * (mass * (1 - mass) / n).sqrt() + 1e-3).all()


def test_size_is_rounded_up_and_wrong_shapes_are_refused() -> None:
    model = PixelCNNpp(1, 27, filters=2, blocks=1)
    assert model.image_shape == (1, 28, 28)
    with pytest.raises(ValueError, match="images must be"):
        model.log_prob(torch.zeros(1, 1, 27, 27))
