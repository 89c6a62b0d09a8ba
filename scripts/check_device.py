"""What anyone with a new device runs first: genaudit on the device against genaudit on the CPU, in under five minutes.

    python scripts/check_device.py                            # the first GPU; where there is none, cpu against cpu
    python scripts/check_device.py --device cuda:1 --images real/
    python scripts/check_device.py precision --device cuda    # what lower precision and compile=true cost and gain
    python scripts/check_device.py precision --device cpu --compile

Every measure, a training step of Glow, PixelCNN++, PIAD and a classifier, and the distance kernels run on both; each
difference is compared with what is allowed (`device_cases.py` says why). Then images per second of two networks on the
device, beside torch-fidelity's Inception where that is installed. Exit code 1: a difference is beyond what is allowed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from device_cases import Case, cases

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.measures.embedding import Embedding
from genaudit.stats.process_state import exact_float32, neutral
from genaudit.store.measuring import running, to_device

SECONDS = 4.0  # a speed is measured for, at least


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="check", choices=["check", "precision"])
    parser.add_argument("--device", default="auto", help="cuda, cuda:N, mps or cpu")
    parser.add_argument("--images", default="", help="a folder of images; default: images of this script's own")
    parser.add_argument("--count", type=int, default=0, help="images; default 8 for the check, 512 for precision")
    parser.add_argument("--no-speed", action="store_true", help="leave images per second out")
    parser.add_argument("--compile", action="store_true", help="with precision on a CPU too; needs a C++ compiler")
    given = parser.parse_args(arguments)
    device = _first_device() if given.device == "auto" else given.device
    images = _images(given.images, given.count or (8 if given.what == "check" else 512))
    print(f"{device} ({_name(device)}), {len(images)} images, torch {torch.__version__}")
    if given.what == "precision":
        if len(images) < 4:
            parser.error(f"precision needs 4 images or more, for a distance between their halves, got {len(images)}")
        compiled = given.compile or device.startswith("cuda")
        show_precision(images, device, compiled=compiled, speed=not given.no_speed)
        return 0
    apart = check(cases(images, device), device)
    if not given.no_speed:
        show_speed(device)
    print(f"{apart} beyond what is allowed" if apart else "all within what is allowed")
    return 1 if apart else 0


# ------------------------------------------------------------------ the device against the CPU


def check(every: Iterable[Case], device: str) -> int:
    """Runs each case on the CPU and on the device, prints the difference, returns how many are beyond the allowed."""
    apart = 0
    print(f"  {'':<44} {'difference':>10} {'allowed':>9} {'CPU, s':>8} {'device, s':>9}")
    for case in every:
        rows, seconds = [], []
        for place in ("cpu", device):
            started = time.perf_counter()
            rows.append(case.run(place))
            seconds.append(time.perf_counter() - started)
        found = difference(*rows)
        within = found <= case.allowed  # not where it is NaN
        apart += not within
        numbers = f"{found:>10.1e} {case.allowed:>9.0e} {seconds[0]:>8.2f} {seconds[1]:>9.2f}"
        print(f"  {case.name:<44} {numbers}{'' if within else '   BEYOND'}", flush=True)
    return apart


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest over rows (N, D), relative to a row's length; of a vector relative to its largest number."""
    if expected.shape != found.shape:
        return float("inf")
    if expected.ndim == 1:
        return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(float).tiny))
    lengths = np.maximum(np.linalg.norm(expected, axis=1), np.finfo(float).tiny)
    return float((np.linalg.norm(found - expected, axis=1) / lengths).max())


# ------------------------------------------------------------------ speed


def show_speed(device: str) -> None:
    networks = {"EfficientNet-Lite0": Embedding(EfficientNetLite0()), "FID's Inception": _inception()}
    for name, measure in networks.items():
        for engine in ("torch", "openvino") if device == "cpu" and _installed("openvino") else ("torch",):
            measure.engine = engine
            print(f"  {name}, {engine}: {images_per_second(measure, device):.1f} images/s", flush=True)
    if not _installed("torch_fidelity"):
        print("  torch-fidelity is not installed: pip install 'genaudit-images[fid]' to see its speed beside these")
        return
    print(f"  FID's Inception, torch-fidelity: {_torch_fidelity(device):.1f} images/s")


def images_per_second(measure: Any, device: str, precision: str = "float32") -> float:
    """Of prepared images through the measuring loop's own batches."""
    batch, side = measure.batch_size(device), measure.feature_model.recipe.size
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    with neutral(), exact_float32(device):
        meter = measure.open(device, precision)

        def some(batches: int) -> None:
            with running(device) as run:
                for rows in [run.start(meter, to_device(pixels, device), [b"0" * 16] * batch) for _ in range(batches)]:
                    rows().cpu()

        return batch * _batches_per_second(some)


