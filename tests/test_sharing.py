"""Training under torchrun: ranks that share a batch make the update that one process makes, whatever they train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.errors import UserError
from genaudit.likelihood.glow import Glow
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.likelihood.trainer import Trainer
from genaudit.likelihood.wide_resnet import ClassifierRecipe, ClassifierTrainer, WideResNet
from genaudit.piad import trainer as piad_trainer
from genaudit.piad.networks import Architecture, build
from genaudit.piad.recipe import TrainingRecipe as PIADRecipe
from genaudit.sharing import Share
from tests.forked import codes_of, start

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
RECIPE = TrainingRecipe(
    iterations=3,
    batch_size=8,
    optimiser="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    clip_norm=1.0,
    shift=0.1,
    initial_images=16,
)
TINY = Architecture(latent=4, generator=(4, 4, 3), encoder=(3, 4, 4), critic=(3, 3, 3), latent_critic=6)


def _glow(seed: int) -> dict[str, torch.Tensor]:
    images = IMAGES[:, :8, :8]
    torch.manual_seed(seed)
    model = Glow(1, 8, scales=2, steps=1, hidden=4)
    torch.manual_seed(5)
    general = Glow(1, 8, scales=2, steps=1, hidden=4)
    trainer = Trainer(model.double(), images, RECIPE, outliers=images[::-1].copy(), general=general.double())
    trainer.fit()
    return model.state_dict()


def _classifier(seed: int) -> dict[str, torch.Tensor]:
    """Without dropout, of which every rank draws its own."""
    torch.manual_seed(seed)
    model = WideResNet(1, 8, depth=10, width=1, dropout=0.0)
    images = IMAGES[:, :8, :8]
    # 3 and 3 images: the ranks have two and one of each kind
    recipe = ClassifierRecipe(iterations=3, batch_size=6, learning_rate=0.02)
    trainer = ClassifierTrainer(model, images[:10], images[10:], recipe)
    steps = [trainer.step() for _ in range(3)]
    told = torch.tensor([[step.loss, step.accuracy] for step in steps])
    return {**model.state_dict(), "told": told}


def _piad(seed: int) -> dict[str, torch.Tensor]:
    """In float64, with gammas that are updated twice, and a batch of five: three and two images."""
    torch.set_default_dtype(torch.float64)
    of_float32 = piad_trainer.prepare
    piad_trainer.prepare = lambda *args: of_float32(*args).double()
    try:
        networks = build(TINY, 1, seed=seed)
        recipe = PIADRecipe(4, batch_size=5, n_weight=2)
        trainer = piad_trainer.Trainer(networks, IMAGES[:, None], None, recipe, reconstruction="mse")
        told = torch.tensor([list(trainer.step().numbers().values()) for _ in range(4)])
        if torch.distributed.is_initialized() and torch.distributed.get_rank():
            return {**_weights(networks), "told": told}
        assert trainer.finite(look=True)  # one rank looks alone, as the one that draws pictures does: nobody waits
    finally:
        piad_trainer.prepare = of_float32
        torch.set_default_dtype(torch.float32)
    return {**_weights(networks), "told": told}


def _weights(networks: Any) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": p for name, n in networks._asdict().items() for key, p in n.state_dict().items()}


TRAININGS: dict[str, Any] = {"glow": _glow, "classifier": _classifier, "piad": _piad}


def _rank(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name, train in TRAININGS.items():
        # The ranks start from different weights: rank 0's must win. All of them know the same general model.
        torch.save(train(seed=rank), f"{folder}/{name}-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("ranks")
    assert codes_of(*(start(_rank, rank, folder) for rank in range(2))) == [0, 0]
    return folder


# Sums in another order: in float64 (but for the float32 noise that both share), and of SGD in float32.
@pytest.mark.parametrize(
    ("name", "rtol", "atol"), [("glow", 1e-6, 1e-9), ("piad", 1e-6, 1e-9), ("classifier", 1e-3, 1e-5)]
)
def test_two_ranks_train_as_one_process(name: str, rtol: float, atol: float, together: Path) -> None:
    alone = TRAININGS[name](seed=0)
    first, second = (torch.load(together / f"{name}-{rank}.pt") for rank in range(2))
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}")


def test_shares_of_a_batch_add_up_to_it_and_each_rank_needs_an_image() -> None:
    batch = torch.arange(7)
    shares = [Share(rank, 3) for rank in range(3)]
    assert sorted(torch.cat([share.mine(batch) for share in shares]).tolist()) == list(range(7))
    assert [share.of(7) for share in shares] == [len(share.mine(batch)) / 7 for share in shares]
    with pytest.raises(UserError, match=r"piad.recipe.batch_size=2: a batch is shared by 3 processes"):
        shares[0].check(2, "piad.recipe.batch_size")
