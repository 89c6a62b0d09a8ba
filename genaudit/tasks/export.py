"""`genaudit export RUN`: takes features, rows and per-image columns of a finished run out; nothing is measured again.

The rows lie in the row store under the images' digests and the measure's fingerprint, which the report holds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.errors import DONE, UserError, one_line, reason_of
from genaudit.metrics.result import ROLES
from genaudit.reports.export import Block, Part, write_parts, write_table
from genaudit.reports.reading import read_report, report_file
from genaudit.tasks.run.finished import NoRows, RunRows
from genaudit.tasks.run.folder import expanded, saving
from genaudit.tasks.run.measuring import GIVEN
from genaudit.tasks.run.settings import Settings

ROWS_AT_ONCE = 4096


def main(cfg: Any) -> int:
    """The verb: writes a file a measure, or one of the images' columns, and says where."""
    if cfg.run is None:
        raise UserError("export needs a finished run: genaudit export runs/evaluate/first")
    run = report_file(Path(str(cfg.run)))
    report = read_report(run)
    out = expanded("out", str(cfg.out)) if cfg.out else run.parent / "export"
    single = out if out.suffix == f".{cfg.format}" else None
    if cfg.what == "images":
        path = single or out / f"images.{cfg.format}"
        with saving("out", path.parent):
            write_table(path, cfg.format, _columns(run.parent / "images.csv"))
        print(one_line(f"written {path}"))
        return DONE
    wanted = _wanted(report, cfg)
    if single and len(wanted) > 1:
        raise UserError(f"out={out} is one file, and the run has rows of {', '.join(wanted)}: measure= picks one")
    rows = RunRows(Settings.of(cfg).store)
    for name, roles in wanted.items():
        measured = _Measured(report, name, rows)
        parts, missing = measured.parts(roles)
        if not parts:
            raise UserError(f"{name}: {'; '.join(missing.values())}; the command that made the run measures them again")
        path = single or out / f"{_file_name(name)}.{cfg.format}"
        with saving("out", path.parent):
            write_parts(path, cfg.format, parts, measured.about())
        shapes = ", ".join(f"{part.role} {part.count:,} x {len(part.columns):,}" for part in parts)
        print(one_line(f"written {path}: {name}, {shapes}"))
        if beside := parts[0].attachments:
            where = "with" if cfg.format == "npz" else "format=npz also holds"
            print(one_line(f"  {where} {', '.join(beside)} of each image"))
        for role, reason in missing.items():
            print(one_line(f"  without {role}: {reason}"))
    return DONE


def _wanted(report: Mapping[str, Any], cfg: Any) -> dict[str, list[str]]:
    """The measures of the run that are asked for, and the roles of each.

    Raises:
        UserError: there is none such.
    """
    roles = [role for role in ROLES if role in report["images"] and cfg.role in (None, role)]
    if not roles:
        raise UserError(f"role={cfg.role} is not in the run, which has {', '.join(report['images'])}")
    found = {
        name: roles
        for name, use in report["measures"].items()
        if (cfg.what == "rows" or not use.get("about", {}).get("columns"))
        and (cfg.measure is None or str(cfg.measure) in name)
    }
    if not found:
        named = f"measure={cfg.measure}" if cfg.measure is not None else f"what={cfg.what}"
        raise UserError(f"{named} matches none of the run's measures: {', '.join(report['measures']) or 'it has none'}")
    return found


@dataclass(frozen=True)
class _Measured:
    """The rows of one measure of a run."""

    report: Mapping[str, Any]
    name: str
    rows: RunRows

    def about(self) -> dict[str, str]:
        """What the rows are, as the file's metadata."""
        use = self.report["measures"][self.name]
        return {
            "measure": self.name,
            "fingerprint": use["fingerprint"],
            "weights_sha256": use["weights_sha256"] or "",
            "genaudit": self.report["genaudit"],
        }

    def parts(self, roles: list[str]) -> tuple[list[Part], dict[str, str]]:
        """The rows of each role, and why those of others are not to be had."""
        found, missing = [], {}
        for role in roles:
            try:
                found.append(self._part(role))
            except NoRows as reason:
                missing[role] = str(reason)
        return found, missing

    def _part(self, role: str) -> Part:
        if self.name == GIVEN:
            features = self.rows.given(self.report, role)
            return Part(role, _numbered(features.shape[1]), len(features), lambda: iter([Block(features, None)]))
        use = self.report["measures"][self.name]
        rows, digests = self.rows.stored(self.report, role, use["fingerprint"])
        columns = use.get("about", {}).get("columns") or _numbered(rows.shape[1])

        def blocks() -> Iterator[Block]:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                yield Block(rows[start : start + ROWS_AT_ONCE], digests[start : start + ROWS_AT_ONCE])

        return Part(role, list(columns), len(rows), blocks, rows.attachments)


def _numbered(count: int) -> list[str]:
    return [f"f{index}" for index in range(count)]


def _columns(path: Path) -> dict[str, Any]:
    """The columns of images.csv: numbers where all cells are, text otherwise.

    Raises:
        UserError: the file is not there or is not what genaudit wrote.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            header, *rows = list(csv.reader(stream)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)}): it is the images.csv of the run") from None
    if not header or any(len(row) != len(header) for row in rows):
        raise UserError(f"{path} is not an images.csv that genaudit wrote: its rows differ in length")
    cells = dict(zip(header, zip(*rows, strict=True) if rows else [()] * len(header), strict=True))
    return {
        name: _numbers(column) if name not in ("name", "digest") else list(column) for name, column in cells.items()
    }


def _numbers(column: tuple[str, ...]) -> Any:
    try:
        return np.array([float(cell) if cell else np.nan for cell in column])
    except ValueError:
        return list(column)


def _file_name(measure: str) -> str:
    return re.sub(r"[^\w.-]+", "_", measure).strip("_.") or "rows"
