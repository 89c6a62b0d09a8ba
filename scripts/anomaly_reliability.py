"""Test-retest reliability of complexity, vulnerability and AS-i per image, for each preset of the anomaly measure.

    python scripts/anomaly_reliability.py [--images 24] [--size 64] [--presets paper released robust] [--set held_out]

Every preset measures the same images with two seeds. The reliability is Pearson's correlation between the two: the
share of a value's variance between images that the image itself explains. Seconds are CPU seconds per image.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from genaudit.config_files import config_folder
from genaudit.measures.anomaly import Anomaly
from genaudit.metrics.anomaly_score import anomaly_score_i


def settings_of(preset: str) -> dict[str, object]:
    """The keys of configs/anomaly/PRESET.yaml with those that it inherits, without the feature model and its layer."""
    import yaml

    given = yaml.safe_load((config_folder() / "anomaly" / f"{preset}.yaml").read_text())
    inherited: dict[str, object] = {}
    for parent in given.pop("defaults", []):
        if parent != "_self_":
            inherited |= settings_of(parent)
    merged = inherited | given
    return {key: value for key, value in merged.items() if key not in ("_target_", "feature_model", "layer", "seed")}


def pixels_of(source: str, count: int, size: int) -> tuple[np.ndarray, list[bytes]]:
    """(N, 3, S, S) uint8 and digests of the first images of a demo set or of a path."""
    from genaudit import demo
    from genaudit.backbones.embedded import EfficientNetLite0
    from genaudit.data import ImageSet, open_images

    images = open_images(demo.path(source) if source in demo.SETS else Path(source), limit=count)
    assert isinstance(images, ImageSet)
    recipe = EfficientNetLite0(size=size).recipe
    pixels = np.stack([recipe.apply(images.read(i)) for i in range(len(images))]).transpose(0, 3, 1, 2)
    return pixels, [digest.tobytes() for digest in images.digests]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--presets", nargs="+", default=["paper", "released", "robust"])
    parser.add_argument("--set", default="held_out", help="a demo set's name, or a path of images")
    args = parser.parse_args()
    from genaudit.backbones.embedded import EfficientNetLite0

    pixels, digests = pixels_of(args.set, args.images, args.size)
    model = EfficientNetLite0(size=args.size)
    print(f"{len(pixels)} images of {args.set}, EfficientNet-Lite0 at {args.size} pixels, seeds 0 and 1\n")
    print("| preset | complexity | vulnerability | AS-i | CPU seconds per image |\n|---|---|---|---|---|")
    for preset in args.presets:
        settings = settings_of(preset)
        rows, taken = [], 0.0
        for seed in (0, 1):
            meter = Anomaly(model, seed=seed, **settings).open("cpu", "float32")  # type: ignore[arg-type]
            started = time.process_time()
            rows.append(meter(torch.from_numpy(pixels), digests).numpy().astype(float))
            taken += (time.process_time() - started) / (2 * len(pixels))
        pairs = [(row[:, 0], row[:, 1], anomaly_score_i(row)) for row in rows]
        cells = []
        for first, second in zip(*pairs, strict=True):
            known = np.isfinite(first) & np.isfinite(second)
            cells.append(f"{np.corrcoef(first[known], second[known])[0, 1]:.2f}")
        print(f"| {preset} | {' | '.join(cells)} | {taken:.2f} |", flush=True)


if __name__ == "__main__":
    main()
