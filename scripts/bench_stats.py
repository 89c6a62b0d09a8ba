"""Speed and calibration of the statistics kernels, each figure beside its yardstick from the same run.

    python scripts/bench_stats.py                    everything that takes a few minutes
    python scripts/bench_stats.py neighbours ks2d    some of it
    python scripts/bench_stats.py large              resident memory of the IRS against a million synthetic rows

Times are the best of a few repeats; the ratios are what travels between machines. faiss (faiss-cpu) is compared with
where it is installed. The machine's matrix-product rate is measured by torch on the same float32 matrices.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def best(call: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """The shortest (wall, processor) seconds of `call`, each over all repeats."""
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls), min(processors)


def neighbours(queries: int = 10_000, rows: int = 20_000, dims: int = 1280) -> None:
    import torch
    from sklearn.metrics import pairwise_distances_argmin

    from genaudit.stats.neighbours import nearest

    rng = np.random.default_rng(0)
    q = rng.normal(size=(queries, dims)).astype(np.float32)
    r = rng.normal(size=(rows, dims)).astype(np.float32)
    tq, tr = torch.from_numpy(q), torch.from_numpy(r)
    print(f"nearest of {queries:,} x {rows:,} x {dims:,}, {torch.get_num_threads()} threads")
    calls: dict[str, Callable[[], Any]] = {
        "sgemm alone (torch)": lambda: tq @ tr.T,
        "genaudit nearest": lambda: nearest(q, r),
        "torch.cdist + argmin": lambda: torch.cdist(tq, tr).argmin(1),
        "scikit-learn": lambda: pairwise_distances_argmin(q, r),
    }
    try:
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatL2(dims)
        index.add(r)
        calls["faiss flat"] = lambda: index.search(q, 1)
    except ImportError:
        print("  faiss is not installed (pip install faiss-cpu): left out")
    # Turn by turn, so that a busy machine slows all of them alike.
    rounds = [{name: best(call, 1) for name, call in calls.items()} for _ in range(3)]
    times = {name: (min(t[name][0] for t in rounds), min(t[name][1] for t in rounds)) for name in calls}
    sgemm = times["sgemm alone (torch)"]
    for name, (wall, processor) in times.items():
        share = f"{sgemm[0] / wall:6.0%} of the sgemm rate by wall, {sgemm[1] / processor:6.0%} by processor time"
        print(f"  {name:22s} {wall:7.2f} s wall {processor:7.2f} s processor   {share}")
    near = times["genaudit nearest"]
    for name in list(times)[2:]:
        wall, processor = times[name]
        print(f"  {name} takes {wall / near[0]:.2f} times as long (processor: {processor / near[1]:.2f})")
    print("  agreement with float64 where features are shifted by 1,000 (the first 50 queries):")
    shifted_q, shifted_r = q[:50] + 1000, r + 1000
    exact = np.array([((shifted_r.astype(float) - x) ** 2).sum(1).argmin() for x in shifted_q.astype(float)])
    cdist = torch.cdist(torch.from_numpy(shifted_q), torch.from_numpy(shifted_r)).argmin(1).numpy()
    ours = nearest(shifted_q, shifted_r).indices[:, 0]
    print(f"    genaudit {np.mean(ours == exact):.0%}, torch.cdist {np.mean(cdist == exact):.0%}")


def occupancy() -> None:
    from genaudit.stats.occupancy import cdf, estimate_support, rejection_threshold, samples_needed

    print("occupancy law at n = 50,000, s = 1,024,933 (milliseconds wall; processor)")
    calls: dict[str, Callable[[], Any]] = {
        "one CDF value": lambda: cdf(48_744, 50_000, 1_024_933),
        "rejection threshold": lambda: rejection_threshold(50_000, 1_024_933, 0.05),
        "estimate with interval": lambda: estimate_support(48_744, 50_000, upper=1_281_166),
        "samples for 90 % power": lambda: samples_needed(512_466, 1_024_933, 0.05, 0.9),
    }
    for name, call in calls.items():
        wall, processor = best(call, 5)
        print(f"  {name:24s} {1000 * wall:8.1f} {1000 * processor:8.1f}")


def ks2d() -> None:
    from genaudit.stats.ks2d import ks2d_2samp

    rng = np.random.default_rng(0)

    def quadratic(a: np.ndarray, b: np.ndarray) -> None:
        for x, y in np.concatenate([a, b]):
            for sample in (a, b):
                left, down = sample[:, 0] <= x, sample[:, 1] <= y
                np.mean(left & down), np.mean(left & ~down), np.mean(~left & down)

    print("2-D Kolmogorov-Smirnov, seconds wall; the quadratic definition in NumPy beside it")
    for n in (200, 1000, 10_000, 50_000):
        a, b = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
        wall, processor = best(lambda a=a, b=b: ks2d_2samp(a, b, pvalue=None))  # type: ignore[misc]
        # Above 1,000 points the quadratic form is timed at 1,000 and scaled by n^2.
        small = min(n, 1000)
        slow = best(lambda a=a[:small], b=b[:small]: quadratic(a, b), 1)[0] * (n / small) ** 2  # type: ignore[misc]
        print(f"  {n:6,} a side {wall:8.4f} (processor {processor:.4f})   quadratic {slow:9.2f}   {slow / wall:8.0f} x")
    for n in (64, 200, 1000):
        a, b = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
        wall, _ = best(lambda a=a, b=b: ks2d_2samp(a, b, pvalue="permutation"), 2)  # type: ignore[misc]
        found = ks2d_2samp(a, b, pvalue="permutation")
        print(f"  999 permutations at {n:,}: {wall:.2f} s, null mean {found.null_mean:.3f}, 95 % {found.null_95:.3f}")
    print(f"  peak resident memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def calibration(repeats: int = 1000) -> None:
    from genaudit.stats.ks2d import ks2d_2samp

    print(f"share of p-values at most 5 % for equal clouds, {repeats} repeats (standard error 0.7 %)")
    clouds: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
        "independent": lambda g, n: g.normal(size=(n, 2)),
        "correlated 0.9": lambda g, n: g.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], n),
        "heavy ties": lambda g, n: g.integers(0, 3, (n, 2)).astype(float),
    }
    for name, draw in clouds.items():
        for n in (64, 200):
            g = np.random.default_rng(1)
            p = np.empty((repeats, 2))
            for i in range(repeats):
                a, b = draw(g, n), draw(g, n)
                p[i, 0] = ks2d_2samp(a, b).pvalue or 0.0
                p[i, 1] = ks2d_2samp(a, b, pvalue="permutation", permutations=199, seed=i).pvalue or 0.0
            asymptotic, permutation = (p <= 0.05).mean(0)
            print(f"  {name:15s} n = {n:3d}: asymptotic {asymptotic:.1%}, permutation {permutation:.1%}")


def sequential(runs: int = 4000, horizon: int = 50_000) -> None:
    from genaudit.stats.occupancy import rejection_power, rejection_threshold, target_support
    from genaudit.stats.sequential import SequentialGate, spending_boundary

    n_train, target, alpha = 1_281_166, 0.8, 0.05
    s0 = target_support(n_train, target)
    wall, processor = best(lambda: spending_boundary.__wrapped__(horizon, s0, alpha), 2)
    print(f"sequential gate, s0 = {s0:,}, up to {horizon:,} samples; exact boundary in {wall:.2f} s ({processor:.2f})")
    gates = {
        "spending": SequentialGate(n_train, target, alpha, horizon=horizon),
        "e-process": SequentialGate(n_train, target, alpha),
        "fixed, curtailed": SequentialGate(n_train, target, alpha, horizon=horizon, method="fixed"),
    }
    looks = np.unique(np.r_[np.arange(1, 200), np.geomspace(200, horizon, 600).astype(int)])
    most: dict[str, np.ndarray] = {}
    for name, gate in gates.items():
        # Thresholds at a grid of looks, and between them the later look's number of duplicates: never more lenient.
        least = np.array([n - gate.threshold(int(n)) + 1 for n in looks])
        most[name] = least[np.searchsorted(looks, np.arange(1, horizon + 1))]
    most["spending"] = spending_boundary(horizon, s0, alpha)[1:]
    for share in (1.0, 0.9, 0.5, 0.1):
        rng = np.random.default_rng(0)
        support, d = share * s0, np.zeros(runs)
        first = {name: np.full(runs, horizon + 1) for name in gates}
        for n in range(horizon):
            d += rng.random(runs) < (n - d) / support
            for name, boundary in most.items():
                crossed = (d >= boundary[n]) & (first[name] > horizon)
                first[name][crossed] = n + 1
            if all((f <= horizon).all() for f in first.values()):
                break
        print(f"  model at {share:.0%} of the target ({runs:,} runs)")
        for name, f in first.items():
            hit = f <= horizon
            when = f"after {f[hit].mean():,.0f} samples on average" if hit.any() else ""
            print(f"    {name:17s} rejected {hit.mean():.4f} {when}")
    fixed = rejection_power(horizon, int(0.9 * s0), s0, alpha)
    print(f"  fixed test: threshold {rejection_threshold(horizon, s0, alpha):,}, exact power at 90 % {fixed:.4f}")


class _Synthetic:
    """Rows that exist only while they are read: a table of 4,096 rows, each repeat shifted a little."""

    def __init__(self, n: int, dims: int, seed: int) -> None:
        self.shape = (n, dims)
        self._table = np.random.default_rng(seed).normal(size=(4096, dims)).astype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, item: Any) -> np.ndarray:
        index = np.arange(self.shape[0])[item]
        rows = self._table[index % 4096].copy()
        rows[:, 0] += index // 4096
        return rows


def large(rows: int = 1_000_000, dims: int = 1280, queries: int = 400) -> None:
    from genaudit.metrics.irs import irs

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    train = _Synthetic(rows, dims, 0)
    index = np.random.default_rng(1).integers(0, rows, queries)
    wall = time.perf_counter()
    found = irs(train, None, train[index])
    assert (found.nearest == index).all()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"IRS of {queries} samples against {rows:,} x {dims:,} rows: {time.perf_counter() - wall:.0f} s")
    print(f"  peak resident memory {after:.0f} MB ({before:.0f} MB before); the rows are {rows * dims * 4 >> 20:,} MB")


def products(dims: int = 1280, largest: int = 12_000) -> None:
    """NumPy beside torch with and without its import, over the size of the sets: where does `WORTH_TORCH` belong?"""
    import subprocess
    import sys

    from genaudit.metrics.prdc import prdc
    from genaudit.stats import products as module
    from genaudit.stats.neighbours import nearest

    importing = best(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True), 2)[0]
    importing -= best(lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True), 2)[0]
    print(
        f"importing torch takes {importing:.2f} s; torch is worth it from {module.WORTH_TORCH:.0e} multiplications on"
    )
    rng = np.random.default_rng(0)
    for n in (size for size in (1000, 2500, 5000, 12_000) if size <= largest):
        x, y = (rng.normal(size=(n, dims)).astype(np.float32) for _ in range(2))
        for name, call in {"nearest": lambda: nearest(x, y, k=3), "prdc": lambda: prdc(x, y)}.items():  # noqa: B023
            seconds = {}
            before = module.WORTH_TORCH
            for which, worth in (("NumPy", np.inf), ("torch", 0)):
                module.WORTH_TORCH = worth
                call() if n == 1000 else None  # torch is imported
                seconds[which] = best(call, 2)[0]
            module.WORTH_TORCH = before
            ratio = seconds["NumPy"] / seconds["torch"]
            with_import = seconds["torch"] + importing
            print(
                f"  {name:<8} {n:>6,} x {n:,}: {n * n * dims:.0e} multiplications, NumPy {seconds['NumPy']:.2f} s, "
                f"torch {seconds['torch']:.2f} s (x {ratio:.2f}), with its import {with_import:.2f} s"
            )


PARTS = {f.__name__: f for f in (occupancy, neighbours, products, ks2d, sequential, calibration, large)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; default all but large")
    chosen = parser.parse_args().parts or [name for name in PARTS if name != "large"]
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
