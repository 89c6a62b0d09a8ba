"""`genaudit compare`: finished runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.errors import DONE, UserError
from genaudit.tasks.run_folder import run_folder

if TYPE_CHECKING:
    from genaudit.reports.comparison import Comparison


def main(cfg: Any) -> int:
    """The verb: reads the runs' reports, prints the table, writes comparison.csv, .json and .html."""
    from genaudit.reports.comparison import compare

    runs = [str(run) for run in cfg.runs]
    if len(runs) < 2:
        raise UserError("compare needs at least two runs: genaudit compare runs/evaluate/first runs/evaluate/second")
    comparison = compare(runs)
    comparison.write(out := run_folder(cfg, "compare"))
    show(comparison, out)
    return DONE


def show(comparison: Comparison, out: Path) -> None:
    """Prints the table and where its files are."""
    from genaudit.reports.console import make_console

    console = make_console()
    console.print(comparison.console(plain=not console.is_terminal))
    console.print(f"\nwritten {out}/ comparison.csv, comparison.json, comparison.html", markup=False)
