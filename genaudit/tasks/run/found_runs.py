"""The runs that `genaudit compare` is given: run folders, folders of runs, a sweep's folder, patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from genaudit.errors import UserError

REPORT = "report.json"
SWEEP = "multirun.yaml"  # Hydra's, in the folder of a sweep
# What else stands beside the runs in a folder of them, which a shell's pattern names too.
BESIDE = frozenset(
    {
        "comparison.csv",
        "comparison.json",
        "comparison.html",
        "correlations.csv",
        "differences.csv",
        "runs.csv",
        "log.txt",
    }
)


def find_runs(paths: Sequence[str], baseline: str | None = None) -> list[str]:
    """The runs, in the order given; those of a folder in the natural order of their names, each once.

    Args:
        baseline: a run's folder, which is one of them too, or a label.

    Raises:
        UserError: fewer than two.
    """
    given = [path for each in paths for path in _matches(each)]
    if len(given) > 1:
        given = [path for path in given if Path(path).name not in BESIDE]
    found: list[str] = []
    for path in given:
        folder = Path(path).parent if Path(path).name == SWEEP else Path(path)
        if (folder / REPORT).exists() or not folder.is_dir():
            found.append(path)
            continue
        below = _below(folder)
        if not below and Path(path).name != SWEEP:
            raise UserError(
                f"{path} holds no {REPORT}, nor does a folder in it; genaudit evaluate writes it into a run's"
            )
        known = {Path(each).absolute() for each in found}
        found += [each for each in below if Path(each).absolute() not in known]
    if baseline is not None and (Path(baseline).expanduser() / REPORT).exists():
        place = Path(baseline).expanduser()
        if place.absolute() not in {Path(each).absolute() for each in found}:
            found.append(str(place))
    if len(found) < 2:
        one = f"; {', '.join(paths)} is one: {found[0]}" if found else ""
        raise UserError(
            f"compare needs at least two runs: genaudit compare runs/evaluate/first runs/evaluate/second, or a folder "
            f"of runs{one}"
        )
    return found


def natural(path: str) -> list[tuple[int, int, str]]:
    """A key under which step_9 comes before step_10."""
    parts = re.split(r"(\d+)", path)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def _matches(path: str) -> list[str]:
    path = os.path.expanduser(path)
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    return sorted(glob.glob(path), key=natural) or [path]


def _below(folder: Path) -> list[str]:
    """The folders below that hold a report; one that does is not looked into."""
    found = []
    for place, folders, files in os.walk(folder):
        if REPORT in files:
            found.append(place)
            folders.clear()
    return sorted(found, key=natural)
