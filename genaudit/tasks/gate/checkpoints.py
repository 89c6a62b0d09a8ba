"""Folders of checkpoints: a pattern whose matches are sets of samples, one decision each."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

from genaudit.data.array_files import ARRAY_EXTENSIONS
from genaudit.data.folder import home, matches_of
from genaudit.data.formats import EXTENSIONS
from genaudit.data.sources import TARS
from genaudit.errors import UserError, one_line
from genaudit.reports.console import show_files
from genaudit.reports.gate import WORDS, GateRun, show_run
from genaudit.reports.trajectory import Trajectory
from genaudit.stats.sequential import Outcome
from genaudit.tasks.gate.one_set import gate_set
from genaudit.tasks.gate.yardstick import Yardstick
from genaudit.tasks.run.environment import command_line, now
from genaudit.tasks.run.finished import natural
from genaudit.tasks.run.folder import run_folder, saving
from genaudit.tasks.run.progress import Progress

ARCHIVES = (".zip", *TARS, *ARRAY_EXTENSIONS)


def find_sets(source: Any, *, pool: Any = None, shards: bool = False) -> list[str]:
    """The sets of images that a glob pattern matches, folders and archives, in the natural order of their numbers.

    None where the source is one set: no pattern, a pattern of image files or with `**`, or `pool` is true.

    Args:
        pool: true: all matches are one set; false: each match is a set.
        shards: where nothing but tars match, and `pool` is None, they are the shards of one set.

    Raises:
        UserError: `pool` is no truth value, or image files match beside folders, which belong to no set.
    """
    if pool not in (None, True, False):
        raise UserError(f"pool={pool}: true, false or null is needed")
    if pool or not isinstance(source, (str, os.PathLike)):
        return []
    text = os.fspath(source)
    if not glob.has_magic(text) or "**" in text or home(text).exists():
        return []
    matches = matches_of(os.path.expanduser(text))
    sets = [match for match in matches if os.path.isdir(match) or match.lower().endswith(ARCHIVES)]
    files = [match for match in matches if match not in sets and Path(match).suffix.lower() in EXTENSIONS]
    if sets and files:
        raise UserError(
            f"{text} matches {len(sets)} folders or archives, which are a set of images each, and {len(files)} image "
            f"files: pool=true judges all as one set; a pattern that ends with / matches folders only"
        )
    if shards and pool is None and all(match.lower().endswith(TARS) for match in sets):
        return []
    return sorted(sets, key=natural)


def gate_checkpoints(cfg: Any, yardstick: Yardstick, checkpoints: list[str]) -> Outcome:
    """Decides for each, prints the last one's decision and writes the trajectory; the outcome is the last one's.

    Each checkpoint's decision.json and .html lie in a folder of its name; the last one's stand beside the trajectory.
    """
    out = run_folder(cfg, "reject")
    runs: list[tuple[str, GateRun]] = []
    labels = labels_of(checkpoints)
    progress = Progress(yardstick.settings.progress)
    for label, checkpoint in zip(labels, checkpoints, strict=True):
        run = gate_set(cfg, yardstick, checkpoint)
        runs.append((label, run))
        verdict = run.verdict
        seen = f"{verdict.n_learned:,} training images from {verdict.n_sampled:,} samples"
        progress.note(f"{one_line(label)}: {WORDS[verdict.decision].lower()}, {seen}")
        with saving("out", out):
            run.write(out / label)
    trajectory = Trajectory(runs, now(), command_line("reject"))
    last = runs[-1][1]
    show_run(last)
    trajectory.show()
    with saving("out", out):
        files = {**trajectory.write(out), **last.write(out)}
    show_files(files)
    return last.verdict.decision


def labels_of(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that differ, as names of folders."""
    parts = [Path(path).parts for path in paths]
    depth = 1
    while len({each[-depth:] for each in parts}) < len(parts):
        depth += 1
    return ["_".join(each[-depth:]) for each in parts]
