"""`genaudit gate`: passes or fails a finished run by a user's rules, without measuring again."""

from __future__ import annotations

from typing import Any

from genaudit.errors import DONE, REJECTED, UserError
from genaudit.output import told
from genaudit.tasks.run.folder import expanded, run_folder
from genaudit.tasks.run.rules import RunRules


def main(cfg: Any) -> int:
    """The verb; exit code 0: all rules hold, 3: one fails, 4: one is undecided and none fails."""
    from genaudit.reports.reading import read_report, report_file

    if not cfg.run:
        raise UserError("gate needs a run: genaudit gate runs/evaluate/first require=['recall >= 0.6']")
    rules = RunRules.of(cfg)
    if rules is None:
        raise UserError("gate needs rules: require=['recall >= 0.6', 'fd.real_ratio <= 3'] or require=rules.yaml")
    report = read_report(report_file(expanded("run", str(cfg.run))))
    out = run_folder(cfg, "gate")
    told.begin_log()
    code = rules.apply(report, str(cfg.run), out)
    told.result(gate=str(out / "gate.json"), passed={DONE: True, REJECTED: False}.get(code), exit_code=code)
    return code
