"""PIAD's losses against closed forms: hand-computed distances, and critics whose gradient is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from genaudit.piad import losses

FX = np.array([[[2.0, -2.0], [4.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])  # (N = 2, C = 2, positions 2)
FY = np.array([[[1.0, -2.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 3.0]]])


def test_perceptual_losses_by_hand() -> None:
    # differences 1, 0, 4, -2 and 0, 0, 0, -2
    np.testing.assert_allclose(losses.perceptual(FX, FY), [21 / 4, 1.0], rtol=1e-15)
    np.testing.assert_allclose(losses.mean_squared_error(FX, FY), [21 / 4, 1.0], rtol=1e-15)
    np.testing.assert_allclose(losses.perceptual_l1(FX, FY), [7 / 4, 2 / 4], rtol=1e-15)
    np.testing.assert_allclose(losses.relative_perceptual_l1(FX, FY), [7 / 8, 2 / 4], rtol=1e-15)


def test_relative_loss_normalises_by_filter() -> None:
    mean, std = [1.0, 0.0], [0.5, 2.0]
    # first sample: |differences| / std = 2, 0, 2, 1; |f(x) - mean| / std = 2, 6, 2, 0
    # second sample: differences 0, 0, 0, 1; sizes 0, 0, 0.5, 0.5
    np.testing.assert_allclose(losses.relative_perceptual_l1(FX, FY, mean, std), [5 / 10, 1.0], rtol=1e-15)
    np.testing.assert_allclose(losses.perceptual_l1(FX, FY, mean, std), [5 / 4, 1 / 4], rtol=1e-15)


def test_relative_loss_is_asymmetric_and_normalised_by_its_first_argument() -> None:
    forth, back = losses.relative_perceptual_l1(FX, FY), losses.relative_perceptual_l1(FY, FX)
    np.testing.assert_allclose(back, [7 / 5, 2 / 6], rtol=1e-15)
    assert not np.allclose(forth, back)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    together = losses.relative_perceptual_l1(FX, FY)
    alone = [losses.relative_perceptual_l1(FX[i : i + 1], FY[i : i + 1])[0] for i in range(2)]
    np.testing.assert_array_equal(together, alone)
    of_sums = np.abs(FX - FY).sum() / np.abs(FX).sum()
    assert together.mean() != pytest.approx(of_sums)


def test_relative_loss_does_not_see_contrast_and_the_perceptual_loss_does() -> None:
    np.testing.assert_allclose(
        losses.relative_perceptual_l1(FX / 4, FY / 4), losses.relative_perceptual_l1(FX, FY), rtol=1e-15
    )
    np.testing.assert_allclose(losses.perceptual(FX / 4, FY / 4), losses.perceptual(FX, FY) / 16, rtol=1e-15)


def test_identical_features_are_at_distance_zero_even_where_they_vanish() -> None:
    zeros = np.zeros_like(FX)
    np.testing.assert_array_equal(losses.relative_perceptual_l1(FX, FX), [0, 0])
    np.testing.assert_array_equal(losses.relative_perceptual_l1(zeros, zeros), [0, 0])


def test_a_filter_of_infinite_deviation_counts_for_nothing() -> None:
    np.testing.assert_allclose(
        losses.relative_perceptual_l1(FX, FY, [0, 0], [2, np.inf]),
        losses.relative_perceptual_l1(FX[:, :1], FY[:, :1]),
        rtol=1e-15,
    )


def test_the_map_sums_to_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    fx, fy = torch.randn(2, 3, 5, 4, 6, generator=generator, dtype=torch.float64)
    mean, std = torch.randn(5, generator=generator), torch.rand(5, generator=generator) + 0.5
    shares = losses.relative_perceptual_l1_map(fx, fy, mean, std)
    assert shares.shape == (3, 4, 6)
    torch.testing.assert_close(shares.sum((1, 2)), losses.relative_perceptual_l1(fx, fy, mean, std))


def test_tensors_and_arrays_agree_and_come_back_as_given() -> None:
    for loss in (losses.perceptual, losses.perceptual_l1, losses.relative_perceptual_l1, losses.mean_squared_error):
        array, tensor = loss(FX, FY), loss(torch.from_numpy(FX), torch.from_numpy(FY))
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize(
    ("fx", "fy", "mean", "std", "match"),
    [
        (FX, FY[:1], None, None, "one shape"),
        (FX[:0], FY[:0], None, None, "one shape"),
        (FX, FY, [0, 0, 0], None, "mean must be"),
        (FX, FY, None, [1.0, 0.0], "std must be positive"),
    ],
)
def test_wrong_shapes_and_statistics_are_errors(
    fx: np.ndarray, fy: np.ndarray, mean: list[float] | None, std: list[float] | None, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        losses.relative_perceptual_l1(fx, fy, mean, std)


REAL = torch.tensor([[[[1.0, 2.0]]], [[[0.0, -1.0]]]], dtype=torch.float64)  # (2, 1, 1, 2)
FAKE = torch.tensor([[[[3.0, 0.0]]], [[[1.0, 1.0]]]], dtype=torch.float64)
WEIGHT = torch.tensor([3.0, 4.0], dtype=torch.float64)


def linear(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x.flatten(1) @ weight


def test_critic_loss_of_a_linear_critic_in_closed_form() -> None:
    # D(real) = 11, -4; D(fake) = 9, 7; ||grad|| = 5 everywhere, whatever the mix
    base = 8 - 3.5
    for mix in (None, torch.tensor([0.0, 1.0])):
        loss = losses.critic_loss(linear(WEIGHT), REAL, FAKE, mix=mix)
        assert float(loss) == pytest.approx(base + 10 * 16 + 0.001 * (121 + 16) / 2, rel=1e-14)
    loss = losses.critic_loss(linear(WEIGHT), REAL, FAKE, gp_weight=2, drift=0.5, drift_on_fake=True)
    assert float(loss) == pytest.approx(base + 2 * 16 + 0.5 * (137 / 2 + 130 / 2), rel=1e-14)


def test_the_penalty_reaches_the_critics_weights() -> None:
    weight = WEIGHT.clone().requires_grad_(True)
    losses.critic_loss(linear(weight), REAL, FAKE, drift=0).backward()
    # E[fake] - E[real] + 10 · 2·(|w| - 1)·w/|w|
    expected = FAKE.mean(0).flatten() - REAL.mean(0).flatten() + 20 * 4 * WEIGHT / 5
    torch.testing.assert_close(weight.grad, expected)


def test_the_mix_weighs_the_real_sample_and_the_norm_is_per_sample() -> None:
    def half_square(x: torch.Tensor) -> torch.Tensor:  # its gradient is x
        return x.square().flatten(1).sum(1, keepdim=True) / 2

    mix = torch.tensor([0.25, 1.0], dtype=torch.float64)
    between = torch.tensor([[2.5, 0.5], [0.0, -1.0]], dtype=torch.float64)
    norms = between.square().sum(1).sqrt()
    expected = (9 + 2) / 4 - (5 + 1) / 4 + 10 * (norms - 1).square().mean()
    for shaped in (mix, mix.reshape(2, 1, 1, 1)):
        loss = losses.critic_loss(half_square, REAL, FAKE, drift=0, mix=shaped)
        assert loss.item() == pytest.approx(float(expected))


def test_no_gradient_flows_into_the_samples_of_the_critic() -> None:
    real, fake = REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)
    losses.critic_loss(linear(WEIGHT.clone().requires_grad_(True)), real, fake).backward()
    assert real.grad is None
    assert fake.grad is None


def test_generator_loss_is_minus_the_mean_and_reaches_the_fake() -> None:
    fake = FAKE.clone().requires_grad_(True)
    loss = losses.generator_loss(linear(WEIGHT), fake)
    loss.backward()
    assert loss.item() == -8
    torch.testing.assert_close(fake.grad, (-WEIGHT / 2).expand(2, 2).reshape(FAKE.shape))


def test_critic_loss_wants_equally_many_real_and_fake() -> None:
    with pytest.raises(ValueError, match="one shape"):
        losses.critic_loss(linear(WEIGHT), REAL, FAKE[:1])
