"""`genaudit compare`: finished runs side by side."""

from __future__ import annotations

from typing import Any

from genaudit.errors import DONE, UserError
from genaudit.tasks.run_folder import run_folder


def main(cfg: Any) -> int:
    """The verb: reads the runs' reports, prints the table, writes comparison.csv, .json and .html."""
    from genaudit.reports.comparison import compare

    runs = [str(run) for run in cfg.runs]
    if len(runs) < 2:
        raise UserError("compare needs at least two runs: genaudit compare runs/evaluate/first runs/evaluate/second")
    comparison = compare(runs)
    comparison.show(comparison.write(run_folder(cfg, "compare")))
    return DONE
