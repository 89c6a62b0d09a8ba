"""What the interval of a difference between two runs covers: two generated sets of one law, one reference.

    python scripts/difference_coverage.py [--repeats 200] [--n 200] [--dimensions 8]

Prints, for each value, how often the interval of the difference (`genaudit.verdict.rules`, distances to the ends in
squares) holds the true difference, 0, and its width over the spread of the differences: 3.92 is exact for a normal one.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from genaudit.metrics.frechet import judge as judge_fd
from genaudit.metrics.kernel import judge as judge_kd
from genaudit.metrics.prdc import judge as judge_prdc
from genaudit.reports.values import describe
from genaudit.verdict.rules_arithmetic import margin
from genaudit.verdict.rules_grammar import Name
from genaudit.verdict.rules_names import Span

OURS, THEIRS = Name(("value",)), Name(("baseline",))
JUDGES: dict[str, Callable[..., Any]] = {"fd": judge_fd, "kd": judge_kd, "prdc": judge_prdc}


def values(generated: np.ndarray, reference: np.ndarray, seed: int) -> dict[str, Span]:
    """Every value of the metrics with its interval."""
    found = {}
    for metric, judge in JUDGES.items():
        common = {"confidence": 0.95, "seed": seed}
        taken = {key: each for key, each in common.items() if key in inspect.signature(judge).parameters}
        result = describe(judge(generated=generated, reference=reference, **taken), metric)
        found |= {name: Span(each.value, each.lower, each.upper) for name, each in result.values.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--dimensions", type=int, default=8)
    parser.add_argument("--shift", type=float, default=0.3, help="of the generated law from the reference's")
    arguments = parser.parse_args()
    holds: dict[str, list[bool]] = {}
    differences: dict[str, list[tuple[float, float]]] = {}
    for seed in range(arguments.repeats):
        rng = np.random.default_rng(seed)
        shape = arguments.n, arguments.dimensions
        reference = rng.normal(size=shape)
        first, second = (values(rng.normal(size=shape) + arguments.shift, reference, seed) for _ in range(2))
        for name in first:
            between = margin(OURS, THEIRS, {OURS: first[name], THEIRS: second[name]}.__getitem__)
            if between is None or between.value is None or between.lower is None or between.upper is None:
                continue
            holds.setdefault(name, []).append(between.lower <= 0 <= between.upper)
            differences.setdefault(name, []).append((between.value, between.upper - between.lower))
    print("| value | runs | covers 0 | width over spread |\n|---|---:|---:|---:|")
    for name, each in holds.items():
        spread = np.std([value for value, _ in differences[name]], ddof=1)
        width = np.mean([width for _, width in differences[name]])
        print(f"| `{name}` | {len(each)} | {np.mean(each):.3f} | {width / spread:.2f} |")


if __name__ == "__main__":
    main()
