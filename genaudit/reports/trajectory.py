"""Checkpoints of one training run in order: the gate's decisions and IRS_inf over the steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from genaudit import __version__
from genaudit.metrics.result import Curve
from genaudit.reports.digits import show, show_interval
from genaudit.reports.gate import STYLES, WORDS, GateRun

SCHEMA = "genaudit/trajectory/1"
COLUMNS = (
    *("checkpoint", "step", "decision", "irs_inf", "irs_inf_lower", "irs_inf_upper"),
    *("n_sampled", "n_learned", "threshold", "first_rejected_at"),
)


@dataclass(frozen=True)
class Trajectory:
    """Runs by the checkpoints' names, in the order of training."""

    runs: Sequence[tuple[str, GateRun]]
    created: str
    command: str

    @property
    def steps(self) -> list[int]:
        """The last number in each name; places from 1 on where they have none or share one."""
        numbers = [re.findall(r"\d+", name) for name, _ in self.runs]
        steps = [int(found[-1]) for found in numbers if found]
        usable = len(steps) == len(self.runs) and sorted(set(steps)) == steps
        return steps if usable else list(range(1, len(self.runs) + 1))

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a checkpoint, with the keys COLUMNS."""
        found = []
        for (name, run), step in zip(self.runs, self.steps, strict=True):
            verdict = run.verdict
            ends = [verdict.irs_inf.value, verdict.irs_inf.lower, verdict.irs_inf.upper]
            numbers = [each if np.isfinite(each) else None for each in ends]
            counts = [verdict.n_sampled, verdict.n_learned, verdict.threshold, verdict.first_rejected_at]
            found.append(dict(zip(COLUMNS, [name, step, verdict.decision, *numbers, *counts], strict=True)))
        return found

    def curve(self) -> Curve:
        """IRS_inf with its interval against the step, and the target."""
        rows, target = self.rows(), self.runs[0][1].verdict.target
        value, low, high = (
            np.array([np.nan if row[key] is None else row[key] for row in rows], float)
            for key in ("irs_inf", "irs_inf_lower", "irs_inf_upper")
        )
        asked = np.array([run.verdict.target.s_target / run.verdict.target.n_train for _, run in self.runs])
        lines = {"generated": value, "target": asked}
        level = f"{100 * (1 - 2 * target.alpha):g} % interval"
        return Curve("IRS_inf over the checkpoints", "step", "IRS_inf", np.array(self.steps), lines, (low, high), level)

    def write(self, out: str | Path) -> dict[str, Path]:
        """Writes trajectory.csv, .html and .json into the folder `out`; returns their paths by name."""
        from genaudit.reports.files import json_text, write_csv, write_together
        from genaudit.reports.html import page
        from genaudit.reports.plots import draw

        rows = self.rows()
        document = {
            "schema": SCHEMA,
            "genaudit": __version__,
            "created": self.created,
            "command": self.command,
            "decision": rows[-1]["decision"],
            "checkpoints": rows,
        }
        names = {
            "trajectory": self,
            "last": rows[-1]["decision"],
            "words": WORDS,
            "plot": draw(self.curve()),
            "rows": [
                {
                    **row,
                    "number": show(row["irs_inf"], row["irs_inf_lower"], row["irs_inf_upper"]),
                    "interval": show_interval(row["irs_inf_lower"], row["irs_inf_upper"]),
                }
                for row in rows
            ],
        }

        def text(content: str, stream: TextIO) -> None:
            stream.write(content)

        return write_together(
            Path(out),
            {
                "trajectory.csv": lambda stream: write_csv(COLUMNS, [row.values() for row in rows], stream),
                "trajectory.html": lambda stream: text(page("trajectory.html.j2", names), stream),
                "trajectory.json": lambda stream: text(json_text(document), stream),
            },
        )

    def show(self) -> None:
        """Prints the table."""
        from genaudit.reports.console import make_console, new_table, text

        console = make_console()
        table = new_table(not console.is_terminal)
        for header in ("checkpoint", "decision", "IRS_inf", "interval", "samples", "learned", "threshold"):
            table.add_column(header, justify="left" if header in ("checkpoint", "decision") else "right")
        for row in self.rows():
            low, high = row["irs_inf_lower"], row["irs_inf_upper"]
            table.add_row(
                text((row["checkpoint"], "bold")),
                text((row["decision"], STYLES[row["decision"]])),
                text((show(row["irs_inf"], low, high), "bold")),
                text((show_interval(low, high), "dim")),
                *(text((f"{row[key]:,}", "")) for key in ("n_sampled", "n_learned", "threshold")),
            )
        console.print(table)
