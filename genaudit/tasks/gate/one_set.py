"""One set of samples through the gate: a set that is there, or paths that are streamed."""

from __future__ import annotations

import sys
from typing import Any

from genaudit.data import FeatureSet, ImageSet
from genaudit.errors import UserError
from genaudit.metrics.gate import Mode
from genaudit.reports.gate import GateRun
from genaudit.store.stream import RowStream
from genaudit.tasks.gate.judge import Judge
from genaudit.tasks.gate.result import gate_run
from genaudit.tasks.gate.samples import Samples, SetSamples, StreamedSamples, all_lines, lines_of
from genaudit.tasks.gate.yardstick import Yardstick
from genaudit.tasks.run.environment import Ranks, command_line, now, resolved
from genaudit.tasks.run.measuring import measure_roles
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import open_role


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
    judge = Judge.of(yardstick, mode, len(images))
    with yardstick.stream() as stream:
        samples = SetSamples(images, yardstick.order(images.digests), rows=rows, stream=stream)
        judge.draw(samples, whole=mode == "fixed")
    return _run(cfg, judge, samples, finished=True)


def gate_lines(cfg: Any, yardstick: Yardstick) -> GateRun:
    """Gates image files whose paths standard input names, and stops reading as soon as the decision is known."""
    mode: Mode = yardstick.keys.mode or "sequential"
    lines = lines_of(sys.stdin)
    count = yardstick.settings.limits.get("generated")  # of a stream the first ones: there is no set to draw from
    if mode == "fixed" and yardstick.keys.n_max is None:
        listed = all_lines(lines)
        lines, count = iter(listed), min(len(listed), count or len(listed))
        if not listed:
            raise UserError("generated: standard input holds no path of an image")
    judge = Judge.of(yardstick, mode, count)
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
    return gate_run(judge, samples, finished, now(), command_line("reject"), resolved(cfg))
