"""How each metric of features depends on the number of images: the figures of the site's metric pages.

    python scripts/bias_by_n.py                          # docs/bias_by_n.json and docs/figures/bias_*.svg; resumes
    python scripts/bias_by_n.py --metrics fd,kd --simulations 40
    python scripts/bias_by_n.py --draw                   # the figures of what is in the JSON

Generated, reference and training images are drawn from one law, a mixture of eight Gaussians (that of
`scripts/interval_coverage.py`), N of each. An unbiased metric is flat in N; what is not flat is bias. One process and
one thread; a cell that has enough simulations is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from interval_coverage import draw

ROOT = Path(__file__).resolve().parent.parent
OUT, FIGURES = ROOT / "docs" / "bias_by_n.json", ROOT / "docs" / "figures"
COUNTS, DIMENSIONS = (50, 100, 200, 400, 800), (16, 128)
METRICS = (
    *("fd", "fd_infinity", "kd", "cmmd", "swd", "mind", "prdc", "cdc", "realism", "rarity", "vendi", "fkea"),
    *("irs", "authpct", "ct", "mifid", "fld"),
)
SLOW = {"fld": 400}  # the largest N


def judged(metric: str, rows: dict[str, np.ndarray], seed: int) -> dict[str, float]:
    """The values of a metric on rows of all roles; none where it says that there are too few images."""
    import inspect

    from omegaconf import OmegaConf

    from genaudit.metrics.result import Unavailable
    from genaudit.reports.values import describe
    from genaudit.tasks.run.judging import make_spec

    node = OmegaConf.load(ROOT / "configs" / "metric" / f"{metric}.yaml")[metric]
    fn = make_spec(metric, node, {}, False).fn
    taken = inspect.signature(fn).parameters
    arguments: dict[str, Any] = {role: each for role, each in rows.items() if role in taken}
    arguments |= {"seed": seed} if "seed" in taken else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fn(**arguments)
    except (Unavailable, ValueError):
        return {}
    return {name: each.value for name, each in describe(result, metric).values.items()}


def simulate(metric: str, count: int, dimensions: int, simulations: int) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for seed in range(simulations):
        for name, value in judged(metric, draw("equal", count, dimensions, seed), seed).items():
            values.setdefault(name, []).append(round(float(value), 6))
    return values


def figure(metric: str, cells: dict[str, Any]) -> None:
    """One picture a metric: a panel a value, a line a dimension."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for cell in cells.values() for name in cell["values"]))
    with rc_context({"svg.hashsalt": metric, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        drawn = Figure(figsize=(3.1 * len(names), 2.6), layout="constrained")
        panels = drawn.subplots(1, len(names), squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            for colour, dimensions in zip(("#3b5bdb", "#e8590c"), DIMENSIONS, strict=True):
                there = [
                    (count, np.asarray(cells[key]["values"][name], float))
                    for count in COUNTS
                    if (key := f"{metric}/{count}/{dimensions}") in cells and name in cells[key]["values"]
                ]
                if there:
                    at = [count for count, _ in there]
                    panel.plot(
                        at,
                        [each.mean() for _, each in there],
                        color=colour,
                        label=f"D = {dimensions}",
                        marker="o",
                        ms=3,
                    )
                    ends = np.array([np.quantile(each, (0.05, 0.95)) for _, each in there]).T
                    panel.fill_between(at, *ends, color=colour, alpha=0.15, linewidth=0)
            panel.set(
                title=name, xlabel="images of each set", xscale="log", xticks=COUNTS, xticklabels=map(str, COUNTS)
            )
            panel.minorticks_off()
        panels[0].legend(frameon=False)
        FIGURES.mkdir(exist_ok=True)
        drawn.savefig(FIGURES / f"bias_{metric}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--simulations", type=int, default=20)
    parser.add_argument("--draw", action="store_true")
    arguments = parser.parse_args()
    cells: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    metrics = arguments.metrics.split(",")
    for metric in [] if arguments.draw else metrics:
        for dimensions in DIMENSIONS:
            for count in COUNTS:
                key = f"{metric}/{count}/{dimensions}"
                if (
                    count > SLOW.get(metric, max(COUNTS))
                    or cells.get(key, {}).get("simulations", 0) >= arguments.simulations
                ):
                    continue
                values = simulate(metric, count, dimensions, arguments.simulations)
                cells[key] = {"simulations": arguments.simulations, "values": values}
                OUT.write_text(json.dumps(cells, sort_keys=True, indent=None, separators=(",", ":")) + "\n")
                print(key, {name: round(float(np.mean(each)), 4) for name, each in values.items()}, flush=True)
    for metric in metrics:
        figure(metric, {key: cell for key, cell in cells.items() if key.startswith(f"{metric}/")})


if __name__ == "__main__":
    main()
