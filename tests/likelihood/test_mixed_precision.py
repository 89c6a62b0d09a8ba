"""Steps in bfloat16: the networks alone are rounded, never what flows through a density, nor what is reported."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.likelihood.glow import Glow
from genaudit.likelihood.pixelcnnpp import PixelCNNpp
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.likelihood.trainer import Trainer
from genaudit.likelihood.wide_resnet import ClassifierRecipe, ClassifierTrainer, WideResNet

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
RECIPE = TrainingRecipe(iterations=3, batch_size=8, optimiser="adam", learning_rate=5e-3, weight_decay=0.0)
KINDS: dict[str, Any] = {
    "glow": lambda: Glow(1, 8, scales=2, steps=2, hidden=8),
    "fully connected": lambda: Glow(1, 8, scales=2, steps=2, hidden=8, layers="fully_connected"),
    "pixelcnn++": lambda: PixelCNNpp(1, 8, filters=4, blocks=1, components=2, resolutions=2, dropout=0.0),
}


def _trained(kind: str, precision: str, seed: int = 0) -> tuple[Trainer, list[float]]:
    torch.manual_seed(seed)
    trainer = Trainer(KINDS[kind](), IMAGES, RECIPE, precision=precision)
    return trainer, [trainer.step().bits_per_dim for _ in range(3)]


@pytest.mark.parametrize("kind", ["glow", "fully connected"])
def test_a_flow_whose_networks_say_nothing_yet_has_its_exact_likelihood(kind: str) -> None:
    """Couplings begin at zero: all that is left are linear maps and priors, which bfloat16 must not touch."""
    exact, mixed = (_trained(kind, precision)[1][0] for precision in ("float32", "bfloat16"))
    assert mixed == exact


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_rounded_networks_change_a_likelihood_by_little_and_by_something(kind: str) -> None:
    _, exact = _trained(kind, "float32")
    trainer, mixed = _trained(kind, "bfloat16")
    assert mixed != exact
    # bfloat16 has 8 bits: a coupling's outputs, here below 1, are off by 2^-9 at most, and there are four couplings
    assert np.abs(np.subtract(mixed, exact)).max() < 4 * 2**-9 / math.log(2) * 4
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert trainer.finite(look=True)


def test_what_is_asked_of_a_model_between_steps_is_not_rounded() -> None:
    trainer, _ = _trained("glow", "bfloat16")
    other, _ = _trained("glow", "float32")
    other.model.load_state_dict(trainer.model.state_dict())
    batch = trainer._batch(0)
    for model in (trainer.model, other.model):
        model.eval()
    assert torch.equal(trainer.model(batch.x), other.model(batch.x))


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, not 'float16'"):
        _trained("glow", "float16")


def _classifier(**keys: Any) -> ClassifierTrainer:
    torch.manual_seed(0)
    model = WideResNet(1, 8, depth=10, width=1, dropout=0.0)
    return ClassifierTrainer(model, IMAGES[:12], IMAGES[12:], ClassifierRecipe(iterations=2, batch_size=8), **keys)


def test_the_classifier_s_logits_are_rounded_in_a_step_and_its_weights_are_not() -> None:
    exact, mixed = _classifier(), _classifier(precision="bfloat16")
    one, other = exact.step().loss, mixed.step().loss
    assert one != other
    assert other == pytest.approx(one, abs=0.05)
    assert {p.dtype for p in mixed.model.parameters()} == {torch.float32}


def test_steps_run_the_compiled_network_and_looks_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []

    def compiled(model: Any) -> Any:
        def run(*args: Any) -> Any:
            calls.append(model.training)
            return model(*args)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    torch.manual_seed(0)
    trainer = Trainer(KINDS["glow"](), IMAGES, replace(RECIPE, iterations=2), compiled=True)
    trainer.fit()
    assert trainer.finite(look=True)
    assert calls == [True, True]
    _classifier(compiled=True).step()
    assert len(calls) == 3
