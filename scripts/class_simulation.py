"""How often `by=class` calls a good class worse, and finds a bad one; and which distance a class's images allow.

    python scripts/class_simulation.py --rows F.npz --out runs/class_simulation.json --repeats 40

`F.npz` holds `features` (N, D) and `labels` (N,) of real images. Two tables (docs/classes.md):

1. Distances of two disjoint random sets of n images of one class, and of n images of one class and n of another: what
   a Fréchet distance of n images is made of, and what the kernel distance is.
2. Runs on disjoint random parts, n images a class and role, with train=, judged as `by=class` does: floors of every
   class and the verdicts of all (`genaudit.verdict.by_class`). In a good run all classes are real images; in a bad one
   the first class has a fault: half of its images are of another class (mixed), few images and copies of them with
   noise (modes), training images with noise (copies).

--dimensions reduces the features to so many principal components (0: none). D features, n images.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from genaudit.metrics import authpct, irs, kernel, prdc
from genaudit.metrics.frechet import frechet_distance
from genaudit.tasks.run.judging import MetricSpec, values_of
from genaudit.verdict.by_class import class_verdicts
from genaudit.verdict.real_floor import pairing, real_floor

COUNTS = (25, 50, 100, 200)
FAULTS = ("none", "mixed", "modes", "copies")
METRICS = {"kd": kernel, "prdc": prdc, "irs": irs, "authpct": authpct}
WORSE = ("worse", "much_worse", "some", "yes")


def load(path: Path, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as file:
        rows, labels = file["features"].astype(np.float64), file["labels"].astype(str)
    if dimensions:
        centred = rows - rows.mean(0)
        rows = centred @ np.linalg.eigh(np.cov(centred.T))[1][:, ::-1][:, :dimensions]
    return rows.astype(np.float32), labels


def distances(rows: np.ndarray, labels: np.ndarray, repeats: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """Fréchet and kernel distances within a class and between two, by n."""
    names, table = np.unique(labels), []
    for n in COUNTS:
        found: dict[str, list[float]] = {key: [] for key in ("fd_same", "fd_other", "kd_same", "kd_other", "holds")}
        for _ in range(repeats):
            one, other = rng.choice(names, 2, replace=False)
            same = rng.permutation(np.flatnonzero(labels == one))
            a, b = rows[same[:n]], rows[same[n : 2 * n]]
            c = rows[rng.permutation(np.flatnonzero(labels == other))[:n]]
            found["fd_same"].append(frechet_distance(a, b))
            found["fd_other"].append(frechet_distance(a, c))
            found["kd_other"].append(kernel.kernel_distance(a, c))
            inside = kernel.judge(generated=a, reference=b).kd
            found["kd_same"].append(float(inside))
            found["holds"].append(float(inside.holds(0.0)))
        table.append({"n": n, **{key: float(np.mean(values)) for key, values in found.items()},
                      "kd_sd": float(np.std(found["kd_same"]))})  # fmt: skip
    return table


def parts(labels: np.ndarray, n: int, roles: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Places of `roles` disjoint sets with n images of each class."""
    chosen: list[list[np.ndarray]] = [[] for _ in range(roles)]
    for name in np.unique(labels):
        order = rng.permutation(np.flatnonzero(labels == name))
        for role in range(roles):
            chosen[role].append(order[role * n : (role + 1) * n])
    return [np.concatenate(each) for each in chosen]


def faulty(rows: np.ndarray, first: np.ndarray, other: np.ndarray, train: np.ndarray, fault: str,
           rng: np.random.Generator) -> np.ndarray:  # fmt: skip
    """The first class's generated rows (n, D) with a fault."""
    n, noise = len(first), 0.05 * rows.std(0)
    if fault == "mixed":
        return np.concatenate([first[: n // 2], other[: n - n // 2]])
    source = {"modes": first[: max(n // 20, 2)], "copies": train}.get(fault)
    if source is None:
        return first
    chosen = source[rng.integers(0, len(source), n)] if fault == "modes" else source[:n]
    return (chosen + noise * rng.normal(size=chosen.shape)).astype(np.float32)


def entries(data: dict[str, np.ndarray], seed: int) -> dict[str, dict]:
    """The metrics of a class as report.json has them, values and floors alone."""
    found = {}
    for name, module in METRICS.items():
        spec = MetricSpec(name, module.judge, {"": ""}, True, "")
        pair = pairing(spec.role_parameters, data.keys(), "auto")
        values = values_of(name, module.judge, {"support": False}, confidence=0.95, seed=seed)
        floors = real_floor(values, data, pair, np.arange(len(data[pair.plays])), seed=seed)
        others = {role: rows for role, rows in data.items() if role != "generated" and role in spec.role_parameters}
        ours = values(**others)(data["generated"])
        judged = {key: {"value": ours[key], "real": dataclasses.asdict(floor)} for key, floor in floors.items()}
        found[name] = {"values": judged, "n": {}, "details": {}, "p_value": None}
    return found


def run(rows: np.ndarray, labels: np.ndarray, n: int, fault: str, seed: int) -> dict[str, list[str]]:
    """The classes called worse, by question."""
    rng = np.random.default_rng(seed)
    names, chosen = np.unique(labels), parts(labels, n, 3, rng)
    roles = dict(zip(("generated", "reference", "train"), (rows[places].copy() for places in chosen), strict=True))
    made, train = roles["generated"], roles["train"]
    made[:n] = faulty(rows, made[:n], made[n : 2 * n], train[:n], fault, rng)
    documents = []
    for place in range(len(names)):
        data = {role: each[place * n : (place + 1) * n] for role, each in roles.items()}
        images = {role: {"count": n, "in_train": 0} for role in data}
        documents.append({"images": images, "metrics": entries(data, seed), "warnings": [], "findings": []})
    answers = [each.answers for each, _ in class_verdicts(documents)]
    return {
        question: [name for name, each in zip(names, answers, strict=True) if each[question].answer in WORSE]
        for question in ("quality", "diversity", "memorised")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--no-distances", action="store_true", help="only the second table")
    arguments = parser.parse_args()
    rows, labels = load(arguments.rows, arguments.dimensions)
    names, whole = np.unique(labels), load(arguments.rows, 0)[0]
    result: dict[str, object] = {}
    if not arguments.no_distances:
        result["distances"] = distances(whole, labels, arguments.repeats, np.random.default_rng(0))
    for n in arguments.counts:
        for fault in arguments.faults:
            runs = [run(rows, labels, n, fault, seed) for seed in range(arguments.repeats)]
            bad = names[0]
            summary = {
                question: {
                    "found": sum(bad in each[question] for each in runs),
                    "false_alarms": sum(
                        any(name != bad or fault == "none" for name in each[question]) for each in runs
                    ),
                }
                for question in runs[0]
            }
            result[f"{n} {fault}"] = {"runs": len(runs), **summary}
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=1))
            print(n, fault, summary, flush=True)


if __name__ == "__main__":
    main()
