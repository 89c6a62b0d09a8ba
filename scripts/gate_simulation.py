"""Level and power of the diversity gate, by simulation: the tables of docs/gating.md.

    python scripts/gate_simulation.py --out runs/gate_simulation              # Gaussian features; resumable
    python scripts/gate_simulation.py --out runs/gate_simulation --rows F.npz # splits of real images' features
    python scripts/gate_simulation.py --out runs/gate_simulation --tables     # prints the tables of what is there

A perfect model draws from the law of the training images. Other models reach a random half, a quarter or a tenth of the
training images: their samples are the perfect model's whose nearest training image is in that share. Real images'
features come with labels: the other model there draws from one class only. One retrieval of all draws serves every
number of samples, calibration, mode and target. `former` is the gate before: the occupancy law of uniform draws, at
irs_target of the training set or of the lower bound of what the reference reaches.

D features, N training images, n samples.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.calibrated_gate import CalibratedGate
from genaudit.metrics.gate import Question
from genaudit.stats import held_out_test
from genaudit.stats.held_out_test import real_needed
from genaudit.stats.neighbours import nearest
from genaudit.stats.occupancy import estimate_support, rejection_threshold, target_support
from genaudit.tasks.gate.calibration import MOST_SET_ASIDE

DIMS, TRAINS, SAMPLES = (2, 8, 32, 128, 512), (500, 1000, 5000), (200, 1000, 2000)
TARGETS, MODES, CALIBRATIONS = (0.5, 0.8, 1.0), ("fixed", "sequential"), ("reference", "held_out_train")
SHARES = {"perfect": 1.0, "half": 0.5, "quarter": 0.25, "tenth": 0.1}
ALPHA = 0.05
NEIGHBOURS = 12  # of each draw: one of them is still there when half of the training images are set aside


def gaussian(dims: int, n_train: int, seed: int, models: list[str]) -> Iterator[dict[str, Any]]:
    """Decisions on simulated features of one training set."""
    generator = np.random.default_rng((seed, dims, n_train))
    most = max(SAMPLES)
    # Shares of the images carry more or less of the law: twice as many draws as are needed on average.
    pool = real_needed(most, min(TARGETS)) + int(2 * most / min(SHARES[model] for model in models))
    train = generator.normal(size=(n_train, dims)).astype(np.float32)
    draws = generator.normal(size=(pool, dims)).astype(np.float32)
    found = nearest(draws, train, k=NEIGHBOURS).indices
    cut = real_needed(most, min(TARGETS))
    # Training images among one another, for those that are set aside.
    own = nearest(train, train, k=NEIGHBOURS, exclude_self=True).indices
    for model in models:
        share = generator.random(n_train) < SHARES[model]
        samples = found[cut:][share[found[cut:, 0]]]
        yield from decisions(found[:cut], samples, own, model, seed, {"dims": dims, "n_train": n_train})


def splits(path: Path, seed: int, n_train: int, models: list[str]) -> Iterator[dict[str, Any]]:
    """Decisions on a random split of real images' features (`features`, `labels`)."""
    with np.load(path) as file:
        rows, labels = file["features"], file["labels"]
    order = np.random.default_rng(seed).permutation(len(rows))
    rows, labels = rows[order].astype(np.float32), labels[order]
    train, others, classes = rows[:n_train], rows[n_train:], labels[n_train:]
    found = nearest(others, train, k=NEIGHBOURS).indices
    own = nearest(train, train, k=NEIGHBOURS, exclude_self=True).indices
    half = len(others) // 2
    for model in models:
        keep = classes[half:] == classes[0] if model == "one class" else np.ones(len(others) - half, bool)
        if model in SHARES and model != "perfect":
            keep = (np.random.default_rng((seed, 1)).random(n_train) < SHARES[model])[found[half:, 0]]
        where = {"data": path.stem, "n_train": n_train}
        yield from decisions(found[:half], found[half:][keep], own, model, seed, where)


