"""Training under torchrun: ranks that share a batch make the update that one process makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genaudit.likelihood.glow import Glow
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.likelihood.trainer import Trainer

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


def _train(seed: int) -> dict[str, torch.Tensor]:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    torch.manual_seed(seed)
    model = Glow(1, 8, scales=2, steps=1, hidden=4)
    torch.manual_seed(5)
    general = Glow(1, 8, scales=2, steps=1, hidden=4)
    trainer = Trainer(model.double(), images, RECIPE, outliers=images[::-1].copy(), general=general.double())
    trainer.fit()
    return model.state_dict()


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    # The ranks start from different weights: rank 0's must win. All of them know the same general model.
    torch.save(_train(seed=rank), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive the group, and end an interpreter that shuts down with an abort


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_ranks_train_as_one_process(tmp_path: Path) -> None:
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    alone = _train(seed=0)
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        # Sums in another order, in float64 but for the float32 noise that both share.
        torch.testing.assert_close(first[name], value, rtol=1e-6, atol=1e-9)


if __name__ == "__main__":
    _rank(int(sys.argv[1]), sys.argv[2])
