"""How the settings of table=piad_fashion_mnist were chosen: on training images alone.

    python scripts/choose_piad_recipe.py --data DIR --normal 8

Of a class's 5,600 training images nine tenths train PIAD with each candidate for the same CPU time. The held-out tenth
gives two numbers, by which candidates are compared: its relative-perceptual-L1 to its reconstructions (lower is
better), and the AUROC with which the score tells it from pseudo-anomalies made of itself (higher is better): turned by
90 degrees, upside down, and with its quarters rearranged. No image of another class is read.
Each is given for the last iterate and for an exponential average of the weights of E and G. The rule: the highest
AUROC, as a mean over classes 0 and 8, after 50 CPU seconds. docs/piad.md has what came out.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from genaudit.piad import protocols
from genaudit.piad.networks import ARCHITECTURES, build
from genaudit.piad.perceptual import efficientnet_lite0
from genaudit.piad.recipe import TrainingRecipe
from genaudit.piad.scoring import anomaly_score
from genaudit.piad.trainer import Trainer
from genaudit.stats.auroc import auroc
from genaudit_papers.datasets import fashion_mnist
from genaudit_papers.tuluptceva2019.one_class import resized

BASE = TrainingRecipe(10**6, n_weight=20, last=5, alpha=0.3)
CANDIDATES = {
    "width 16, lr x1": (0.5, BASE),
    "width 16, lr x2.5": (0.5, replace(BASE, learning_rate=5e-4, learning_rate_critics=1.25e-3)),
    "width 16, lr x5, critics x2": (0.5, replace(BASE, learning_rate=1e-3, learning_rate_critics=1e-3)),
    "width 8, lr x2.5": (0.25, replace(BASE, learning_rate=5e-4, learning_rate_critics=1.25e-3)),
}
DECAY = 0.95


def pseudo_anomalies(images: np.ndarray) -> dict[str, np.ndarray]:
    """Images (N, 1, S, S) that are made of normal ones and are none."""
    half = images.shape[-1] // 2
    quarters = [images[..., y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    a, b, c, d = quarters
    rearranged = np.concatenate([np.concatenate([d, c], -1), np.concatenate([b, a], -1)], -2)
    return {
        "turned": np.rot90(images, axes=(-2, -1)).copy(),
        "upside down": images[..., ::-1, :].copy(),
        "rearranged": rearranged,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--normal", type=int, default=8)
    parser.add_argument("--seconds", type=float, nargs="+", default=[50], help="of CPU time, when to look")
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = [fashion_mnist(split, arguments.data) for split in ("train", "test")]
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    train = protocols.gpnd(labels, arguments.normal, seed=0).train
    train = np.random.default_rng(0).permutation(train)
    held, fitted = (resized(images[part]) for part in np.split(train, [len(train) // 10]))
    others = pseudo_anomalies(held)
    for name in arguments.candidates:
        width, recipe = CANDIDATES[name]
        perceptual = efficientnet_lite0()
        networks = build(ARCHITECTURES["mnist"].widened(width), 1, seed=0)
        trainer = Trainer(networks, fitted, perceptual, recipe, seed=0)
        average = copy.deepcopy(networks)
        spent, start = 0.0, time.process_time()
        for until in arguments.seconds:
            while spent + time.process_time() - start < until:
                trainer.step()
                with torch.no_grad():
                    for kept, now in ((average.encoder, networks.encoder), (average.generator, networks.generator)):
                        for a, b in zip(kept.parameters(), now.parameters(), strict=True):
                            a.lerp_(b, 1 - DECAY)
            spent += time.process_time() - start
            for which, model in (("last", networks), ("average", average)):
                normal = anomaly_score(model, held, perceptual)
                scores = {kind: auroc(anomaly_score(model, x, perceptual), normal) for kind, x in others.items()}
                print(
                    f"class {arguments.normal} | {name:36s} | {spent:5.1f} s, {trainer.iteration:4d} it | {which:7s} | "
                    f"{normal.mean():.4f} | {np.mean(list(scores.values())):.4f} | "
                    + " ".join(f"{kind} {value:.3f}" for kind, value in scores.items()),
                    flush=True,
                )
            start = time.process_time()


if __name__ == "__main__":
    main()