def decisions(
    real: np.ndarray, samples: np.ndarray, own: np.ndarray, model: str, seed: int, where: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """One record per number of samples, target, calibration and mode.

    Args:
        real: (M, k) the nearest training images of held-out real images; samples: (n, k) the same of samples.
        own: (N, k) the same of the training images themselves.
    """
    n_train = len(own)
    for n, target in product(SAMPLES, TARGETS):
        if n > len(samples):
            continue
        needed = real_needed(n, target)
        question = Question(target, ALPHA)
        for calibration in CALIBRATIONS:
            if calibration == "reference":
                held_out, retrieved, left = real[:needed, 0], samples[:n, 0], n_train
            else:
                count = min(needed, int(MOST_SET_ASIDE * n_train))
                order = np.random.default_rng((seed, 2)).permutation(n_train)
                kept = np.ones(n_train, bool)
                kept[order[:count]] = False
                held_out, retrieved, left = (
                    first_kept(own[order[:count]], kept),
                    first_kept(samples[:n], kept),
                    kept.sum(),
                )
            for mode in MODES:
                gate = CalibratedGate(held_out, int(left), question, mode=mode, horizon=n, seed=seed)
                gate.update(retrieved)
                if not gate.decided:
                    gate.verdict(finished=True)
                record = {**where, "model": model, "n": n, "target": target, "calibration": calibration, "mode": mode}
                rejected = gate.test.rejected
                yield {**record, "rejected": rejected, "at": gate.n_sampled}
            former = former_rejects(
                samples[:n, 0], real[:needed, 0] if calibration == "reference" else None, n_train, target
            )
            yield {**where, "model": model, "n": n, "target": target, "calibration": calibration, "mode": "former",
                   "rejected": former, "at": n}  # fmt: skip


def first_kept(neighbours: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The nearest neighbour that was not set aside, (n,)."""
    there = kept[neighbours]
    return np.asarray(neighbours[np.arange(len(neighbours)), there.argmax(1)][there.any(1)])


def former_rejects(samples: np.ndarray, real: np.ndarray | None, n_train: int, target: float) -> bool:
    """Eq. 9 at irs_target of the training set, or of the lower bound (level alpha/2) of what real images reach."""
    level, support = ALPHA, float(n_train)
    if real is not None:
        samples, real = samples[: len(real)], real[: len(samples)]
        level = ALPHA / 2
        support = estimate_support(len(np.unique(real)), len(real), alpha=level, upper=n_train).lower
    threshold = rejection_threshold(len(samples), target_support(int(support), target), level)
    return bool(len(np.unique(samples)) < threshold)


def work(job: tuple[str, Any, int, int, list[str]]) -> tuple[str, list[dict[str, Any]]]:
    """One training set's decisions, by the job's name."""
    kind, what, n_train, seed, models = job
    # p-values are valid at any number of relabellings.
    held_out_test.RELABELLINGS = 999
    made = gaussian(what, n_train, seed, models) if kind == "gaussian" else splits(Path(what), seed, n_train, models)
    return name(job), list(made)


def name(job: tuple[str, Any, int, int, list[str]]) -> str:
    kind, what, n_train, seed, _ = job
    return f"{kind}_{Path(str(what)).stem}_{n_train}_{seed}"


def jobs(arguments: argparse.Namespace) -> list[tuple[str, Any, int, int, list[str]]]:
    """All training sets, interleaved, so that every cell has as many at any time; the first few with all models."""
    every = []
    for seed in range(arguments.seeds):
        models = ["perfect"]
        if seed < arguments.power_seeds:
            models += ["half", "quarter", "tenth"] + (["one class"] if arguments.rows else [])
        if arguments.rows:
            every += [("real", str(path), n, seed, models) for path in arguments.rows for n in arguments.trains]
        else:
            every += [("gaussian", dims, n, seed, models) for dims in DIMS for n in arguments.trains]
    return every


def read(out: Path) -> list[dict[str, Any]]:
    records = []
    for path in sorted(out.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            records += json.loads(line)["records"]
    return records


def tables(out: Path) -> str:
    """The level over all cells and the power of each model, as Markdown."""
    records = read(out)
    lines = []
    for kind in ("dims", "data"):
        chosen = [each for each in records if kind in each]
        if not chosen:
            continue
        keys = (kind, "n_train", "n", "calibration", "mode", "target")
        cells: dict[tuple[Any, ...], list[bool]] = {}
        for each in chosen:
            if each["model"] == "perfect" and each["mode"] != "former":
                cells.setdefault(tuple(each[key] for key in keys), []).append(each["rejected"])
        rates = {cell: float(np.mean(found)) for cell, found in cells.items()}
        least, total = min(map(len, cells.values())), sum(map(len, cells.values()))
        error = lambda n: float(np.sqrt(ALPHA * (1 - ALPHA) / n))  # noqa: E731
        over = [cell for cell, found in cells.items() if rates[cell] > ALPHA + 3 * error(len(found))]
        mean = float(np.mean([r for found in cells.values() for r in found]))
        worst = max(rates, key=lambda cell: rates[cell])
        where = ", ".join(map(str, worst))
        lines += [
            f"Perfect models rejected at alpha = {ALPHA:g}: {mean:.4f} over {total:,} decisions (at most "
            f"{ALPHA + error(total):.4f} is asked for); {len(cells)} cells of {least} or more decisions, "
            f"{len(over)} of them above alpha + 3 standard errors; the highest {rates[worst]:.3f} ({where}).",
            "",
        ]
        lines += [*_level(chosen, kind), "", *_power(chosen, kind), ""]
    return "\n".join(lines)


def _rate(records: list[dict[str, Any]]) -> str:
    return f"{np.mean([each['rejected'] for each in records]):.3f}" if records else ""


def _level(records: list[dict[str, Any]], kind: str) -> list[str]:
    values = sorted({each[kind] for each in records})
    head = ["calibration", "mode", "target", *(f"{'D = ' if kind == 'dims' else ''}{each}" for each in values)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for calibration, mode, target in product(CALIBRATIONS, (*MODES, "former"), TARGETS):
        row = [
            [e for e in records if e["model"] == "perfect" and e["calibration"] == calibration and e["mode"] == mode
             and e["target"] == target and e[kind] == value] for value in values
        ]  # fmt: skip
        lines.append(f"| {calibration} | {mode} | {target:g} | " + " | ".join(map(_rate, row)) + " |")
    return lines


def _power(records: list[dict[str, Any]], kind: str) -> list[str]:
    models = [each for each in ("half", "quarter", "tenth", "one class") if any(r["model"] == each for r in records)]
    head = ["calibration", "N", "n", "target", *(f"{model}, {mode}" for model in models for mode in (*MODES, "former"))]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    trains = sorted({each["n_train"] for each in records})
    for calibration, n_train, n, target in product(CALIBRATIONS, trains, SAMPLES, TARGETS):
        where = {"calibration": calibration, "n_train": n_train, "n": n, "target": target}
        here = [each for each in records if all(each[key] == value for key, value in where.items())]
        row = [
            _rate([each for each in here if each["model"] == model and each["mode"] == mode])
            for model in models
            for mode in (*MODES, "former")
        ]
        if any(row):
            lines.append(f"| {calibration} | {n_train:,} | {n:,} | {target:g} | " + " | ".join(row) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=Path, nargs="+", help="npz files with features (N, D) and labels (N,)")
    parser.add_argument("--trains", type=int, nargs="+", default=None)
    parser.add_argument("--seeds", type=int, default=None, help="training sets a cell (300; 200 splits of real images)")
    parser.add_argument("--power-seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.tables:
        print(tables(arguments.out))
        return
    arguments.trains = arguments.trains or ([2000] if arguments.rows else list(TRAINS))
    arguments.seeds = arguments.seeds or (200 if arguments.rows else 300)
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = arguments.out / ("real.jsonl" if arguments.rows else "gaussian.jsonl")
    done = {json.loads(line)["name"] for line in log.read_text().splitlines()} if log.exists() else set()
    left = [job for job in jobs(arguments) if name(job) not in done]
    print(f"{len(left)} of {len(left) + len(done)} training sets left", flush=True)
    with ProcessPoolExecutor(arguments.workers) as pool, log.open("a") as stream:
        for job_name, records in pool.map(work, left):
            stream.write(json.dumps({"name": job_name, "records": records}) + "\n")
            stream.flush()


if __name__ == "__main__":
    main()
