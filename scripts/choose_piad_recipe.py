"""Chooses the settings of table=piad_fashion_mnist scale=desk: on training images alone.

    python scripts/choose_piad_recipe.py --data DIR --out FOLDER
    genaudit reproduce table=piad_fashion_mnist scale=desk data=DIR $(cat FOLDER/overrides.txt)

Of a class's 5,600 training images nine tenths train PIAD. The held-out tenth gives two numbers: the loss of its
reconstructions, beside those of the class mean and of eight principal components (lower is better), and the AUROC with
which the score tells it from pseudo-anomalies made of itself: turned by 90 degrees, upside down, and with its quarters
rearranged (higher is better). No image of another class is read, no test image either.

The rule was written before anything ran. Classes 0 and 8, means over both:
1. the gradient history (how many updates the weights gamma remember, and how fast they forget): the one with the higher
   AUROC after 1,000 iterations;
2. with it, the number of iterations: the smallest of 1,000, 2,000, 3,000 after which a thousand more lower the held-out
   loss by less than 3 %, else 4,000.

A run that is interrupted resumes. FOLDER/choice.json has every number and the choice.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaudit.atomic import atomic_write
from genaudit.piad import protocols
from genaudit.piad.convergence import convergence
from genaudit.piad.networks import ARCHITECTURES, build
from genaudit.piad.perceptual import efficientnet_lite0
from genaudit.piad.recipe import TrainingRecipe
from genaudit.piad.scoring import anomaly_score
from genaudit.piad.trainer import Trainer
from genaudit.stats.auroc import auroc
from genaudit.training import fit
from genaudit_papers.datasets import fashion_mnist
from genaudit_papers.tuluptceva2019.one_class import resized

WIDTH, CLASSES, LENGTHS, LEAST_GAIN = 0.5, (0, 8), (1000, 2000, 3000, 4000), 0.03
BASE = TrainingRecipe(1, n_weight=20)
HISTORIES = {"200 updates, alpha 0.05": {}, "5 updates, alpha 0.3": {"last": 5, "alpha": 0.3}}
Row = dict[str, Any]


def pseudo_anomalies(images: np.ndarray) -> dict[str, np.ndarray]:
    """Images (N, 1, S, S) that are made of normal ones and are none."""
    half = images.shape[-1] // 2
    a, b, c, d = (images[..., y : y + half, x : x + half] for y in (0, half) for x in (0, half))
    rearranged = np.concatenate([np.concatenate([d, c], -1), np.concatenate([b, a], -1)], -2)
    return {
        "turned": np.rot90(images, axes=(-2, -1)).copy(),
        "upside down": images[..., ::-1, :].copy(),
        "rearranged": rearranged,
    }


def judged(held: np.ndarray, fitted: np.ndarray, recipe: TrainingRecipe, width: float, folder: Path) -> Row:
    """Trains on `fitted` to the recipe's end, from where the folder's checkpoint stands, and judges on `held`."""
    networks, perceptual = build(ARCHITECTURES["mnist"].widened(width), 1, seed=0), efficientnet_lite0()
    trainer = Trainer(networks, fitted, perceptual, recipe, seed=0)
    fit(trainer, folder, record=lambda step: {"loss": float(step.reconstruction)}, log=("loss",), every=10)
    normal = anomaly_score(networks, held, perceptual)
    scores = {kind: anomaly_score(networks, each, perceptual) for kind, each in pseudo_anomalies(held).items()}
    reached = convergence(networks, fitted, held, perceptual, held_out=True)
    aurocs = {kind: auroc(each, normal) for kind, each in scores.items()}
    return {"auroc": float(np.mean(list(aurocs.values()))), "by kind": aurocs, **asdict(reached)}


def history_of(rows: dict[str, list[Row]]) -> str:
    """Rule 1: of histories, each with a row per class, the one with the highest mean AUROC; the first of equal ones."""
    return max(rows, key=lambda name: float(np.mean([row["auroc"] for row in rows[name]])))


def length_of(losses: list[float]) -> int:
    """Rule 2: which of the lengths, by its place, given their held-out losses."""
    for place, (now, later) in enumerate(itertools.pairwise(losses)):
        if later > now * (1 - LEAST_GAIN):
            return place
    return len(losses) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES))
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--width", type=float, default=WIDTH)
    arguments = parser.parse_args()
    parts = [fashion_mnist(split, arguments.data) for split in ("train", "test")]
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    found: dict[str, Row] = {}

    def row(history: str, normal: int, length: int) -> Row:
        name = f"{history}, class {normal}, {length} iterations"
        if name not in found:
            train = np.random.default_rng(0).permutation(protocols.gpnd(labels, normal, seed=0).train)
            held, fitted = (resized(images[part]) for part in np.split(train, [len(train) // 10]))
            recipe = replace(BASE, iterations=length, **HISTORIES[history])  # type: ignore[arg-type]
            folder = arguments.out / f"{list(HISTORIES).index(history)}-class{normal}-{length}"
            kept = folder / "row.json"
            if not kept.exists():
                begin = [folder.with_name(folder.name.replace(str(length), str(each))) for each in arguments.lengths]
                for before in reversed(begin[: arguments.lengths.index(length)]):
                    if (before / "checkpoint.pt").exists() and not (folder / "checkpoint.pt").exists():
                        folder.mkdir(parents=True, exist_ok=True)
                        (folder / "checkpoint.pt").write_bytes((before / "checkpoint.pt").read_bytes())
                        (folder / "log.csv").write_bytes((before / "log.csv").read_bytes())
                done = judged(held, fitted, recipe, arguments.width, folder)
                with atomic_write(kept) as temporary:
                    temporary.write_text(json.dumps(done))
            found[name] = json.loads(kept.read_text())
            one = found[name]
            losses = f"{one['piad']:.4f} (class mean {one['class_mean']:.4f}, PCA-8 {one['components']:.4f})"
            print(f"{name}: held-out loss {losses}, AUROC {one['auroc']:.4f}", flush=True)
        return found[name]

    first = arguments.lengths[0]
    chosen = history_of({each: [row(each, c, first) for c in arguments.classes] for each in HISTORIES})
    losses: list[float] = []
    for length in arguments.lengths:  # no longer than the rule asks for
        losses.append(float(np.mean([row(chosen, c, length)["piad"] for c in arguments.classes])))
        if length_of(losses) < len(losses) - 1:
            break
    recipe = {"iterations": arguments.lengths[length_of(losses)], "n_weight": BASE.n_weight, **HISTORIES[chosen]}
    print(f"chosen: {chosen}, {recipe['iterations']:,} iterations (mean held-out losses {losses})")
    with atomic_write(arguments.out / "choice.json") as temporary:
        temporary.write_text(json.dumps({"rows": found, "losses": losses, "recipe": recipe}, indent=1))
    with atomic_write(arguments.out / "overrides.txt") as temporary:
        temporary.write_text(" ".join(f"++table.desk.recipe.{name}={value}" for name, value in recipe.items()) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
