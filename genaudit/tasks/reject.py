"""`genaudit reject`: the diversity gate for a checkpoint, for a folder of checkpoints, or its plan."""

from __future__ import annotations

from typing import Any

from genaudit.errors import DONE, REJECTED, UNDECIDED, UserError
from genaudit.output import told
from genaudit.reports.console import show_files
from genaudit.reports.gate import show_run
from genaudit.stats.sequential import Outcome
from genaudit.tasks.gate.checkpoints import find_sets, gate_checkpoints
from genaudit.tasks.gate.one_set import gate_lines, gate_set
from genaudit.tasks.gate.yardstick import Yardstick
from genaudit.tasks.run.folder import run_folder, saving
from genaudit.tasks.run.roles import check_n_samples, source_of
from genaudit.tasks.run.settings import Settings

CODES: dict[Outcome, int] = {"accept": DONE, "reject": REJECTED, "undecided": UNDECIDED}
STDIN = "-"


def main(cfg: Any) -> int:
    """The verb; exit code 0 accepted, 3 rejected, 4 undecided."""
    if cfg.plan:
        from genaudit.tasks.gate.plan import main as plan

        return plan(cfg)
    if cfg.n_train is not None or cfg.diversity is not None:
        key = "n_train" if cfg.n_train is not None else "diversity"
        raise UserError(f"{key}={cfg[key]} belongs to `genaudit reject --plan`")
    sources = {role: source_of(cfg[role]) for role in ("generated", "reference", "train")}
    generated = sources["generated"]
    if generated is None:
        raise UserError("generated images are missing: `genaudit reject SAMPLES train=T`, or - for paths on stdin")
    check_n_samples(sources, Settings.of(cfg))

    yardstick = Yardstick.prepare(cfg, sources)
    if checkpoints := find_sets(generated, pool=cfg.pool):
        decision = gate_checkpoints(cfg, yardstick, checkpoints)
        file = str(run_folder(cfg, "reject") / "trajectory.json")
        told.result(decision=decision, file=file, exit_code=CODES[decision])
        return CODES[decision]
    run = gate_lines(cfg, yardstick) if generated == STDIN else gate_set(cfg, yardstick, generated)
    out = run_folder(cfg, "reject")
    show_run(run)
    with saving("out", out):
        files = run.write(out)
    show_files(files)
    told.result(decision=run.verdict.decision, file=str(out / "decision.json"), exit_code=CODES[run.verdict.decision])
    return CODES[run.verdict.decision]
