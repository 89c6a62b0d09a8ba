"""Checkpoints of one training run in order: the gate's decisions and their diversity over the steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from genaudit import __version__
from genaudit.metrics.gate import Verdict
from genaudit.metrics.result import Curve, Estimate
from genaudit.reports.digits import show, show_interval
from genaudit.reports.gate import STYLES, WORDS, GateRun

SCHEMA = "genaudit/trajectory/1"
COLUMNS = (
    *("checkpoint", "step", "decision", "irs_relative", "irs_relative_lower", "irs_relative_upper"),
    *("irs_inf", "irs_inf_lower", "irs_inf_upper"),
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
            counts = [verdict.n_sampled, verdict.n_learned, verdict.threshold, verdict.first_rejected_at]
            numbers = [*_ends(verdict.irs_relative, verdict), *_ends(verdict.irs_inf, verdict)]
            found.append(dict(zip(COLUMNS, [name, step, verdict.decision, *numbers, *counts], strict=True)))
        return found

    @property
    def shown(self) -> str:
        """The value that is drawn and printed: against real images where there are any."""
        return "irs_inf" if self.runs[0][1].verdict.calibration == "absolute" else "irs_relative"

    def curve(self) -> Curve:
        """The value with its interval against the step, and the target."""
        rows, question, name = self.rows(), self.runs[0][1].verdict.question, self.shown
        value, low, high = (
            np.array([np.nan if row[key] is None else row[key] for row in rows], float)
            for key in (name, f"{name}_lower", f"{name}_upper")
        )
        lines = {"generated": value, "target": np.full(len(rows), question.irs_target)}
        level = f"{100 * (1 - 2 * question.alpha):g} % interval"
        label = "IRS_inf" if name == "irs_inf" else "diversity relative to real images"
        return Curve(
            f"{label} over the checkpoints", "step", label, np.array(self.steps), lines, (low, high), level, ("target",)
        )

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
            "shown": self.shown,
            "words": WORDS,
            "plot": draw(self.curve()),
            "rows": [
                {
                    **row,
                    "number": show(row[self.shown], row[f"{self.shown}_lower"], row[f"{self.shown}_upper"]),
                    "interval": show_interval(row[f"{self.shown}_lower"], row[f"{self.shown}_upper"]),
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
        from genaudit.reports.styled import make_console, new_table, text

        console = make_console()
        table = new_table(not console.is_terminal)
        for header in ("checkpoint", "decision", self.shown, "interval", "samples", "learned", "threshold"):
            table.add_column(header, justify="left" if header in ("checkpoint", "decision") else "right")
        for row in self.rows():
            low, high = row[f"{self.shown}_lower"], row[f"{self.shown}_upper"]
            table.add_row(
                text((row["checkpoint"], "bold")),
                text((row["decision"], STYLES[row["decision"]])),
                text((show(row[self.shown], low, high), "bold")),
                text((show_interval(low, high), "dim")),
                *(text((f"{row[key]:,}", "")) for key in ("n_sampled", "n_learned", "threshold")),
            )
        console.print(table)


def _ends(estimate: Estimate | None, verdict: Verdict) -> list[float | None]:
    """Value and ends; none where the samples' number depended on the samples, which leaves no estimate."""
    if estimate is None or verdict.stopped_early:
        return [None, None, None]
    return [None if end is None or not np.isfinite(end) else end for end in (estimate.value, *estimate.ends)]
