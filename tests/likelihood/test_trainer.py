"""Training: it learns, resumes bit for bit, survives values that are not finite, and lowers outliers."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genaudit.errors import UserError
from genaudit.likelihood.glow import Glow
from genaudit.likelihood.losses import bits_per_dim
from genaudit.likelihood.pixelcnnpp import PixelCNNpp
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.likelihood.scoring import log_likelihoods, noisy_log_prob
from genaudit.likelihood.trainer import Step, Trainer, finetune_from

RECIPE = TrainingRecipe(
    iterations=6,
    batch_size=8,
    optimiser="adam",
    learning_rate=5e-3,
    weight_decay=0.0,
    warmup=2,
    schedule="cosine",
    clip_norm=10.0,
    flip=True,
    shift=0.1,
    initial_images=16,
)


def _images(n: int = 30, *, seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    """Smooth gradients with a little noise, uint8 (N, 8, 8)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, 8)
    smooth = rng.uniform(0, 1, (n, 1, 1)) * ramp[:, None] + rng.uniform(0, 1, (n, 1, 1)) * ramp
    return (low + (high - low - 1) * smooth / 2).astype(np.uint8)


def _glow(seed: int = 0, **knobs: Any) -> Glow:
    torch.manual_seed(seed)
    return Glow(1, 8, scales=2, steps=2, hidden=8, coupling="tanh", **knobs)


class Located(nn.Module):
    """A normal density with a learned mean, and a way to fail on bright images."""

    image_shape = (1, 8, 8)
    initialised = torch.tensor(True)

    def __init__(self, fails_above: float = math.inf) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))
        self.fails_above = fails_above
        self.seen: list[int] = []

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        self.seen.append(len(x))
        log_prob = -0.5 * (x - self.mean).square().flatten(1).sum(1)
        # The value is -inf and the gradient 0·inf: what a network that overflowed would give.
        return torch.where(x.flatten(1).mean(1) > self.fails_above, -((self.mean - 1e30) ** 2) * 1e30, log_prob)


def test_training_lowers_the_bits_per_dimension_of_every_model() -> None:
    models: list[nn.Module] = [_glow(), PixelCNNpp(1, 8, filters=4, blocks=1, components=2, resolutions=2)]
    for model in models:
        steps: list[Step] = []
        recipe = replace(RECIPE, iterations=20, flip=False, shift=0.0, learning_rate=2e-2)
        Trainer(model, _images(), recipe).fit(steps.append)
        assert [step.iteration for step in steps] == list(range(1, 21))
        first, last = (np.mean([step.bits_per_dim for step in part]) for part in (steps[:4], steps[-4:]))
        assert last < first - 0.2
        assert not any(step.skipped for step in steps)


def test_a_resumed_run_goes_on_bit_for_bit() -> None:
    # PixelCNN++ has dropout: its random numbers must continue too.
    for make in (_glow, lambda: PixelCNNpp(1, 8, filters=3, blocks=1, components=1, resolutions=2)):
        torch.manual_seed(0)
        whole = Trainer(make(), _images(), RECIPE)
        whole.fit()
        torch.manual_seed(0)
        first = Trainer(make(), _images(), RECIPE)
        first.fit(until=3)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        torch.manual_seed(99)  # another process: other weights, another global state
        second = Trainer(make(), _images(), RECIPE)
        second.load_state_dict(torch.load(file, weights_only=True))
        second.fit()
        assert second.iteration == whole.iteration == 6
        for a, b in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_a_checkpoint_of_another_recipe_is_refused() -> None:
    state = Trainer(_glow(), _images(), RECIPE).state_dict()
    with pytest.raises(UserError, match=r"learning_rate \(now 1.0, then"):
        Trainer(_glow(), _images(), replace(RECIPE, learning_rate=1.0)).load_state_dict(state)


def test_training_leaves_the_global_random_state_alone() -> None:
    trainer = Trainer(_glow(), _images(), RECIPE)
    before = torch.get_rng_state()
    trainer.step()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_sees_every_image_once() -> None:
    trainer = Trainer(_glow(), _images(32), RECIPE)
    epochs = [torch.cat([trainer._indices(32, 4 * e + k, 0) for k in range(4)]) for e in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(32)) for epoch in epochs)
    assert not torch.equal(*epochs)
    assert trainer.iterations == 6
    assert Trainer(_glow(), _images(32), replace(RECIPE, iterations=None, epochs=5)).iterations == 20


def test_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    recipe = TrainingRecipe(learning_rate=1.0, warmup=10, schedule="cosine")
    assert recipe.rate(0, 100) == pytest.approx(0.1)
    assert recipe.rate(50, 100) == pytest.approx(0.5)
    assert recipe.rate(99, 100) < 3e-4
    assert TrainingRecipe(learning_rate=1.0).rate(99, 100) == 1.0
    with pytest.raises(ValueError, match="schedule"):
        TrainingRecipe(schedule="linear")  # type: ignore[arg-type]


def test_images_that_are_not_finite_are_left_out_of_a_second_pass() -> None:
    images = np.zeros((8, 8, 8), np.uint8)
    images[:2] = 255
    recipe = replace(RECIPE, flip=False, shift=0.0)
    model = Located(fails_above=0.3)
    trainer = Trainer(model, images, recipe)
    step = trainer.step()
    assert (step.dropped, step.skipped) == (2, False)
    assert model.seen == [8, 6]
    # bits per dimension of the six black ones: d/dm of (x - m)²/(2 ln 2) at 0, x = u/256 - 1/2 with u in (0, 1)
    assert step.gradient_norm == pytest.approx((1 / 2 - 1 / 512) / math.log(2), abs=1 / 512 / math.log(2))
    assert float(model.mean.detach()) < 0  # towards the black images


