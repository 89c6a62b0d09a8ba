"""How often the verdict calls real images worse, and bad sets what they are: the table of docs/verdict.md.

    python scripts/verdict_simulation.py --rows F.npz --other G.npz --out runs/verdict_simulation   # resumable
    python scripts/verdict_simulation.py --out runs/verdict_simulation --table

`F.npz` holds `features` (N, D) and `labels` (N,) of one dataset's real images, `G.npz` features of another one's. A run
splits F at random into generated, reference and train of n images each and judges it as `genaudit evaluate` does, with
and without train=. Real sets are judged as they are; bad ones are made of the generated part:

- one_class: images of one class only; modes: n draws of 20 images with noise of 5 % of the features' spread;
- half_modes: images of half of the classes; copies: images of train with the same noise; some_copies: a tenth of these;
- noisy: features with noise of their own spread; shrunk: features half way to the mean, as blur does;
- gaussian: draws of one Gaussian with the features' mean and covariance; other: images of the other dataset.

--dimensions reduces the features to so many principal components of all of F first (0: none): runs of 64 dimensions are
ten times as fast and ask the same of the rule. D features, n images.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from genaudit.metrics import authpct, ct, frechet, irs, kernel, prdc, train_distance
from genaudit.reports.values import describe
from genaudit.tasks.run.judging import MetricSpec, values_of
from genaudit.verdict.answers import verdict
from genaudit.verdict.real_floor import pairing, real_floor

METRICS = {
    **{"irs": irs, "fd": frechet, "kd": kernel, "prdc": prdc},
    **{"authpct": authpct, "ct": ct, "train_distance": train_distance},
}
BAD = ("one_class", "modes", "half_modes", "copies", "some_copies", "noisy", "shrunk", "gaussian", "other")
QUESTIONS = ("quality", "diversity", "memorised")
COUNTS = (200, 400, 1000)


def load(path: Path, dimensions: int, basis: tuple[np.ndarray, np.ndarray] | None = None):
    """Features (N, D), labels (N,), and the mean and components (D, d) that they were projected on."""
    with np.load(path) as file:
        rows, labels = file["features"].astype(np.float64), file["labels"]
    if dimensions == 0:
        return rows.astype(np.float32), labels, None
    if basis is None:
        centre = rows.mean(0)
        _, vectors = np.linalg.eigh(np.cov((rows - centre).T))
        basis = centre, vectors[:, ::-1][:, :dimensions]
    return ((rows - basis[0]) @ basis[1]).astype(np.float32), labels, basis


def split(rows: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places of generated, reference and train, and those left over."""
    order = rng.permutation(len(rows))
    return order[:n], order[n : 2 * n], order[2 * n : 3 * n], order[3 * n :]


