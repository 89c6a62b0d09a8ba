"""A small self-supervised network for the anomaly score, trained on one CPU core in minutes; no labels, no download.

    python scripts/self_supervised.py --out choice/self_supervised --data DIR

Recipe: Barlow Twins (Zbontar et al. 2021: two views of an image, the cross-correlation of their features is pushed
towards the identity). Images: 10,000 of Fashion-MNIST's training set, or the demo's 700 without DIR,
and 10,000 cut-outs of photographs, at 32 pixels. Views: a square of 40 to 100 % of the image, mirrored or not, another
contrast and brightness; neither noise nor blur, which the anomaly score should see. Network: four blocks of two 3x3
convolutions with BatchNorm and GELU (32, 64, 96, 128 filters), the average over positions: 128 features, 1.4 MB.
The candidates of `choose_anomaly_network.py` call it `self_supervised`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genaudit.backbones.feature_model import HALF
from genaudit.backbones.module_model import ModuleModel

SIZE, WIDTHS, STEPS, BATCH = 32, (32, 64, 96, 128), 1500, 128
OFF_DIAGONAL = 5e-3  # weight of the correlations between features, as in the paper


class Features(nn.Sequential):
    """Normalised images (N, 3, S, S) => (N, 128)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            for stride, inside in ((1, before), (2, width)):
                layers += [nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.GELU()]
            before = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def trained(folder: Path, size: int = SIZE, data: Path | None = None) -> ModuleModel:
    """The network as a feature model; trains it where the folder has no weights yet."""
    file = folder / "weights.pt"
    network = Features()
    if file.exists():
        network.load_state_dict(torch.load(file, weights_only=True))
    else:
        network = train(STEPS, data)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), file)
    return ModuleModel(network.eval(), size=size, mean=HALF, std=HALF)


def train(steps: int, data: Path | None, seed: int = 0) -> Features:
    """Trains for so many steps."""
    torch.manual_seed(seed)
    images = training_images(data, seed)
    network = Features()
    projector = nn.Sequential(nn.Linear(WIDTHS[-1], 256), nn.BatchNorm1d(256), nn.GELU(), nn.Linear(256, 256))
    optimiser = torch.optim.AdamW([*network.parameters(), *projector.parameters()], lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    generator = np.random.default_rng(seed)
    normalise = nn.BatchNorm1d(256, affine=False)
    started = time.process_time()
    for step in range(steps):
        batch = images[torch.from_numpy(generator.choice(len(images), BATCH, replace=False))]
        one, two = (normalise(projector(network(view(batch)))) for _ in range(2))
        correlation = one.T @ two / BATCH
        diagonal = (correlation.diagonal() - 1).square().sum()
        others = correlation.square().sum() - correlation.diagonal().square().sum()
        loss = diagonal + OFF_DIAGONAL * others
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.1f}, {time.process_time() - started:.0f} CPU s", flush=True)
    return network


def training_images(data: Path | None, seed: int) -> Tensor:
    """(N, 1, 32, 32) in [0, 1]: real images and cut-outs of photographs."""
    from genaudit_papers import datasets
    from genaudit_papers.cutouts import cutouts
    from genaudit_papers.measuring import pixels_of

    there = datasets.find_fashion_mnist(data) is not None
    real = datasets.fashion_mnist("train", data)[0][:10_000] if there else pixels_of(None, "demo:train")[..., 0]
    made = cutouts(datasets.photographs(), 10_000, seed=seed)
    both = torch.from_numpy(np.concatenate([real, made])).float().div(255)[:, None]
    return nn.functional.interpolate(both, size=SIZE, mode="bicubic", antialias=True).clamp(0, 1)


def view(images: Tensor) -> Tensor:
    """A random view of each image: (N, 1, S, S) in [0, 1] => (N, 3, S, S) in [-1, 1]."""
    count = len(images)
    side = torch.empty(count).uniform_(0.4, 1.0).sqrt()
    mirrored = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift = (torch.rand(count, 2) * 2 - 1) * (1 - side)[:, None]
    zero = torch.zeros(count)
    place = torch.stack(
        [torch.stack([side * mirrored, zero, shift[:, 0]], 1), torch.stack([zero, side, shift[:, 1]], 1)], 1
    )
    grid = nn.functional.affine_grid(place, list(images.shape), align_corners=False)
    cut = nn.functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    contrast = torch.empty(count, 1, 1, 1).uniform_(0.6, 1.4)
    brightness = torch.empty(count, 1, 1, 1).uniform_(-0.2, 0.2)
    return (cut.mul(2).sub(1) * contrast + brightness).clamp(-1, 1).expand(-1, 3, -1, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="a data root that holds Fashion-MNIST")
    args = parser.parse_args()
    trained(args.out, data=args.data)


if __name__ == "__main__":
    main()
