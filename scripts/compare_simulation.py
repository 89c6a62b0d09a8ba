"""How often does `genaudit compare` call two sets of real images different? By random splits of real features.

    python scripts/compare_simulation.py --rows F.npz M.npz --out runs/compare_simulation    # resumable
    python scripts/compare_simulation.py --out runs/compare_simulation --table

Features are projected on their first 32 principal axes. Each split draws two generated sets, a reference and a
training set of N real images each, without overlap, from a file with `features` (N, D) and `labels` (N,). `equal`:
both generated sets are random, so every difference found is false. `half of the classes`: the second holds only images
of the first half of the classes. Both sets are evaluated and compared by the commands themselves, once with their rows
(a test that relabels the generated images) and once without them (standard errors of the intervals). The table says in
how many splits any value was said to differ after the correction for many values, and which values most often.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

METRICS = ("fd", "kd", "prdc", "vendi", "authpct", "irs")
LAWS = ("equal", "half of the classes")
COUNT, SPLITS, DIMENSIONS = 300, 60, 32
ROLES = ("first", "second", "reference", "train")


def split(path: Path, law: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """Rows (count, D) of two generated sets, a reference and a training set."""
    with np.load(path) as file:
        rows, labels = file["features"].astype(np.float32), file["labels"]
    order = np.random.default_rng(seed).permutation(len(rows))
    rows = _projected(path, rows)
    if law != "equal":
        # The second set comes first in the order, from its classes alone.
        classes = np.unique(labels)
        inside = order[np.isin(labels[order], classes[: len(classes) // 2])][:count]
        rest = order[~np.isin(order, inside)]
        order = np.concatenate([rest[:count], inside, rest[count:]])
    parts = np.split(order[: len(ROLES) * count], len(ROLES))
    return {role: rows[part] for role, part in zip(ROLES, parts, strict=True)}


@functools.cache
def _axes(path: Path) -> np.ndarray:
    """The first principal axes of all rows of a file, (D, DIMENSIONS)."""
    with np.load(path) as file:
        rows = file["features"].astype(np.float64)
    axes: np.ndarray = np.linalg.eigh(np.cov(rows, rowvar=False))[1][:, -DIMENSIONS:]
    return axes


def _projected(path: Path, rows: np.ndarray) -> np.ndarray:
    """Rows on the first principal axes, so that a split takes seconds."""
    projected: np.ndarray = (rows - rows.mean(axis=0)) @ _axes(path)
    return projected.astype(np.float32)


def run(*words: str) -> None:
    from genaudit.cli import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = main([*words, "progress=false"])
    if code:
        raise SystemExit(f"genaudit {' '.join(words)} ended with {code}: {said.getvalue()}")


def differences(path: Path, law: str, count: int, seed: int) -> dict[str, dict[str, bool]]:
    """By way of testing and value: is the worse set said to differ from the best?"""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for role, rows in split(path, law, count, seed).items():
            np.savez(folder / f"{role}.npz", features=rows)
        runs = []
        for each in ROLES[:2]:
            runs.append(str(folder / f"run_{each}"))
            roles = [f"{role}={folder / role}.npz" for role in ROLES[2:]]
            metrics = f"metric=[{','.join(METRICS)}]"
            run(
                "evaluate", str(folder / f"{each}.npz"), *roles, metrics, f"out={runs[-1]}", f"store={folder / 'store'}"
            )
        for way in ("rows", "intervals"):
            out = folder / way
            if way == "intervals":
                for each in ROLES[:2]:
                    (folder / f"{each}.npz").unlink()
            run("compare", *runs, f"out={out}", f"store={folder / 'store'}")
            document = json.loads((out / "comparison.json").read_text())
            found[way] = dict(_decided(document))
    return found


def _decided(document: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for row in document["rows"]:
        said = [cell["differs_from_best"] for cell in row["cells"] if cell is not None]
        if any(each is not None for each in said):
            yield row["name"], any(said)


def table(out: Path) -> str:
    """Markdown: a row for each file and law, with the share of splits in which any value is said to differ."""
    cells: dict[tuple[str, str, str], list[dict[str, bool]]] = {}
    for path in sorted(out.glob("*.json")):
        document = json.loads(path.read_text())
        for way, said in document["differs"].items():
            cells.setdefault((document["rows"], document["law"], way), []).append(said)
    lines = [
        "| images | second set | test by | splits | any value differs | values that differ most often |",
        "|---" * 6 + "|",
    ]
    for (rows, law, way), found in cells.items():
        names = sorted({name for each in found for name in each})
        shares = {name: float(np.mean([each[name] for each in found if name in each])) for name in names}
        highest = sorted(names, key=lambda name: -shares[name])[:3]
        told = ", ".join(f"{name} {shares[name]:.2f}" for name in highest)
        any_of = float(np.mean([any(each.values()) for each in found]))
        lines.append(f"| {rows} | {law} | {way} | {len(found)} | {any_of:.3f} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--power-splits", type=int, default=10)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        print(table(given.out))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in range(given.splits):
        for law in LAWS if seed < given.power_splits else LAWS[:1]:
            for path in given.rows:
                target = given.out / f"{path.stem}_{law.replace(' ', '_')}_{given.count}_{seed}.json"
                if target.exists():
                    continue
                found = differences(path, law, given.count, seed)
                text = json.dumps({"rows": path.stem, "law": law, "seed": seed, "differs": found})
                target.with_suffix(".tmp").write_text(text)
                os.replace(target.with_suffix(".tmp"), target)
                print(
                    target.stem,
                    {way: [k for k, v in said.items() if v] for way, said in found.items()},
                    file=sys.stderr,
                    flush=True,
                )


if __name__ == "__main__":
    main()