def spoiled(
    kind: str, rows: np.ndarray, labels: np.ndarray, other: np.ndarray, n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The rows of the three roles; the generated ones as `kind` says."""
    made, reference, train, rest = split(rows, n, rng)
    sets = {"generated": rows[made], "reference": rows[reference], "train": rows[train]}
    spread = rows.std(0)
    noise = lambda share: share * spread * rng.normal(size=(n, rows.shape[1]))  # noqa: E731
    spare = np.concatenate([made, rest])
    classes = np.unique(labels)
    if kind == "one_class":
        inside = spare[labels[spare] == rng.choice(classes)]
        sets["generated"] = rows[rng.choice(inside, n, replace=len(inside) < n)]
    elif kind == "half_modes":
        kept = rng.choice(classes, len(classes) // 2, replace=False)
        inside = spare[np.isin(labels[spare], kept)]
        sets["generated"] = rows[rng.choice(inside, n, replace=len(inside) < n)]
    elif kind == "modes":
        sets["generated"] = rows[rng.choice(rng.choice(spare, 20, replace=False), n)] + noise(0.05)
    elif kind == "copies":
        sets["generated"] = rows[rng.choice(train, n)] + noise(0.05)
    elif kind == "some_copies":
        some = n // 10
        sets["generated"] = np.concatenate([rows[made[some:]], rows[rng.choice(train, some)] + noise(0.05)[:some]])
    elif kind == "noisy":
        sets["generated"] = rows[made] + noise(1.0)
    elif kind == "shrunk":
        sets["generated"] = (rows[made] + rows.mean(0)) / 2
    elif kind == "gaussian":
        sets["generated"] = rng.multivariate_normal(rows.mean(0), np.cov(rows.T), n, method="cholesky")
    elif kind == "other":
        sets["generated"] = other[rng.choice(len(other), n, replace=False)]
    return {role: each.astype(np.float32) for role, each in sets.items()}


def answers(sets: dict[str, np.ndarray], *, train: bool, seed: int = 0) -> dict[str, str]:
    """The verdict's answers on one triple of sets: those of `genaudit.evaluate`, without what only intervals need."""
    given = sets if train else {role: each for role, each in sets.items() if role != "train"}
    images = {role: {"count": len(each)} for role, each in given.items()}
    entries = {}
    for name, module in METRICS.items():
        spec = MetricSpec(name, module.judge, {}, True, "", real="none" if name == "train_distance" else "auto")
        takes = spec.role_parameters
        if any(needed and role not in given for role, needed in takes.items()):
            continue
        rest = {role: each for role, each in given.items() if role in takes and role != "generated"}
        entry = {"n": {role: len(given[role]) for role in takes if role in given}, "p_value": None, "details": {}}
        if name == "train_distance":  # its vote is its own p-value
            found = describe(module.judge(generated=given["generated"], **rest), name)
            values = {key: each.value for key, each in found.values.items()}
            entry |= {"p_value": found.p_value, "details": found.details}
            floors = {}
        else:
            prepared = values_of(name, module.judge, {}, confidence=0.95, seed=seed)
            values = prepared(**rest)(given["generated"])
            pair = pairing(takes, given.keys(), spec.real)
            floors = real_floor(prepared, given, pair, np.arange(len(given[pair.plays])), seed=seed)
        entry["values"] = {
            key: {"value": each, "real": vars(floors[key]) if key in floors else None} for key, each in values.items()
        }
        entries[name] = entry
    found = verdict({"images": images, "metrics": entries, "warnings": [], "findings": []})
    return {question: answer.answer for question, answer in found.answers.items()}


def run(rows, labels, other, kind: str, n: int, seed: int, *, train: bool) -> dict[str, str]:
    rng = np.random.default_rng([seed, n, (*BAD, "real").index(kind)])
    return answers(spoiled(kind, rows, labels, other, n, rng), train=train, seed=seed)


def table(out: Path) -> str:
    """Markdown: shares of the answers by kind of set, number and question."""
    found: dict[tuple[str, str, int, bool], Counter] = {}
    for file in sorted(out.glob("*.json")):
        done = json.loads(file.read_text())
        for question, answer in done["answers"].items():
            key = done["kind"], question, done["n"], done["train"]
            found.setdefault(key, Counter())[answer] += 1
    lines = ["| set | images | train | runs | " + " | ".join(QUESTIONS) + " |", "|---|---|---|---|---|---|---|"]
    for kind, n, train in sorted({(k, n, t) for k, _, n, t in found}, key=lambda each: (each[0] != "real", each)):
        cells = []
        for question in QUESTIONS:
            counts = found.get((kind, question, n, train), Counter())
            total = max(sum(counts.values()), 1)
            cells.append(", ".join(f"{answer} {count / total:.0%}" for answer, count in counts.most_common()))
        lines.append(f"| {kind} | {n} | {'yes' if train else 'no'} | {total} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--runs", type=int, default=200, help="of real images at the first number of images")
    parser.add_argument("--bad-runs", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.table:
        rows, labels, basis = load(args.rows, args.dimensions)
        other, _, _ = load(args.other, args.dimensions, basis)
        cells = [(seed, n, "real", train) for seed in range(args.runs) for n in args.counts for train in (True, False)]
        cells = [
            (seed, 400, kind, train) for seed in range(args.bad_runs) for kind in BAD for train in (True, False)
        ] + cells
        for seed, n, kind, train in cells:
            file = args.out / f"{args.rows.stem}_{args.dimensions}_{kind}_{n}_{int(train)}_{seed}.json"
            if file.exists():
                continue
            found = run(rows, labels, other, kind, n, seed, train=train)
            file.write_text(json.dumps({"kind": kind, "n": n, "train": train, "answers": found}))
    print(table(args.out))


if __name__ == "__main__":
    main()
