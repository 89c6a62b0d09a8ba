"""What precision=bfloat16 and compile=true change in a density model's bits per dimension, and in the time of a step.

    python scripts/bench_precision.py                                 float32 against bfloat16, three seeds
    python scripts/bench_precision.py --compile --seeds 1 --iterations 60

Trains the Glow of glow_laptop on the demo's training images, each seed with each setting from the same weights, batches
and noise, and evaluates on its held-out images in float32, with the same noise. What a setting changes is read beside
what another seed changes. The settings take turns, so that a busy machine slows all of them; times are the process's
own, medians over the steps (a compiled model's first steps, which compile, are left out).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from genaudit import demo
from genaudit.config_files import config_folder
from genaudit.data import ImageSet, open_images
from genaudit.likelihood.losses import bits_per_dim
from genaudit.likelihood.scoring import noisy_log_prob
from genaudit.likelihood.trainer import Trainer

FIRST = 5  # steps that are not timed


def pixels(name: str) -> np.ndarray:
    """Grey images (N, H, W) of the demo."""
    images = open_images(demo.path(name))
    assert isinstance(images, ImageSet)
    return np.stack([images.read(i)[..., 0] for i in range(len(images))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure compile=true too")
    args = parser.parse_args()
    node = OmegaConf.load(config_folder() / "likelihood" / "glow_laptop.yaml")
    train, held_out = pixels("train"), pixels("held_out")
    settings: dict[str, dict[str, object]] = {"float32": {}, "bfloat16": {"precision": "bfloat16"}}
    if args.compile:
        settings["float32, compiled"] = {"compiled": True}
    bits: dict[str, list[float]] = {name: [] for name in settings}
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    for seed in range(args.seeds):
        trainers = {}
        for name, keys in settings.items():
            torch.manual_seed(seed)
            recipe = replace(instantiate(node.recipe, seed=seed), iterations=args.iterations)
            trainers[name] = Trainer(instantiate(node.model), train, recipe, **keys)
        for iteration in range(args.iterations):
            for name, trainer in trainers.items():
                start = time.process_time()
                trainer.step()
                if iteration >= FIRST:
                    seconds[name].append(time.process_time() - start)
        for name, trainer in trainers.items():
            model = trainer.model.eval()
            noise = torch.Generator().manual_seed(0)
            found = noisy_log_prob(model, held_out, generator=noise)
            bits[name].append(float(bits_per_dim(torch.as_tensor(found).mean(), trainer.dims)))
    usual = statistics.median(seconds["float32"])
    for name, each in bits.items():
        against = [one - other for one, other in zip(each, bits["float32"], strict=True)]
        print(
            f"{name:<18} bits/dim by seed {', '.join(f'{b:.4f}' for b in each)}; minus float32 "
            f"{', '.join(f'{d:+.4f}' for d in against)}; step {statistics.median(seconds[name]) / usual:.2f} times "
            f"float32's {usual * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