def _torch_fidelity(device: str) -> float:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=_random_weights(folder)
        ).to(device)
    batch = 128 if device.startswith("cuda") else 32
    pixels = torch.randint(0, 256, (batch, 3, 299, 299), dtype=torch.uint8)

    @torch.inference_mode()
    def some(batches: int) -> None:
        for rows in [network(pixels.to(device))[0] for _ in range(batches)]:
            rows.cpu()

    return batch * _batches_per_second(some)


def _batches_per_second(some: Callable[[int], None]) -> float:
    some(2)  # warms up
    batches = 2
    while True:
        started = time.perf_counter()
        some(batches)
        seconds = time.perf_counter() - started
        if seconds >= SECONDS / 2:
            return batches / seconds
        batches = max(batches + 1, int(1.2 * batches * SECONDS / 2 / seconds))


# ------------------------------------------------------------------ lower precision, torch.compile


PRECISION = """  EfficientNet-Lite0 in each precision, by each engine, against float32 by PyTorch (the first line):
  - features: how far those of an image are away, relative to their length; median and largest over the images;
  - FD: the Frechet distance between the halves of the images; away: of that of float32, relative to it."""


def show_precision(images: list[np.ndarray], device: str, *, compiled: bool, speed: bool = True) -> None:
    """The error of features and of the FD between two halves of the images, against float32, and the speed."""
    from genaudit.metrics.frechet import frechet_distance

    model = EfficientNetLite0()
    prepared = np.stack([model.recipe.apply(image) for image in images]).transpose(0, 3, 1, 2)
    half = len(images) // 2
    kinds = [("float32", "torch"), *((precision, "torch") for precision in ("bfloat16", "float16"))]
    kinds += [("tf32", "torch")] if device.startswith("cuda") else []
    kinds += [(precision, "torch.compile") for precision in ("float32", "bfloat16")] if compiled else []
    kinds += [("float32", "openvino")] if device == "cpu" and _installed("openvino") else []
    exact = None
    print(PRECISION)
    head = f"  {'':<24} {'features, median':>17} {'largest':>9} {'FD of halves':>14} {'FD away':>9}"
    print(f"{head} {'images/s':>9}" if speed else head)
    for precision, engine in kinds:
        measure = Embedding(model)
        measure.engine = engine
        rows = _rows(measure, prepared, device, precision)
        exact = rows if exact is None else exact
        errors = np.linalg.norm(rows - exact, axis=1) / np.linalg.norm(exact, axis=1)
        distance = frechet_distance(rows[:half], rows[half:])
        error = abs(distance / frechet_distance(exact[:half], exact[half:]) - 1)
        line = f"  {precision + ', ' + engine:<24} {np.median(errors):>17.1e} {errors.max():>9.1e} {distance:>14.6g}"
        line += f" {error:>9.1e}"
        print(f"{line} {images_per_second(measure, device, precision):>9.1f}" if speed else line, flush=True)


def _rows(measure: Any, prepared: np.ndarray, device: str, precision: str) -> np.ndarray:
    size = measure.batch_size(device)
    with neutral(), exact_float32(device):
        meter = measure.open(device, precision)
        batches = [to_device(prepared[i : i + size], device) for i in range(0, len(prepared), size)]
        return np.concatenate([meter(batch, []).cpu().numpy() for batch in batches]).astype(np.float64)


# ------------------------------------------------------------------ what it runs on


def _first_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} threads"


def _images(folder: str, count: int) -> list[np.ndarray]:
    """(H, W, 3) uint8: of a folder, or smooth coloured ones with a little noise."""
    if folder:
        from genaudit.data import open_images

        found: Any = open_images(folder)
        return [found.read(index) for index in range(min(count, len(found)))]
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 8, 8, 3))
    smooth = coarse.repeat(12, axis=1).repeat(12, axis=2)
    return list(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8))


def _inception() -> Embedding:
    from genaudit.backbones.fid_inception import FidInception, _untrained

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(_untrained(0).state_dict(), path)
        model = FidInception(checkpoint=str(path))
        model.weights.read()  # before the file is gone
    return Embedding(model)


def _random_weights(folder: str) -> str:
    from peers_whole import random_inception

    path = Path(folder) / "pt_inception.pth"
    random_inception(path)
    return str(path)


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    sys.exit(main())
