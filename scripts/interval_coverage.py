"""Do the intervals cover? Every metric's, by simulation, at equal, shifted and mode-collapsed laws.

    python scripts/interval_coverage.py                       # the table of docs/metrics.md, resumes
    python scripts/interval_coverage.py --simulations 40 --counts 100 --metrics prdc,fld
    python scripts/interval_coverage.py --table                # prints the table of what is in the JSON

Real images are a mixture of eight Gaussians of D features; generated ones follow the same law, the same law shifted by
1.5 standard deviations, or two of the eight Gaussians. Every simulation draws new generated, reference and training
images, N of each, and judges them with all metrics. An interval covers where it holds the target:

- the mean of the value over all simulations: its expectation over fresh sets of all roles at the same N;
- for `fd_infinity` the Fréchet distance of the two laws themselves, for endless images;
- for metrics of a generator and of scores (`as`, `as_i`, `llr`, `piad`, `ais`, `inversion`, `flatness`, `ppl`) rows are
  made of the features' first coordinates, in the shape of the measures' rows.

The JSON holds one entry a cell (metric, law, N, D) and is written after each: a run that was stopped resumes, and a
cell with fewer simulations than are asked for is made again. A cell's entry: by value the share of intervals that
hold the target, the share of simulations with an interval, the values' mean and deviation, the intervals' mean half
width.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

LAWS = ("equal", "shifted", "collapsed")
COUNTS, DIMENSIONS, SIMULATIONS = (100, 300, 1000), (16, 128), 200
MODES, RADIUS, SHIFT = 8, 4.0, 1.5
SLOW = {"fld": 0.25, "fd_infinity": 0.5, "as": 0.5, "ct": 0.5}  # share of the simulations at N = 1,000
OUT = Path(__file__).parent.parent / "docs" / "interval_coverage.json"

Rows = dict[str, np.ndarray]


def draw(law: str, n: int, dimensions: int, seed: int) -> Rows:
    """Rows of all roles, (n, D) each."""
    rng = np.random.default_rng((seed, n, dimensions))
    centres = _centres(dimensions)

    def real(modes: int = MODES) -> np.ndarray:
        drawn: np.ndarray = centres[rng.integers(0, modes, n)] + rng.normal(size=(n, dimensions))
        return drawn

    generated = real(2) if law == "collapsed" else real() + (SHIFT / np.sqrt(dimensions) if law == "shifted" else 0.0)
    return {"generated": generated, "reference": real(), "train": real()}


@functools.cache
def _centres(dimensions: int) -> np.ndarray:
    drawn = np.random.default_rng(7).normal(size=(MODES, dimensions))
    centres: np.ndarray = RADIUS * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return centres


@functools.cache
def population_fd(law: str, dimensions: int) -> float:
    """The Fréchet distance between the two laws."""
    from genaudit.metrics.frechet import frechet_distance_from_moments

    def moments(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return centres.mean(axis=0), np.cov(centres, rowvar=False, ddof=0) + np.eye(dimensions)

    centres = _centres(dimensions)
    mean, covariance = moments(centres[:2] if law == "collapsed" else centres)
    mean = mean + (SHIFT / np.sqrt(dimensions) if law == "shifted" else 0.0)
    return frechet_distance_from_moments(mean, covariance, *moments(centres))


def _features(module: str, **options: Any) -> Callable[[Rows], Any]:
    def judge(rows: Rows) -> Any:
        fn = __import__(f"genaudit.metrics.{module}", fromlist=["judge"]).judge
        taken = inspect.signature(fn).parameters
        return fn(**{role: each for role, each in rows.items() if role in taken}, **options)

    return judge


def _inception(rows: Rows) -> Any:
    from genaudit.metrics.inception_score import judge

    return judge(generated=rows["generated"][:, :8])


def _clouds(rows: np.ndarray) -> np.ndarray:
    """Complexity and vulnerability, both above 0."""
    cloud: np.ndarray = np.exp(0.3 * rows[:, :2]) * [0.3, 5.0]
    return cloud


def _anomaly(rows: Rows) -> Any:
    from genaudit.metrics.anomaly_score import judge

    made, real = _clouds(rows["generated"]), _clouds(rows["reference"])
    return judge(generated=made, reference=real, permutations=19, bootstraps=100)


def _anomaly_images(rows: Rows) -> Any:
    from genaudit.metrics.anomaly_score import judge_images

    return judge_images(generated=_clouds(rows["generated"]), reference=_clouds(rows["reference"]))


def _llr(rows: Rows) -> Any:
    from genaudit.metrics.llr import judge

    def made(each: np.ndarray) -> dict[str, np.ndarray]:
        density = np.stack([each[:, 0] + each[:, 1], each[:, 0]], axis=1)
        return {"density": density, "general": each[:, 1:2], "code": each[:, 2:4]}

    return judge(
        generated=made(rows["train"]), reference=made(rows["reference"]), anomalies=made(rows["generated"]),
        bootstraps=300,
    )  # fmt: skip


def _piad(rows: Rows) -> Any:
    from genaudit.metrics.piad import judge

    def made(each: np.ndarray) -> np.ndarray:  # score, side of the map, map, reconstruction
        score = np.exp(0.3 * each[:, 0])
        return np.stack([score, np.ones(len(each)), score, np.zeros(len(each))], axis=1).astype(np.float32)

    return judge(generated=made(rows["train"]), reference=made(rows["reference"]), anomalies=made(rows["generated"]))


def _ais_rows(each: np.ndarray) -> np.ndarray:
    from genaudit.metrics.generator_rows import AIS

    rows = np.ones((len(each), len(AIS)))
    rows[:, AIS.index("log_likelihood")] = each[:, 0]
    rows[:, AIS.index("bits_per_dim")] = each[:, 0]
    rows[:, AIS.index("spread")] = 0
    return rows


def _ais(rows: Rows) -> Any:
    from genaudit.metrics.ais import judge

    return judge(
        generated=_ais_rows(rows["train"]),
        reference=_ais_rows(rows["reference"]),
        anomalies=_ais_rows(rows["generated"]),
    )


def _inversion(rows: Rows) -> Any:
    from genaudit.metrics.generator_rows import INVERSION
    from genaudit.metrics.inversion import judge

    def made(each: np.ndarray) -> np.ndarray:
        table = np.zeros((len(each), len(INVERSION)))
        table[:, INVERSION.index("error")] = np.exp(0.5 * each[:, 0])
        return table

    return judge(generated=made(rows["generated"]), train=made(rows["train"]), reference=made(rows["reference"]))


def _flatness(rows: Rows) -> Any:
    from genaudit.metrics.flatness import judge

    made = rows["generated"]
    patches = np.stack([made[:, 0] + made[:, 1], np.zeros(len(made))], axis=1)
    return judge(generated={"likelihood": _ais_rows(made), "patches": patches})


def _path_length(rows: Rows) -> Any:
    from genaudit.metrics.path_length import judge

    return judge(generated=np.exp(rows["generated"][:, :1]), distance="lpips")


METRICS: dict[str, Callable[[Rows], Any]] = {
    "fd": _features("frechet"),
    "fd_infinity": _features("fd_infinity"),
    "kd": _features("kernel"),
    "cmmd": _features("cmmd"),
    "swd": _features("swd", directions=100),
    "mind": _features("mind", directions=100),
    "prdc": _features("prdc"),
    "cdc": _features("cdc"),
    "realism": _features("realism"),
    "rarity": _features("rarity"),
    "vendi": _features("vendi"),
    "fkea": _features("fkea", frequencies=100, sigma=None),
    "is": _inception,
    "authpct": _features("authpct"),
    "ct": _features("ct"),
    "fld": _features("fld"),
    "as": _anomaly,
    "as_i": _anomaly_images,
    "llr": _llr,
    "piad": _piad,
    "ais": _ais,
    "inversion": _inversion,
    "flatness": _flatness,
    "ppl": _path_length,
}
OF_SCORES = ("is", "as", "as_i", "llr", "piad", "ais", "inversion", "flatness", "ppl")  # D does not matter


def coverage(metric: str, law: str, n: int, dimensions: int, simulations: int, base: int = 0) -> dict[str, Any]:
    """By value: coverage, share of simulations with an interval, mean and deviation, mean half width, simulations."""
    from genaudit.reports.values import describe

    found: dict[str, list[tuple[float, float, float]]] = {}
    started = time.process_time()
    for seed in range(base, base + simulations):
        for name, each in describe(METRICS[metric](draw(law, n, dimensions, seed)), metric).values.items():
            ends = [float("nan") if end is None else end for end in (each.lower, each.upper)]
            found.setdefault(name, []).append((each.value, ends[0], ends[1]))
    seconds = (time.process_time() - started) / simulations
    result: dict[str, Any] = {}
    for name, rows in found.items():
        value, lower, upper = np.array(rows).T
        target = population_fd(law, dimensions) if metric == "fd_infinity" else float(value.mean())
        has = np.isfinite(lower)
        slack = 1e-9 * abs(target)  # the mean of equal values may differ from them in the last bit
        holds = (lower[has] <= target + slack) & (target - slack <= upper[has])
        result[name] = {
            "coverage": float(holds.mean()) if has.any() else None,
            "shown": float(has.mean()),
            "target": target,
            "mean": float(value.mean()),
            "deviation": float(value.std(ddof=1)),
            "half_width": float((upper - lower)[has].mean() / 2) if has.any() else None,
            "simulations": simulations,
            "seconds": round(seconds, 4),
        }
    return result


def cells(metrics: list[str], counts: list[int], dimensions: list[int]) -> Iterator[tuple[str, str, int, int]]:
    """Small sets first, so that a table of all metrics is there early."""
    for n in sorted(counts):
        for size in dimensions:
            for metric in metrics:
                if metric in OF_SCORES and size != dimensions[0]:
                    continue
                for law in LAWS:
                    yield metric, law, n, size


def table(document: dict[str, Any]) -> str:
    """Markdown: a row a value, a column (law, D), the counts one after another."""
    laws = [(law, size) for size in DIMENSIONS for law in LAWS]
    lines = [
        "| value | " + " | ".join(f"{law}, D = {size}" for law, size in laws) + " |",
        "|---" * (1 + len(laws)) + "|",
    ]
    rows: dict[tuple[str, str], dict[tuple[str, int], dict[int, float | None]]] = {}
    for key, values in document.items():
        metric, law, n, size = key.split("/")
        for name, each in values.items():
            rows.setdefault((metric, name), {}).setdefault((law, int(size)), {})[int(n)] = each["coverage"]
    for metric in METRICS:
        for (owner, name), found in rows.items():
            if owner != metric or all(each is None for cell in found.values() for each in cell.values()):
                continue
            shown = [" ".join(_text(found.get(place, {}), n) for n in COUNTS) for place in laws]
            lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _text(cell: dict[int, float | None], n: int) -> str:
    """A coverage as `.95`, a dash where no interval is shown, a dot where nothing was simulated."""
    if n not in cell:
        return "·"
    share = cell[n]
    return "–" if share is None else f"{share:.2f}".removeprefix("0").replace("1.00", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--dimensions", default=",".join(map(str, DIMENSIONS)))
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print the table of the JSON and stop")
    given = parser.parse_args()
    document = json.loads(given.out.read_text()) if given.out.exists() else {}
    if given.table:
        print(table(document))
        return
    numbers = [[int(each) for each in getattr(given, name).split(",")] for name in ("counts", "dimensions")]
    for metric, law, n, size in cells(given.metrics.split(","), *numbers):
        key = f"{metric}/{law}/{n}/{size}"
        simulations = round(given.simulations * (SLOW.get(metric, 1.0) if n >= 1000 else 1.0))
        if min((each["simulations"] for each in document.get(key, {}).values()), default=0) >= simulations:
            continue
        document[key] = coverage(metric, law, n, size, simulations)
        temporary = given.out.with_suffix(".tmp")
        temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        os.replace(temporary, given.out)
        shown = {name: each["coverage"] for name, each in document[key].items()}
        print(key, shown, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
