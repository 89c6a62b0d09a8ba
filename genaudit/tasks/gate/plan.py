"""`genaudit reject --plan`: how many samples the gate needs, before any is drawn."""

from __future__ import annotations

from typing import Any

from genaudit.errors import DONE, UserError
from genaudit.metrics.power import POWERS, SHARES, plan
from genaudit.reports.console import show_files
from genaudit.reports.plan import show, write
from genaudit.stats.bounds import positive_int
from genaudit.tasks.gate.keys import GateKeys
from genaudit.tasks.run.environment import command_line, now
from genaudit.tasks.run.folder import run_folder, saving
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import open_role, source_of
from genaudit.tasks.run.settings import Settings


def main(cfg: Any) -> int:
    """Prints the table; writes plan.csv, plan.html, plan.json and plan.png."""
    keys = GateKeys.of(cfg)
    n_train = _n_train(cfg)
    diversities = None if cfg.diversity is None else _diversities(cfg.diversity)
    cells = len(POWERS) * len(SHARES if diversities is None else diversities)
    with Progress(bool(cfg.progress)).bar("plan", cells) as advance:
        try:
            table = plan(n_train, keys.question, absolute=keys.absolute, diversities=diversities, advance=advance)
        except ValueError as error:
            raise UserError(str(error)) from error
    show(table)
    out = run_folder(cfg, "reject")
    with saving("out", out):
        files = write(table, out, now(), command_line("reject"))
    show_files(files)
    return DONE


def _n_train(cfg: Any) -> int:
    count, train = cfg.n_train, source_of(cfg.train)
    if count is None and train is None:
        raise UserError("--plan needs the number of training images: n_train=50000, or train=T to count them")
    if count is None:
        opened: Any = open_role("train", train, Settings.of(cfg))
        return len(opened)
    return positive_int("n_train", count, error=UserError)


def _diversities(given: Any) -> list[float]:
    listed = [given] if isinstance(given, (int, float)) else list(given)
    if not listed or any(isinstance(share, bool) or not isinstance(share, (int, float)) for share in listed):
        raise UserError(f"diversity={given}: shares of the training set such as [0.1,0.4] are needed")
    return sorted(float(share) for share in listed)
