"""What a training step of PIAD costs beside its bare forward and backward passes.

    python scripts/bench_piad.py
    python scripts/bench_piad.py --networks cifar10 --channels 3 --rounds 5

Prints the time of `Trainer.step()` (drawing images and latents, losses, penalties, policy, Adam, everything) as a
ratio to the sum of the bare passes that Algorithm 1 cannot do without, each run by itself on ready-made inputs: per
critic step G and E forward without a graph, each critic forward and backward on real and on fake, and twice back on
the mix; then E, G (twice), the critics and the perceptual network forward and backward. Rounds alternate between
step and passes, so that both see the same load; times are CPU seconds of the process where it runs on a CPU.

Tried on one core and left out, each exact to rounding, medians of 8 steps at half and at full width (252.6 and 614.2
ms without): an upsampling and its 3x3 convolution as one transposed convolution of 4x4, which has four ninths of the
products (ratios 0.999 and 0.971); one forward and one backward pass of G for codes and latents together where gamma
stays (0.983 and 1.009); both (0.998 and 0.982). Runs scatter by about 0.02.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from genaudit.piad.networks import ARCHITECTURES, build
from genaudit.piad.perceptual import efficientnet_lite0
from genaudit.piad.recipe import TrainingRecipe
from genaudit.piad.trainer import Trainer


def bare_passes(trainer: Trainer) -> dict[str, tuple[int, Callable[[], Any]]]:
    """name -> (how often one iteration needs it, the pass)."""
    networks, perceptual, recipe = trainer.networks, trainer.perceptual, trainer.recipe
    assert perceptual is not None
    x, z = trainer._draw()
    with torch.no_grad():
        fake, code = networks.generator(z), networks.encoder(x)
        features = perceptual(fake)

    def back(network: nn.Module, data: Tensor, seed: Tensor | None = None, to_input: bool = False) -> None:
        parameters = [] if to_input and network is not networks.generator else list(network.parameters())
        data = data.detach().requires_grad_(to_input)
        for parameter in network.parameters():
            parameter.requires_grad_(bool(parameters))
        out = network(data)
        asked = [*parameters, *([data] if to_input else [])]
        torch.autograd.grad(out, asked, torch.ones_like(out) if seed is None else seed)

    def twice(network: nn.Module, data: Tensor) -> None:
        parameters = list(network.parameters())
        data = data.detach().requires_grad_(True)
        for parameter in parameters:
            parameter.requires_grad_(True)
        (slope,) = torch.autograd.grad(network(data).sum(), data, create_graph=True)
        torch.autograd.grad(slope, parameters, slope.detach(), allow_unused=True)  # biases don't move a slope

    def forward(network: nn.Module, data: Tensor) -> None:
        with torch.no_grad():
            network(data)

    g, e, dx, dz = networks
    n = recipe.n_dis
    return {
        "G forward": (n, lambda: forward(g, z)),
        "E forward": (n, lambda: forward(e, x)),
        "D_X on real and on fake": (2 * n, lambda: back(dx, x)),
        "D_X twice back on the mix": (n, lambda: twice(dx, x)),
        "D_Z on real and on fake": (2 * n, lambda: back(dz, z)),
        "D_Z twice back on the mix": (n, lambda: twice(dz, z)),
        "E forward and backward": (1, lambda: back(e, x, code)),
        "G forward and backward, latents": (1, lambda: back(g, z, fake)),
        "G forward and backward, codes": (1, lambda: back(g, code, fake, to_input=True)),
        "D_X to its input": (1, lambda: back(dx, fake, to_input=True)),
        "D_Z to its input": (1, lambda: back(dz, code, to_input=True)),
        "perceptual forward": (1, lambda: forward(perceptual, x)),
        "perceptual to its input": (1, lambda: back(perceptual, fake, features, to_input=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="mnist", choices=list(ARCHITECTURES))
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    networks = build(arguments.networks, arguments.channels, seed=0)
    images = torch.randint(0, 256, (512, *networks.image_shape), dtype=torch.uint8)
    recipe = TrainingRecipe(1, batch_size=arguments.batch)
    trainer = Trainer(networks, images, efficientnet_lite0(), recipe, device=arguments.device)
    passes = bare_passes(trainer)

    def timed(function: Callable[[], Any]) -> float:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            torch.cuda.synchronize()
            return time.perf_counter() - start
        start = time.process_time()
        function()
        return time.process_time() - start

    trainer.step()  # iteration 0 updates gamma, which one iteration in a hundred does
    for _, function in passes.values():
        function()
    steps: list[float] = []
    bare: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(arguments.rounds):
        steps.append(timed(trainer.step))
        for name, (_, function) in passes.items():
            bare[name].append(timed(function))
    costs = {name: count * statistics.median(bare[name]) for name, (count, _) in passes.items()}
    for name, cost in costs.items():
        print(f"{passes[name][0]:3d} x {name:34s} {cost * 1e3:8.1f} ms")
    total, step = sum(costs.values()), statistics.median(steps)
    print(f"      bare passes, sum of medians        {total * 1e3:8.1f} ms")
    print(f"      Trainer.step(), median             {step * 1e3:8.1f} ms")
    # noise: the ratio of each round by itself
    rounds = sorted(
        steps[i] / sum(count * bare[name][i] for name, (count, _) in passes.items()) for i in range(len(steps))
    )
    print(
        f"{arguments.networks}, batch {arguments.batch}, {networks.image_shape}, {arguments.device}: "
        f"step / bare = {step / total:.3f} (rounds {rounds[0]:.3f} to {rounds[-1]:.3f}; target at most 1.3)"
    )


if __name__ == "__main__":
    main()
