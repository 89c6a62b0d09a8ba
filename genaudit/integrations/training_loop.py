"""The diversity gate in a training loop written by hand: one function, called after a checkpoint.

    gate = genaudit.DiversityGate("train/", irs_target=0.8, n_max=2000)
    for epoch in range(epochs):
        train_one_epoch(model)
        verdict = check_diversity(gate, sample)       # sample(n, generator) -> (n, C, H, W) in [0, 1]
        if verdict.decision == "reject":
            break

B images of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.errors import UserError

if TYPE_CHECKING:
    import torch

    from genaudit.metrics.gate import Verdict
    from genaudit.tasks.gate.diversity_gate import DiversityGate

Sample = Callable[[int, "torch.Generator"], Any]


def check_diversity(
    gate: DiversityGate,
    sample: Sample,
    *,
    n_max: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    resume: bool = False,
    after_batch: Callable[[DiversityGate], None] | None = None,
) -> Verdict:
    """Draws samples until the gate has decided, or `n_max` are drawn; returns the verdict.

    Args:
        gate: the gate; it forgets earlier samples, those of the last checkpoint.
        sample: `sample(n, generator) -> (n, C, H, W)` images, or (n, D) embeddings. The generator, on the CPU, is
            seeded again for each batch from `seed` and the number of samples so far.
        n_max: the most samples; None where the gate was made with `n_max`.
        batch_size: samples drawn at a time; images are measured only as far as the decision needs them.
        resume: continue with the samples that the gate has, those of a run that was interrupted during the check.
        after_batch: called after each batch; `lambda gate: gate.save(path)` keeps the state.

    Raises:
        UserError: neither the gate nor this call says how many samples to draw at most.
    """
    import torch

    if not resume:
        gate.reset()
    most = n_max if n_max is not None else gate.n_max
    if most is None:
        raise UserError("check_diversity needs n_max, the most samples to draw, where the gate has none")
    while not gate.decided and gate.n_sampled < most:
        entropy = np.random.SeedSequence([seed, gate.n_sampled]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(entropy >> np.uint64(1)))
        with torch.no_grad():
            gate.update(sample(min(batch_size, most - gate.n_sampled), generator))
        if after_batch is not None:
            after_batch(gate)
    return gate.verdict(finished=True)
