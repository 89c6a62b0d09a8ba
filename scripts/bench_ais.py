"""What annealed importance sampling costs and how close it comes, measured here and now.

    python scripts/bench_ais.py                 # both tables, some minutes on one core
    python scripts/bench_ais.py --images 8      # quicker, wider errors
    python scripts/bench_ais.py --only cost

Cost: time per image and temperature as a multiple of the decoder's own forward and backward pass on the same rows; ten
leapfrog steps make 10 the floor. Accuracy: error in nats against the exact likelihood of linear-Gaussian decoders
(probabilistic PCA) with a variance of 0.1 a pixel, 500 temperatures, 10 leapfrog steps; four-chain figures are means
over the four groups that sixteen chains make.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from genaudit.likelihood.ais import ais, bidirectional, simulate

LATENTS = {64: 5, 784: 10}


def cpu_time(function: Callable[[], object]) -> float:
    """Seconds of processor time of one call: what else runs on the machine counts less than in elapsed time."""
    start = time.process_time()
    function()
    return time.process_time() - start


def decoders() -> dict[str, tuple[torch.nn.Module, int]]:
    """Small untrained decoders of 28x28 images and their latent dimensions."""
    nn = torch.nn
    dense = nn.Sequential(
        nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 784), nn.Sigmoid()
    )
    convolutional = nn.Sequential(
        nn.Linear(32, 32 * 49),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1),
        nn.Sigmoid(),
    )
    return {"dense 10-128-512-784": (dense, 10), "convolutional 32-32x7x7-28x28": (convolutional, 32)}


def print_cost(images: int = 100, chains: int = 4, temperatures: int = 5) -> None:
    print(f"Cost, {images} images, {chains} chains, 10 leapfrog steps, {torch.get_num_threads()} thread(s)")
    print(f"{'decoder':32}{'temperature / (forward + backward)':>36}{'ms per image and temperature':>30}{'500 in':>9}")
    for name, (decoder, latent_dim) in decoders().items():
        torch.manual_seed(0)
        z = torch.randn(images * chains, latent_dim, requires_grad=True)
        x = decoder(z[:images]).detach()

        def own(decoder: torch.nn.Module = decoder, z: torch.Tensor = z) -> None:
            for _ in range(10):
                image = decoder(z)
                torch.autograd.grad(image, z, torch.ones_like(image))

        def run(decoder: torch.nn.Module = decoder, x: torch.Tensor = x, latent_dim: int = latent_dim) -> None:
            ais(decoder, x, sigma2=0.02, latent_dim=latent_dim, temperatures=temperatures, chains=chains)

        own()
        # In turns, so that both meet the same state of the machine.
        pairs = [(cpu_time(own) / 10, cpu_time(run) / temperatures) for _ in range(9)]
        ratio = statistics.median(whole / part for part, whole in pairs)
        per_temperature = statistics.median(whole for _, whole in pairs)
        print(
            f"{name:32}{ratio:36.1f}{1000 * per_temperature / images:30.3f}{500 * per_temperature / 60:5.1f} min",
            flush=True,
        )


def pooled(log_weights: torch.Tensor, chains: int) -> torch.Tensor:
    """(N, 16) log weights to (N, 16/chains) estimates of that many chains each."""
    return log_weights.unflatten(1, (-1, chains)).logsumexp(2) - math.log(chains)


def print_accuracy(images: int) -> None:
    print(f"\nError against the exact log-likelihood in nats, mean over {images} images ± its standard error")
    head = f"{'D':>4}{'sigma²':>8} {'schedule':10}"
    print(f"{head}{'4 chains':>17}{'16 chains':>17}{'worst of 16':>13}{'upper bound, 16':>18}{'disagree':>10}{'s':>7}")
    schedules: tuple[Literal["sigmoidal", "power"], ...] = ("sigmoidal", "power")
    for dims, latent_dim in LATENTS.items():
        weights = torch.randn(dims, latent_dim, generator=torch.Generator().manual_seed(1))
        weights *= math.sqrt(0.1 / latent_dim)
        transposed, like = weights.T.contiguous(), torch.zeros(images, dims)

        def decoder(z: torch.Tensor, transposed: torch.Tensor = transposed) -> torch.Tensor:
            return z @ transposed

        for sigma2 in (0.1, 0.025):
            wide = weights.double()
            covariance = wide @ wide.T + sigma2 * torch.eye(dims, dtype=torch.float64)
            model = torch.distributions.MultivariateNormal(torch.zeros(dims, dtype=torch.float64), covariance)
            for schedule in schedules:
                start = time.perf_counter()
                bounds = bidirectional(
                    decoder,
                    like,
                    sigma2=sigma2,
                    latent_dim=latent_dim,
                    chains=16,
                    schedule=schedule,
                    generator=torch.Generator().manual_seed(0),
                )
                seconds = time.perf_counter() - start
                # The same seed draws the same images: simulation comes first in both.
                x, _ = simulate(
                    decoder, like, sigma2=sigma2, latent_dim=latent_dim, generator=torch.Generator().manual_seed(0)
                )
                exact = model.log_prob(x.double())
                few = (pooled(bounds.lower.log_weights, 4) - exact[:, None]).mean(1)
                many = bounds.lower.log_likelihood - exact
                upper = bounds.upper.log_likelihood - exact
                cells = [f"{e.mean():+.2f} ± {e.std() / math.sqrt(images):.2f}" for e in (few, many, upper)]
                print(
                    f"{dims:4}{sigma2:8} {schedule:10}{cells[0]:>17}{cells[1]:>17}{many.min():>+13.2f}{cells[2]:>18}"
                    f"{100 * bounds.lower.disagree.double().mean():>8.0f} %{seconds:7.0f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="images for the accuracy table (default 40)")
    parser.add_argument("--only", choices=("cost", "accuracy"))
    arguments = parser.parse_args()
    if arguments.only != "accuracy":
        print_cost()
    if arguments.only != "cost":
        print_accuracy(arguments.images)


if __name__ == "__main__":
    main()
