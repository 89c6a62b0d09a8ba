"""Folders of checkpoints: a pattern whose matches are sets of samples, one decision each."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any

from genaudit.data.array_files import ARRAY_EXTENSIONS
from genaudit.reports.console import show_files
from genaudit.reports.gate import WORDS, GateRun, show_run
from genaudit.reports.trajectory import Trajectory
from genaudit.stats.sequential import Outcome
from genaudit.tasks.environment import command_line, now
from genaudit.tasks.gating import Yardstick
from genaudit.tasks.places import saving
from genaudit.tasks.run_folder import run_folder

ARCHIVES = {".zip", ".tar", *ARRAY_EXTENSIONS}


def find_checkpoints(source: Any) -> list[str]:
    """The folders and archives that a glob pattern matches, in the natural order of their numbers; else none."""
    if not isinstance(source, str) or not glob.has_magic(source) or Path(source).expanduser().exists():
        return []
    matches = glob.glob(str(Path(source).expanduser()))
    found = [match for match in matches if Path(match).is_dir() or Path(match).suffix.lower() in ARCHIVES]
    return sorted(found, key=natural)


def natural(path: str) -> list[tuple[int, int, str]]:
    """A key under which step_9 comes before step_10."""
    parts = re.split(r"(\d+)", path)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def gate_checkpoints(cfg: Any, yardstick: Yardstick, checkpoints: list[str]) -> Outcome:
    """Decides for each, prints and writes the trajectory; the outcome is the last checkpoint's.

    Each checkpoint's decision.json and .html lie in a folder of its name; the last one's stand beside the trajectory.
    """
    from genaudit.tasks.reject import gate_set

    out = run_folder(cfg, "reject")
    runs: list[tuple[str, GateRun]] = []
    labels = _labels(checkpoints)
    for label, checkpoint in zip(labels, checkpoints, strict=True):
        run = gate_set(cfg, yardstick, checkpoint)
        runs.append((label, run))
        verdict = run.verdict
        estimate = f"IRS_inf {verdict.irs_inf.value:.3f} [{verdict.irs_inf.lower:.3f}, {verdict.irs_inf.upper:.3f}]"
        print(f"{label}: {WORDS[verdict.decision].lower()}, {estimate}, {verdict.n_sampled:,} samples", flush=True)
        with saving("out", out):
            run.write(out / label)
    trajectory = Trajectory(runs, now(), command_line("reject"))
    last = runs[-1][1]
    trajectory.show()
    show_run(last)
    with saving("out", out):
        files = {**trajectory.write(out), **last.write(out)}
    show_files(files)
    return last.verdict.decision


def _labels(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that differ, as names of folders."""
    parts = [Path(path).parts for path in paths]
    depth = 1
    while len({each[-depth:] for each in parts}) < len(parts):
        depth += 1
    return ["_".join(each[-depth:]) for each in parts]
