"""Glow and its variants are bijections with the log-determinants that they claim."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from genaudit.likelihood.flow_layers import AffineCoupling, FixedRotation, InvertibleLinear, NormedConv, Prior
from genaudit.likelihood.glow import Glow, LocalGlow


def _trained(model: torch.nn.Module, channels: int, size: int, *, spread: float = 0.03) -> torch.Tensor:
    """Initialises on noise and moves every parameter, as training would; returns 6 images."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(16, channels, size, size, generator=generator) - 0.5
    model.initialise(x)  # type: ignore[operator]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return x[:6]


MODELS: dict[str, dict[str, Any]] = {
    "colour": dict(channels=3, size=16, scales=3, steps=4, hidden=16),
    "grey": dict(channels=1, size=28, scales=3, steps=2, hidden=16),
    "tanh": dict(channels=1, size=16, scales=2, steps=3, hidden=16, coupling="tanh"),
    "fully connected": dict(channels=3, size=8, scales=2, steps=3, hidden=16, layers="fully_connected"),
    "classes": dict(channels=1, size=8, scales=2, steps=2, hidden=8, classes=3),
}


@pytest.mark.parametrize("knobs", MODELS.values(), ids=MODELS.keys())
def test_decoding_undoes_encoding(knobs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Glow(**knobs)
    x = _trained(model, *model.image_shape[:2])
    labels = torch.arange(6) % 3 if model.classes > 1 else None
    with torch.no_grad():
        z = model.encode(x, labels)
        assert (model.decode(z, labels) - x).abs().max() < 1e-4
        again = model.encode(model.decode(z, labels), labels)
    assert max(float((a - b).abs().max()) for a, b in zip(z, again, strict=True)) < 1e-3


@pytest.mark.parametrize("knobs", [
    dict(channels=3, size=4, scales=2, steps=2, hidden=6),
    dict(channels=1, size=8, scales=2, steps=2, hidden=6, coupling="tanh"),
    dict(channels=1, size=4, scales=2, steps=3, hidden=6, layers="fully_connected"),
])  # fmt: skip
def test_log_prob_is_the_change_of_variables_with_autograds_jacobian(knobs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Glow(**knobs)
    x = _trained(model, *model.image_shape[:2], spread=0.1)[:2].double()
    model = model.double()

    def flat(image: torch.Tensor) -> torch.Tensor:
        return torch.cat([z.flatten() for z in model.encode(image.view(1, *model.image_shape))])

    for image in x:
        jacobian = torch.autograd.functional.jacobian(flat, image.flatten())
        expected = Normal(0.0, 1.0).log_prob(flat(image)).sum() + torch.linalg.slogdet(jacobian).logabsdet
        # float64 with some hundred operations. The fixed rotations are orthogonal to float32's rounding only.
        tolerance = 1e-5 if model.flat else 1e-9
        assert model.log_prob(image[None]).item() == pytest.approx(expected.item(), abs=tolerance, rel=1e-9)


def test_contributions_add_up_and_have_the_papers_shapes() -> None:
    model = Glow(3, 32, steps=1, hidden=4)
    assert model.shapes == [(12, 16, 16), (24, 8, 8), (48, 4, 4)]
    x = _trained(model, 3, 32)
    parts = model.contributions(x)
    assert parts.shape == (6, 3)
    torch.testing.assert_close(parts.sum(1), model.log_prob(x))
    assert [tuple(z.shape[1:]) for z in model.encode(x)] == [(6, 16, 16), (12, 8, 8), (48, 4, 4)]


def test_first_scales_contribution_is_the_density_of_its_latent_given_the_rest() -> None:
    # z_1 does not depend on what scale 2 does (S1.3): changing scale 2 moves c_2 alone.
    torch.manual_seed(0)
    model = Glow(1, 8, scales=2, steps=2, hidden=6)
    x = _trained(model, 1, 8)
    before = model.contributions(x)
    with torch.no_grad():
        for parameter in model.scales[1].parameters():
            parameter.mul_(0.9)
    after = model.contributions(x)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("size", [28, 32, 48, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_and_channels(size: int, channels: int) -> None:
    model = Glow(channels, size, steps=1, hidden=4, coupling="tanh")
    assert model.image_shape == (channels, 32 if size == 28 else size, 32 if size == 28 else size)
    samples = model.sample(2, torch.Generator().manual_seed(0))
    assert samples.shape == (2, *model.image_shape)
    # untrained couplings change nothing and rotations keep lengths: the density is the standard normal one
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(samples).flatten(1).sum(1)
    torch.testing.assert_close(model.log_prob(samples), expected)
    with pytest.raises(ValueError, match="images must be"):
        model.log_prob(samples[:, :, :-1])


def test_actnorms_leave_the_first_batch_with_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    model = Glow(1, 16, scales=1, steps=1, hidden=4)
    x = torch.randn(64, 1, 16, 16) * 3 + 5
    assert not bool(model.initialised)
    model.initialise(x)
    assert bool(model.initialised)
    step = model._steps(0)[0]
    assert isinstance(step.linear, InvertibleLinear)
    normed = step.linear.weight().inverse() @ step.linear(model._squeeze(x))[0].permute(1, 0, 2, 3).flatten(1)
    assert normed.mean(1).abs().max().item() < 1e-4
    assert (normed.std(1) - 1).abs().max().item() < 1e-3


@pytest.mark.parametrize("layers", ["convolutional", "fully_connected"])
def test_a_constant_border_does_not_make_other_images_impossible(layers: Any) -> None:
    # Initialised per dimension on padded digits, photographs cost 1,600 bits per dimension.
    torch.manual_seed(0)
    model = Glow(1, 16, scales=2, steps=2, hidden=8, layers=layers)
    digits = torch.full((64, 1, 16, 16), -0.5) + torch.rand(64, 1, 16, 16) / 256
    digits[:, :, 4:12, 4:12] = torch.rand(64, 1, 8, 8) - 0.5
    model.initialise(digits)
    photographs = torch.rand(8, 1, 16, 16) - 0.5
    bits = 8 - model.log_prob(photographs).mean() / (256 * math.log(2))
    assert float(bits) < 20


def test_fused_actnorm_is_convolution_then_actnorm() -> None:
    torch.manual_seed(0)
    conv = NormedConv(3, 5, 3)
    x = torch.randn(4, 3, 6, 6)
    conv.initialise(x)
    plain = torch.nn.functional.conv2d(x, conv.weight, padding=1)
    expected = (plain + conv.norm.shift.view(1, -1, 1, 1)) * conv.norm.log_scale.exp().view(1, -1, 1, 1)
    torch.testing.assert_close(conv(x), expected)
    torch.testing.assert_close(conv(x).mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)


def test_coupling_starts_as_the_authors_constant_scale() -> None:
    x = torch.randn(2, 4, 3, 3)
    y, log_det = AffineCoupling(4, 8, kernels=(3, 1, 3), scale="sigmoid")(x)
    scale = 1 / (1 + math.exp(-2.0))
    torch.testing.assert_close(y[:, 2:], x[:, 2:] * scale)
    torch.testing.assert_close(log_det, torch.full((2,), 18 * math.log(scale)))
    y, log_det = AffineCoupling(4, 8, kernels=(3, 1, 3), scale="tanh")(x)
    torch.testing.assert_close(y, x)
    assert log_det.abs().max() == 0


def test_fixed_rotation_is_not_trained_and_keeps_volume() -> None:
    layer = FixedRotation(12)
    assert {name for name, _ in layer.named_parameters()} == {"norm.shift", "norm.log_scale"}
    torch.testing.assert_close(layer.rotation @ layer.rotation.T, torch.eye(12), atol=1e-5, rtol=0)


def test_class_mixture_is_the_mean_density_over_classes() -> None:
    torch.manual_seed(0)
    model = Glow(1, 8, scales=2, steps=1, hidden=4, classes=3)
    x = _trained(model, 1, 8, spread=0.1)
    each = torch.stack([model.log_prob(x, torch.full((6,), k)) for k in range(3)])
    torch.testing.assert_close(model.log_prob(x), torch.logsumexp(each, 0) - math.log(3))
    assert not torch.allclose(each[0], each[1])
    torch.testing.assert_close(model.contributions(x).sum(1), model.log_prob(x))


def test_classes_begin_with_the_density_of_the_model_that_they_are_finetuned_from() -> None:
    torch.manual_seed(0)
    model = Glow(1, 8, scales=2, steps=1, hidden=4)
    x = _trained(model, 1, 8, spread=0.1)
    before = model.contributions(x)
    made = model.with_classes(3)
    torch.testing.assert_close(made.contributions(x), before)
    for label in range(3):
        torch.testing.assert_close(made.contributions(x, torch.full((6,), label)), before)
    made.log_prob(x, torch.tensor([0, 1, 1, 0, 1, 0])).sum().backward()
    prior = made.priors[-1]
    assert prior.shift.grad is not None
    assert [bool(each.any()) for each in prior.shift.grad] == [True, True, False]  # a class learns from its own images
    with torch.no_grad():
        prior.shift[2] += 1
    torch.testing.assert_close(model.contributions(x), before)  # a copy, its classes apart from one another
    torch.testing.assert_close(made.contributions(x, torch.ones(6, dtype=torch.long)), before)
    with pytest.raises(ValueError, match="3 classes already"):
        made.with_classes(2)


def test_prior_is_a_normal_density() -> None:
    prior = Prior((2, 3, 3))
    with torch.no_grad():
        prior.shift.normal_()
        prior.log_scale.normal_()
    h = torch.randn(4, 2, 3, 3)
    expected = Normal(-prior.shift[0], (-prior.log_scale[0]).exp()).log_prob(h).sum((1, 2, 3))
    torch.testing.assert_close(prior.log_prob(h), expected)


def test_recomputed_activations_give_the_same_gradient() -> None:
    torch.manual_seed(0)
    model = Glow(1, 8, scales=2, steps=2, hidden=4)
    x = _trained(model, 1, 8)
    gradients = []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        model.log_prob(x).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_local_glow_sees_patches_alone() -> None:
    torch.manual_seed(0)
    model = LocalGlow(3, 16, patch=8, steps=2, hidden=6)
    x = _trained(model, 3, 16)
    whole = model.log_prob(x)
    patches = [model.glow.log_prob(x[:, :, i : i + 8, j : j + 8]) for i in (0, 8) for j in (0, 8)]
    torch.testing.assert_close(whole, torch.stack(patches).sum(0))
    # Patches in another order make another image of the same likelihood.
    torch.testing.assert_close(model.log_prob(x.roll((8, 8), (2, 3))), whole)
    assert model.contributions(x).shape == (6, 1)
    samples = model.sample(2, torch.Generator().manual_seed(0))
    assert samples.shape == (2, 3, 16, 16)
    first = model.glow.sample(8, torch.Generator().manual_seed(0))
    assert torch.equal(samples[0, :, :8, 8:], first[1])


def test_samples_have_the_densitys_moments_and_depend_on_the_seed_alone() -> None:
    # Of an untrained model every step is linear, so that samples are Gaussian with the scale of the actnorms.
    torch.manual_seed(0)
    model = Glow(1, 8, scales=2, steps=2, hidden=4, coupling="tanh")
    model.initialise(torch.randn(512, 1, 8, 8) * 0.2 + 0.1)
    samples = model.sample(512, torch.Generator().manual_seed(3))
    assert torch.equal(samples, model.sample(512, torch.Generator().manual_seed(3)))
    # 32,768 values: the mean's standard error is 0.2/181 = 0.0011 and the deviation's 0.0008; the batch that set the
    # actnorms errs as much.
    assert float(samples.mean()) == pytest.approx(0.1, abs=0.008)
    assert float(samples.std()) == pytest.approx(0.2, abs=0.006)


def test_wrong_knobs_are_refused() -> None:
    with pytest.raises(ValueError, match="coupling"):
        Glow(1, 8, scales=1, steps=1, coupling="additive")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layers"):
        Glow(1, 8, scales=1, steps=1, layers="dense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be a positive integer, got"):
        Glow(1, 8, scales=1, steps=0)
    with pytest.raises(ValueError, match="patch"):
        LocalGlow(1, 8, patch=3)
