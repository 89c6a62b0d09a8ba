"""Speed and memory of measuring, as ratios taken in one run.

    python scripts/bench_evaluate.py                # measuring against the bare network, a warm demo
    python scripts/bench_evaluate.py networks       # several networks in one pass against each alone
    python scripts/bench_evaluate.py rows           # 1,000,000 rows of 1,280 judged by IRS and FD, resident memory
    python scripts/bench_evaluate.py rows --rows 200000

Each round runs every contender once, one after the other; a ratio is taken within a round and its median over the
rounds is printed with the smallest and the largest, so that a machine whose speed drifts does not decide.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = ("torch", "openvino") if importlib.util.find_spec("openvino") else ("torch",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="measuring", choices=["measuring", "networks", "rows"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=96, help="images a round")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.what == "rows":
        bench_rows(arguments.rows)
    elif arguments.what == "networks":
        bench_networks(arguments.rounds, arguments.images)
    else:
        bench_measuring(arguments.rounds, arguments.images)
        bench_warm_demo()


# ------------------------------------------------------------------ measuring against the bare network


def bench_measuring(rounds: int, count: int) -> None:
    import timm
    import torch

    from genaudit.backbones.embedded import EfficientNetLite0
    from genaudit.data import ImageSet, open_images
    from genaudit.measures.embedding import Embedding
    from genaudit.store import Engine, Store
    from genaudit.store.measuring import running

    def opened(engine: str) -> Any:
        embedding = Embedding(model)
        embedding.engine = engine
        started = time.perf_counter()
        meter = embedding.open("cpu", "float32")
        print(f"  network opened by {engine} in {time.perf_counter() - started:.1f} s")
        return meter

    machine = f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    print(f"EfficientNet-Lite0 at 224, {count} images a round, {rounds} rounds, {machine}")
    model = EfficientNetLite0()
    bare = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    ready = torch.rand((count, 3, 224, 224))
    tuned = {engine: opened(engine) for engine in ENGINES}
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8))
    channels_last = pixels.permute(0, 3, 1, 2)
    digests = [b"0" * 16] * 4

    def timm_as_it_comes(batch: int) -> Callable[[], None]:
        def run() -> None:
            with torch.inference_mode():
                for start in range(0, count, batch):
                    bare(ready[start : start + batch])

        return run

    def own_network(engine: str) -> Callable[[], None]:
        def run() -> None:
            with running("cpu") as loop:
                for rows in [loop.start(tuned[engine], channels_last[i : i + 4], digests) for i in range(0, count, 4)]:
                    rows()

        return run

    def measured(images: ImageSet, engine: str) -> Callable[[], None]:
        embedding = Embedding(model)
        # the network is loaded once
        embedding.open = lambda device, precision: tuned[engine]  # type: ignore[method-assign]

        def run() -> None:
            with tempfile.TemporaryDirectory() as store:
                Store(store).measure(images, embedding, Engine())

        return run

    with tempfile.TemporaryDirectory() as folder:
        small = open_images(_write(Path(folder) / "small", count, 64, "png"))
        large = open_images(_write(Path(folder) / "large", count, 512, "jpg"))
        contenders = {
            "timm, batch 8": timm_as_it_comes(8),
            "timm, batch 32": timm_as_it_comes(32),
        }
        for engine in ENGINES:
            contenders |= {
                f"own network, ready tensors, {engine}": own_network(engine),
                f"measuring 64-pixel PNGs, {engine}": measured(small, engine),
                f"measuring 512-pixel JPEGs, {engine}": measured(large, engine),
            }
        seconds = _rounds(contenders, rounds)
    better = [min(pair) for pair in zip(seconds["timm, batch 8"], seconds["timm, batch 32"], strict=True)]
    for name, times in seconds.items():
        print(f"  {name:<40} {count / statistics.median(times):7.1f} images/s")
    for name in ("measuring 64-pixel PNGs", "measuring 512-pixel JPEGs"):
        for engine in ENGINES:
            own = seconds[f"{name}, {engine}"]
            _ratio(f"{name}, {engine} / timm as it comes (better batch)", better, own)
            ready_tensors = seconds[f"own network, ready tensors, {engine}"]
            _ratio(f"{name}, {engine} / own network on ready tensors", ready_tensors, own)
            if engine != ENGINES[0]:
                _ratio(f"{name}, {engine} / {ENGINES[0]}", seconds[f"{name}, {ENGINES[0]}"], own)


def _rounds(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for each in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if each:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _ratio(name: str, base: list[float], other: list[float]) -> None:
    ratios = [b / o for b, o in zip(base, other, strict=True)]
    print(f"  {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _write(folder: Path, count: int, size: int, kind: str) -> str:
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(size)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{index:05}.{kind}")
    return str(folder)


# ------------------------------------------------------------------ several networks in one pass


def bench_networks(rounds: int, count: int) -> None:
    """Wall time of one pass with k networks over the sum of the networks alone, and of three outputs of one network."""
    import torch

    from genaudit.backbones.embedded import EfficientNetLite0
    from genaudit.backbones.fid_inception import FidInception, _untrained
    from genaudit.backbones.timm_model import TimmModel
    from genaudit.data import ImageSet, open_images
    from genaudit.measures.embedding import Embedding
    from genaudit.measures.logits import Logits
    from genaudit.measures.spatial import SpatialFeatures
    from genaudit.store import Engine, Store

    print(f"{count} images a round, {rounds} rounds, {torch.get_num_threads()} threads")

    def measured(images: ImageSet, *measures: Any) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory() as store:
                Store(store).measure_all(images, measures, Engine())

        return run

    with tempfile.TemporaryDirectory() as folder:
        torch.save(_untrained(0).state_dict(), f"{folder}/inception.pth")
        inception = FidInception(checkpoint=f"{folder}/inception.pth")
        models = {
            "efficientnet_lite0": EfficientNetLite0(),
            "inception": inception,
            "vit_s16": TimmModel("vit_small_patch16_224", pretrained=False),
        }
        images = {
            "64-pixel PNGs": open_images(_write(Path(folder) / "small", count, 64, "png")),
            "512-pixel JPEGs": open_images(_write(Path(folder) / "large", count, 512, "jpg")),
        }
        outputs = [kind(inception) for kind in (Embedding, Logits, SpatialFeatures)]
        for kind, each in images.items():
            alone = {name: measured(each, Embedding(model)) for name, model in models.items()}
            contenders = alone | {
                "all three": measured(each, *map(Embedding, models.values())),
                "two": measured(each, Embedding(models["efficientnet_lite0"]), Embedding(inception)),
                "fd, is and sfd": measured(each, *outputs),
            }
            print(f" {kind}")
            seconds = _rounds(contenders, rounds)
            for name, times in seconds.items():
                print(f"  {name:<28} {count / statistics.median(times):7.1f} images/s")
            three = [sum(times) for times in zip(*(seconds[name] for name in models), strict=True)]
            two = [sum(times) for times in zip(seconds["efficientnet_lite0"], seconds["inception"], strict=True)]
            _ratio("time of three networks / sum of each alone", seconds["all three"], three)
            _ratio("time of two networks / sum of each alone", seconds["two"], two)
            _ratio("time of fd, is and sfd / fd alone", seconds["fd, is and sfd"], seconds["inception"])


# ------------------------------------------------------------------ a warm second run


def bench_warm_demo() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "genaudit", "demo", f"store={folder}/store", "sets=[vae]"]
        imports = "import genaudit.tasks.demo, genaudit.metrics.frechet, torch, timm, matplotlib.figure, rich, jinja2"
        for name in ("cold", "warm"):
            started = time.perf_counter()
            subprocess.run([*command, f"out={folder}/{name}"], check=True, stdout=subprocess.DEVNULL)
            print(f"demo, one set, {name}: {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", imports], check=True)
        print(f"of that, imports alone: {time.perf_counter() - started:.1f} s")
        report = json.loads((Path(folder) / "warm" / "vae" / "report.json").read_text())
        print(f"images measured by the warm run: {sum(use['computed'] for use in report['measures'].values())}")


# ------------------------------------------------------------------ memory


def bench_rows(count: int) -> None:
    """Synthetic rows are written into a store as a measure's, read back in another order and judged."""
    from genaudit.metrics.frechet import frechet_distance
    from genaudit.metrics.irs import irs
    from genaudit.store.index import StoreIndex
    from genaudit.store.shards import write_shard

    dim, queries = 1280, 2000
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        digests = np.frombuffer(rng.bytes(16 * count), dtype=np.uint8).reshape(count, 16)
        for start in range(0, count, 12_500):
            stop = min(start + 12_500, count)
            part = rng.standard_normal((stop - start, dim), dtype=np.float32)
            write_shard(Path(folder), digests[start:stop], part, Path(folder).name)
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**30
        print(f"{count:,} rows of {dim} written: {size:.1f} GiB")
        written = _resident()
        started = time.perf_counter()
        index = StoreIndex.read(Path(folder))
        index.verify(digests.view("S16").reshape(count))
        rows = index.rows(digests.view("S16").reshape(count), None)
        seconds = time.perf_counter() - started
        print(f"store opened and verified in {seconds:.1f} s, peak resident {_resident():.2f} GiB")
        generated = rng.standard_normal((queries, dim), dtype=np.float32)
        started = time.perf_counter()
        result = irs(rows, None, generated)
        seconds = time.perf_counter() - started
        print(f"IRS of {queries:,} samples against them in {seconds:.1f} s: {result.n_learned} learned")
        started = time.perf_counter()
        distance = frechet_distance(rows, generated)
        print(f"FD in {time.perf_counter() - started:.1f} s: {distance:.3f}")
        print(f"peak resident {_resident():.2f} GiB (before reading {written:.2f} GiB)")


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
