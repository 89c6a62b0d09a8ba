"""A small flow-matching model of Fashion-MNIST, whose checkpoints are gated while it trains.

    python examples/train_and_gate.py --data data --steps 4000        # some 20 minutes on two cores

Every `--every` steps the model draws samples. `DiversityGate` stops drawing as soon as it knows whether they are as
diverse as held-out real images; the last checkpoint is evaluated with everything.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from torch import nn

import genaudit


class Velocity(nn.Module):
    """(N, 1, 28, 28) images at times (N,) => the direction from noise to images (Lipman et al. 2023)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.down = nn.ModuleList([nn.Conv2d(1, width, 3, 1, 1), nn.Conv2d(width, 2 * width, 4, 2, 1)])
        self.middle = nn.Sequential(
            *(nn.Conv2d(2 * width, 4 * width, 4, 2, 1), nn.GroupNorm(8, 4 * width), nn.SiLU()),
            *(nn.Conv2d(4 * width, 4 * width, 3, 1, 1), nn.GroupNorm(8, 4 * width), nn.SiLU()),
        )
        self.up = nn.ModuleList([nn.ConvTranspose2d(4 * width, n * width, 4, 2, 1) for n in (2, 1)])
        self.out = nn.Conv2d(2 * width, 1, 3, 1, 1)

    def forward(self, images: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.down[0](images))
        second = torch.relu(self.down[1](first))
        lowest = self.middle(second) + self.time(times[:, None])[:, :, None, None]
        second = torch.cat([torch.relu(self.up[0](lowest)), second], dim=1)
        return self.out(torch.cat([torch.relu(self.up[1](second)), first], dim=1))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, steps: int = 20) -> torch.Tensor:
        """(n, 1, 28, 28) in [0, 1], by Euler's method from noise."""
        images = torch.randn(n, 1, 28, 28, generator=generator)
        for step in range(steps):
            images = images + self(images, torch.full((n,), step / steps)) / steps
        return (images / 2 + 0.5).clamp(0, 1)


def fashion_mnist(root: str, part: str, count: int) -> torch.Tensor:
    """(count, 1, 28, 28) in [0, 1]; part is train or t10k."""
    with gzip.open(Path(root, "fashion-mnist", f"{part}-images-idx3-ubyte.gz")) as file:
        pixels = np.frombuffer(file.read(16 + count * 784), np.uint8, offset=16)
    return torch.from_numpy(pixels.reshape(-1, 1, 28, 28) / np.float32(255))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="data")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--train", type=int, default=5000, help="training images")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--width", type=int, default=48, help="filters of the first layer, a multiple of 2")
    parser.add_argument("--feature-model", default="efficientnet_lite0")
    arguments = parser.parse_args()
    train, held_out = (fashion_mnist(arguments.data, part, arguments.train) for part in ("train", "t10k"))
    model, generator = Velocity(arguments.width), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    settings = {"irs_target": 0.8, "n_max": arguments.samples, "feature_model": arguments.feature_model}
    gate = genaudit.DiversityGate(train, reference=held_out, **settings)
    for step in range(1, arguments.steps + 1):
        real = train[torch.randint(len(train), (128,), generator=generator)] * 2 - 1
        noise, times = torch.randn(real.shape, generator=generator), torch.rand(128, generator=generator)
        mixed = torch.lerp(noise, real, times[:, None, None, None])
        loss = (model(mixed, times) - (real - noise)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % arguments.every == 0:
            gate.reset()
            while not gate.decided:
                verdict = gate.update(model.sample(64, generator))
            print(
                f"step {step}: loss {loss.item():.3f}, {verdict.decision} after {verdict.n_sampled} samples", flush=True
            )
    report = genaudit.evaluate(
        model.sample(arguments.samples, generator), held_out, train,
        metrics=["kd", "prdc", "irs", "authpct"], feature_model=arguments.feature_model,
    )  # fmt: skip
    print(report)
    report.save("runs/flow")


if __name__ == "__main__":
    main()
