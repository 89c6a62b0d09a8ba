"""Time and peak memory of the feature metrics, beside other packages in the same run.

    python scripts/bench_metrics.py                                   # a few minutes
    python scripts/bench_metrics.py --only prdc --images 50000 --dimensions 2048
    python scripts/bench_metrics.py --only fd-on-disk --rows 1000000 --row-dimensions 1280

Every measurement runs in a process of its own, so that its peak resident memory is its own; what the imports
alone take is printed as "before". The ratios are of CPU seconds and mean something only within a run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _features(path: Path, n: int, dimensions: int, seed: int, shift: float) -> np.ndarray:
    """Correlated, non-negative float32 rows like pooled features, written block by block and mapped from disk."""
    rng = np.random.default_rng(seed)
    mixing = (np.random.default_rng(1).normal(size=(64, dimensions)) / 8).astype(np.float32)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, dimensions))
    for start in range(0, n, 8192):
        m = min(8192, n - start)
        noise = rng.standard_normal((m, dimensions), dtype=np.float32)
        rows[start : start + m] = np.maximum(
            rng.standard_normal((m, 64), dtype=np.float32) @ mixing + 0.3 * noise + np.float32(shift), 0
        )
    rows.flush()
    return rows


class _OnDisk:
    """Rows of an .npy file, copied slice by slice: pages of a lasting memory map would count as resident memory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.shape = np.load(path, mmap_mode="r").shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, item: Any) -> np.ndarray:
        return np.array(np.load(self._path, mmap_mode="r")[item])


def _run(what: str, generated: str, reference: str) -> dict[str, float]:
    """One measurement in this process: its value, wall and CPU seconds, and memory in MiB."""
    x, y = _OnDisk(generated), _OnDisk(reference)
    with contextlib.redirect_stdout(io.StringIO()):
        _tasks(x[:64], y[:64])[what]()  # imports and thread pools
    task = _tasks(x, y)[what]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, start_cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        value = task()
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"value": value, "seconds": seconds, "cpu": cpu, "peak": peak, "before": before}


def _tasks(x: Any, y: Any) -> dict[str, Callable[[], float]]:
    import torch

    from genaudit.metrics import frechet, kernel, prdc

    def torch_fidelity_fd() -> float:
        from torch_fidelity import metric_fid

        tensors = [torch.from_numpy(rows[:]) for rows in (x, y)]
        stats = [metric_fid.fid_features_to_statistics(rows) for rows in tensors]
        return float(metric_fid.fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"])

    def torchmetrics_fd() -> float:
        from torchmetrics.image.fid import _compute_fid

        moments = []
        for rows in (x, y):
            features = torch.from_numpy(rows[:]).double()
            moments += [features.mean(dim=0), torch.cov(features.T)]
        return float(_compute_fid(*moments))

    def torchmetrics_kd() -> float:
        from torchmetrics.image.kid import poly_mmd

        generated, reference = (torch.from_numpy(rows[:]).double() for rows in (x, y))
        return float(poly_mmd(generated, reference))

    def prdc_package() -> float:
        from prdc import compute_prdc

        return float(compute_prdc(y[:], x[:], nearest_k=5)["density"])

    def floor(name: str, module: Any) -> float:
        """The real floor, the second set in the place of the generated one: beside the metric with its interval."""
        from genaudit.tasks.run.judging import values_of
        from genaudit.verdict.real_floor import Pairing, real_floor

        values = values_of(name, module.judge, {}, confidence=0.95, seed=0)
        pair, rows = Pairing("train", ("reference",), "train"), {"generated": x, "reference": x, "train": y}
        return next(iter(real_floor(values, rows, pair, np.arange(len(y))).values())).value

    return {
        "fd": lambda: frechet.frechet_distance(x, y),
        "fd, interval": lambda: frechet.judge(generated=x, reference=y).fd,
        "fd, torch-fidelity": torch_fidelity_fd,
        "fd, torchmetrics": torchmetrics_fd,
        "kd": lambda: kernel.judge(generated=x, reference=y).kd,
        "kd, torchmetrics": torchmetrics_kd,
        "prdc": lambda: prdc.prdc(y, x).density,
        "prdc, interval": lambda: prdc.judge(generated=x, reference=y).density,
        **{
            f"{name}, floor": functools.partial(floor, name, module)
            for name, module in (("fd", frechet), ("kd", kernel), ("prdc", prdc))
        },
        "prdc, prdc package": prdc_package,
    }


def _measure(what: str, generated: Path, reference: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", what, str(generated), str(reference)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _compare(names: list[str], generated: Path, reference: Path) -> None:
    first: dict[str, float] | None = None
    for name in names:
        got = _measure(name, generated, reference)
        first = first or got
        print(
            f"  {name:22} {got['value']:14.8g}   {got['seconds']:8.2f} s"
            f"   CPU {got['cpu']:8.2f} s {got['cpu'] / first['cpu']:6.2f} x"
            f"   peak {got['peak']:6.0f} MiB (before {got['before']:.0f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", nargs=3, metavar=("TASK", "GENERATED", "REFERENCE"), help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("fd", "kd", "prdc", "fd-on-disk"))
    parser.add_argument("--images", type=int, default=4000, help="in each set, for FD, KD and PRDC")
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--rows", type=int, default=100_000, help="in the generated set of the run on disk")
    parser.add_argument("--row-dimensions", type=int, default=256)
    parser.add_argument("--others-up-to", type=int, default=12_000, help="images up to which other packages run too")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(_run(*options.worker)))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        generated, reference = Path(folder) / "generated.npy", Path(folder) / "reference.npy"
        wanted = [options.only] if options.only else ["fd", "kd", "prdc"]
        if options.only != "fd-on-disk":
            n, dimensions = options.images, options.dimensions
            _features(generated, n, dimensions, 2, 0.02)
            _features(reference, n, dimensions, 3, 0.0)
            print(f"{n} x {n} images, {dimensions} features", flush=True)
            names = {
                "fd": ["fd", "fd, interval", "fd, floor", "fd, torch-fidelity", "fd, torchmetrics"],
                "kd": ["kd", "kd, floor", "kd, torchmetrics"],
                "prdc": ["prdc", "prdc, interval", "prdc, floor", "prdc, prdc package"],
            }
            for metric in wanted:
                own = [name for name in names[metric] if "," not in name or name.endswith(("interval", "floor"))]
                _compare(names[metric] if n <= options.others_up_to else own, generated, reference)
        if options.only in (None, "fd-on-disk"):
            _features(generated, options.rows, options.row_dimensions, 2, 0.02)
            _features(reference, min(options.rows, 50_000), options.row_dimensions, 3, 0.0)
            print(f"{options.rows} rows of {options.row_dimensions} on disk", flush=True)
            _compare(["fd", "fd, interval"], generated, reference)


if __name__ == "__main__":
    main()