@pytest.mark.parametrize(("failing", "skipped"), [(6, False), (7, True), (8, True)])
def test_a_batch_that_would_lose_more_than_three_quarters_is_skipped(failing: int, skipped: bool) -> None:
    images = np.zeros((8, 8, 8), np.uint8)
    images[:failing] = 255
    model = Located(fails_above=0.3)
    trainer = Trainer(model, images, replace(RECIPE, flip=False, shift=0.0))
    step = trainer.step()
    assert step.dropped == failing
    assert step.skipped is skipped
    assert (float(model.mean.detach()) == 0.0) is skipped
    assert trainer.skipped == int(skipped)


def test_outlier_loss_separates_outliers_from_images() -> None:
    images, outliers = _images(high=200), _images(seed=1, low=60)
    general = _glow(seed=1)
    general.initialise(torch.rand(32, 1, 8, 8) - 0.5)
    model = finetune_from(general)
    frozen = [p.clone() for p in general.parameters()]
    recipe = replace(RECIPE, iterations=25, learning_rate=1e-2, flip=False, shift=0.0)
    steps: list[Step] = []
    trainer = Trainer(model, images, recipe, outliers=outliers, general=general)
    trainer.fit(steps.append)
    # At the start model and general model are one, so that the loss is lambda·ln 2 but for the first update's effect.
    assert steps[0].outlier_loss == pytest.approx(6000 * math.log(2), rel=1e-5)
    assert steps[-1].outlier_loss < steps[0].outlier_loss
    assert all(torch.equal(a, b) for a, b in zip(frozen, general.parameters(), strict=True))
    ratio = [log_likelihoods(model, x)[:, 0] - log_likelihoods(general, x)[:, 0] for x in (images, outliers)]
    assert ratio[0].mean() > ratio[1].mean() + 50


def test_margin_loss_needs_no_general_model() -> None:
    with pytest.raises(ValueError, match="general model"):
        Trainer(_glow(), _images(), RECIPE, outliers=_images(seed=1))
    # A normal density of mean 0 and x = (u + noise)/256 - 1/2: black images and white ones are equally likely, so that
    # the loss is the margin, D nats, but for the noise; grey ones are likelier by 64·(1/2)²/2 = 8 nats.
    recipe = replace(RECIPE, flip=False, shift=0.0, outliers="margin")
    black = np.zeros((8, 8, 8), np.uint8)
    for level, expected in ((255, 64.0), (128, 64.0 + 8.0)):
        step = Trainer(Located(), black, recipe, outliers=np.full_like(black, level)).step()
        # the noise is at most 1/256 of a dimension that lies at 1/2
        assert step.outlier_loss == pytest.approx(expected, abs=64 / 2 / 256)


def test_labels_train_the_class_conditional_density() -> None:
    images = _images(40)
    images[20:] = 255 - images[20:]
    labels = np.repeat([0, 1], 20)
    model = _glow(classes=2)
    Trainer(model, images, replace(RECIPE, iterations=25, flip=False, shift=0.0), labels=labels).fit()
    pixels = torch.from_numpy(images)[:, None]
    x = (pixels + 0.5) / 256 - 0.5
    with torch.no_grad():
        right = model.log_prob(x, torch.from_numpy(labels))
        wrong = model.log_prob(x, 1 - torch.from_numpy(labels))
    assert float((right > wrong).float().mean()) > 0.9
    # With outliers beside them: images count under their class, outliers under the mixture.
    trainer = Trainer(model, images, replace(RECIPE, outliers="margin"), labels=labels, outliers=_images(seed=1))
    batch = trainer._batch(0)
    assert batch.labels is not None
    with torch.no_grad():
        own, others = (model.log_prob(batch.x[~batch.outlier], of) for of in (batch.labels, 1 - batch.labels))
    bits = [float(bits_per_dim(each, 64).mean()) for each in (own, others)]
    assert bits[0] < bits[1] - 0.005
    assert trainer.step().bits_per_dim == pytest.approx(bits[0], abs=1e-4)


def test_rows_are_the_models_contributions_on_noise_free_inputs() -> None:
    model = _glow()
    images = _images(10)
    x = (torch.from_numpy(images)[:, None] + 0.5) / 256 - 0.5
    model.initialise(x)
    rows = log_likelihoods(model, images, batch_size=3)
    assert rows.shape == (10, 3)
    with torch.no_grad():
        expected = model.contributions(x).double().numpy()
    np.testing.assert_allclose(rows[:, 1:], expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(rows[:, 0], rows[:, 1:].sum(1), rtol=1e-5, atol=1e-3)


def test_more_samples_of_noise_raise_the_bound_towards_the_truth() -> None:
    # A density that is linear in x: the mean over a pixel's cell is its value in the middle.
    class Slope(nn.Module):
        image_shape = (1, 1, 1)

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
            return torch.log1p(512 * (x[:, 0, 0, 0] + 0.5)).double()

    images = np.zeros((400, 1, 1), np.uint8)
    exact = bits_per_dim(math.log(2.0), 1)  # the density runs from 1 to 3 over the first cell
    generator = torch.Generator().manual_seed(0)
    one, many = (
        bits_per_dim(noisy_log_prob(Slope(), images, samples=k, generator=generator), 1).mean() for k in (1, 64)
    )
    # Jensen's gap for one sample: log2(2) - E log2(1 + 2u) = 1 - (3·ln 3/2 - 1)/ln 2 = 0.0651.
    assert one - exact == pytest.approx(0.0651, abs=5 * 0.46 / 20)
    assert abs(many - exact) < 0.02
    assert many < one
