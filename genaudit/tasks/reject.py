"""`genaudit reject`: the diversity gate for a checkpoint, for a folder of checkpoints, or its plan."""

from __future__ import annotations

import sys
from typing import Any

from genaudit.data import FeatureSet, ImageSet
from genaudit.errors import DONE, REJECTED, UNDECIDED, UserError
from genaudit.metrics.gate import Mode
from genaudit.reports.console import show_files
from genaudit.reports.gate import GateRun, show_run
from genaudit.stats.sequential import Outcome
from genaudit.store.stream import RowStream
from genaudit.tasks.environment import command_line, now, resolved
from genaudit.tasks.gating import Judge, Yardstick
from genaudit.tasks.measuring import measure_roles
from genaudit.tasks.places import saving
from genaudit.tasks.progress import Progress
from genaudit.tasks.ranks import Ranks
from genaudit.tasks.roles import check_n_samples, open_role, source_of
from genaudit.tasks.run_folder import run_folder
from genaudit.tasks.samples import Samples, SetSamples, StreamedSamples, all_lines, lines_of
from genaudit.tasks.settings import Settings

CODES: dict[Outcome, int] = {"accept": DONE, "reject": REJECTED, "undecided": UNDECIDED}
STDIN = "-"


def main(cfg: Any) -> int:
    """The verb; exit code 0 accepted, 3 rejected, 4 undecided."""
    if cfg.plan:
        from genaudit.tasks.planning import main as plan

        return plan(cfg)
    if cfg.n_train is not None or cfg.diversity is not None:
        key = "n_train" if cfg.n_train is not None else "diversity"
        raise UserError(f"{key}={cfg[key]} belongs to `genaudit reject --plan`")
    sources = {role: source_of(cfg[role]) for role in ("generated", "reference", "train")}
    generated = sources["generated"]
    if generated is None:
        raise UserError("generated images are missing: `genaudit reject SAMPLES train=T`, or - for paths on stdin")
    check_n_samples(sources, Settings.of(cfg))
    from genaudit.tasks.checkpoints import find_sets, gate_checkpoints

    yardstick = Yardstick.prepare(cfg, sources)
    if checkpoints := find_sets(generated, pool=cfg.pool):
        return CODES[gate_checkpoints(cfg, yardstick, checkpoints)]
    run = gate_lines(cfg, yardstick) if generated == STDIN else gate_set(cfg, yardstick, generated)
    out = run_folder(cfg, "reject")
    show_run(run)
    with saving("out", out):
        files = run.write(out)
    show_files(files)
    return CODES[run.verdict.decision]


def gate_set(cfg: Any, yardstick: Yardstick, source: Any) -> GateRun:
    """Gates a set of samples: measured whole for a fixed test, until the decision for a sequential one."""
    images = open_role("generated", source, yardstick.settings)
    if not isinstance(images, (ImageSet, FeatureSet)):
        raise UserError("generated: a file with mu and sigma holds no images")
    if isinstance(images, FeatureSet) != (yardstick.measure is None):
        raise UserError("train and generated must both hold images, or both hold features (.npz with `features`)")
    mode: Mode = yardstick.keys.mode or "fixed"
    rows = None
    if mode == "fixed" and isinstance(images, ImageSet):
        images, rows = _measure_whole(yardstick, images)
    judge = yardstick.judge(mode, len(images))
    with yardstick.stream() as stream:
        samples = SetSamples(images, yardstick.order(images.digests), rows=rows, stream=stream)
        judge.draw(samples, whole=mode == "fixed")
    return _run(cfg, judge, samples, finished=True)


def gate_lines(cfg: Any, yardstick: Yardstick) -> GateRun:
    """Gates image files whose paths standard input names, and stops reading as soon as the decision is known."""
    mode: Mode = yardstick.keys.mode or "sequential"
    lines = lines_of(sys.stdin)
    known = yardstick.settings.limits.get("generated")  # of a stream the first ones: there is no set to draw from
    if mode == "fixed" and yardstick.keys.n_max is None:
        listed = all_lines(lines)
        lines, known = iter(listed), min(len(listed), known or len(listed))
        if not listed:
            raise UserError("generated: standard input holds no path of an image")
    judge = yardstick.judge(mode, known)
    with yardstick.stream() as stream:
        if not isinstance(stream, RowStream):
            raise UserError("generated=-: paths of images need train to hold images, not features")
        samples = StreamedSamples(lines, stream, yardstick.settings, "standard input")
        finished = judge.draw(samples, whole=False)
    return _run(cfg, judge, samples, finished=finished)


def _measure_whole(yardstick: Yardstick, images: ImageSet) -> tuple[ImageSet, Any]:
    """All rows at once: the store's own loop decodes ahead and resumes where it was interrupted."""
    measure, settings = yardstick.measure, yardstick.settings
    roles, needed = {"generated": images}, {measure.name: {"generated"}}
    progress = Progress(settings.progress)
    done = measure_roles(roles, {measure.name: measure}, needed, yardstick.store, settings.engine, Ranks(), progress)
    use, added = yardstick.uses[measure.name], done.uses[measure.name]
    use.computed, use.reused = use.computed + added.computed, use.reused + added.reused
    use.seconds += added.seconds
    kept = done.roles["generated"]
    assert isinstance(kept, ImageSet)
    return kept, done.rows[measure.name]["generated"]


def _run(cfg: Any, judge: Judge, samples: Samples, *, finished: bool) -> GateRun:
    return judge.run(samples, finished, now(), command_line("reject"), resolved(cfg))
