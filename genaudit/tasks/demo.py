"""`genaudit demo`: the sets that ship inside the package, evaluated one after the other and then compared."""

from __future__ import annotations

from typing import Any

from genaudit import demo
from genaudit.errors import DONE, UserError
from genaudit.reports.comparison import compare
from genaudit.tasks.compare import show_and_save
from genaudit.tasks.evaluate import evaluate, metrics_are_named, require_all, tell
from genaudit.tasks.run.folder import run_folder, saving


def main(cfg: Any) -> int:
    """The verb: a run folder per generated set, and a comparison of them all."""

    generated = [name for name, each in demo.SETS.items() if each.role == "generated"]
    wanted = [str(name) for name in cfg.sets] if cfg.sets else generated
    unknown = [name for name in wanted if name not in generated]
    if unknown:
        raise UserError(f"sets={unknown[0]}: the demo has {', '.join(generated)}")
    out, named = run_folder(cfg, "demo"), metrics_are_named()
    absent: dict[str, str] = {}
    runs = []
    for name in wanted:
        sources = {"generated": demo.path(name), "reference": demo.path("reference"), "train": demo.path("train")}
        report = evaluate(cfg, sources, f"genaudit demo sets=[{name}]", named=named)
        assert report is not None
        absent |= report.skipped_metrics
        with saving("out", out):
            report.save(out / name)
        runs.append(str(out / name))
        tell(report.to_dict(), out / name)
    if len(runs) > 1:
        comparison = compare(runs)
        show_and_save(comparison, out)
    require_all(absent, cfg, named)
    return DONE
