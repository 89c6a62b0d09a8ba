"""The discriminative baseline: the paper's network, learns to tell two kinds of images, resumes bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genaudit.likelihood.wide_resnet import ClassifierRecipe, ClassifierTrainer, WideResNet, logits
from genaudit.stats.auroc import auroc
from genaudit.training import fit

RECIPE = ClassifierRecipe(iterations=30, batch_size=16, learning_rate=0.05)


def stripes(n: int, seed: int, *, upright: bool) -> np.ndarray:
    """Noisy stripes (n, 8, 8) at random phases; upright and lying ones have the same pixels' distribution."""
    rng = np.random.default_rng(seed)
    phase = rng.integers(0, 4, n)[:, None, None]
    place = np.broadcast_to(np.arange(8), (n, 8, 8))
    wave = 128 + 80 * np.sign(np.sin((place + phase) * np.pi / 2 + 0.1)) + rng.normal(0, 20, (n, 8, 8))
    images = wave.clip(0, 255).astype(np.uint8)
    return images if upright else images.transpose(0, 2, 1)


def trainer(recipe: ClassifierRecipe = RECIPE) -> ClassifierTrainer:
    torch.manual_seed(0)
    model = WideResNet(1, 8, depth=10, width=1)
    return ClassifierTrainer(model, stripes(64, 0, upright=True), stripes(40, 1, upright=False), recipe)


def test_the_papers_network_has_the_published_size() -> None:
    # Zagoruyko and Komodakis 2016, Table 4: WRN-28-10 has 36.5 million parameters.
    with torch.device("meta"):
        model = WideResNet(3, 32, depth=28, width=10)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 36.5
    assert sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) == 25


def test_it_learns_to_tell_two_kinds_that_pixel_values_do_not_tell() -> None:
    trained = trainer()
    steps = []
    trained.fit(steps.append)
    ours, others = (logits(trained.model, stripes(50, seed, upright=seed == 2)) for seed in (2, 3))
    assert auroc(ours, others) > 0.95
    assert np.mean([step.loss for step in steps[-5:]]) < 0.5 * np.log(2)
    assert steps[0].loss == pytest.approx(np.log(2), abs=0.35)  # an untrained classifier knows nothing


def test_the_rate_falls_to_a_fifth_three_times() -> None:
    recipe = ClassifierRecipe(iterations=200, learning_rate=0.1)
    rates = [recipe.rate(i) for i in (0, 59, 60, 119, 120, 159, 160, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_scores_do_not_depend_on_the_batch() -> None:
    model = trainer().model
    images = stripes(9, 5, upright=True)
    # the same float32 sums; batch norm uses its running statistics
    np.testing.assert_allclose(logits(model, images), logits(model, images, batch_size=2), atol=1e-5)


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    recipe = ClassifierRecipe(iterations=6, batch_size=4)
    whole = trainer(recipe)
    whole.fit()

    def run(stop: int | None) -> ClassifierTrainer:
        part = trainer(recipe)

        def watch(iteration: int) -> None:
            if iteration == stop:
                raise KeyboardInterrupt

        fit(part, tmp_path, log=["loss"], record=lambda s: {"loss": s.loss}, every=1, checkpoint_seconds=0, watch=watch)
        return part

    with pytest.raises(KeyboardInterrupt):
        run(4)
    resumed = run(None).model.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.model.state_dict().items())


def test_arguments_that_make_no_network_are_refused() -> None:
    with pytest.raises(ValueError, match="6n"):
        WideResNet(depth=12)
    with pytest.raises(ValueError, match="both kinds"):
        ClassifierTrainer(WideResNet(1, 8, depth=10, width=1), stripes(4, 0, upright=True), [], RECIPE)
