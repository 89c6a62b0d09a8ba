"""`genaudit demo`: the sets that ship inside the package, evaluated one after the other and then compared."""

from __future__ import annotations

from typing import Any

from genaudit.errors import DONE, UserError
from genaudit.tasks.evaluate import evaluate
from genaudit.tasks.run_folder import run_folder


def main(cfg: Any) -> int:
    """The verb: a run folder per generated set, and a comparison of them all."""
    from genaudit import demo
    from genaudit.reports.comparison import compare

    wanted = list(cfg.sets) if cfg.sets else list(demo.GENERATED)
    unknown = [name for name in wanted if name not in demo.GENERATED]
    if unknown:
        raise UserError(f"sets={unknown[0]}: the demo has {', '.join(demo.GENERATED)}")
    out = run_folder(cfg, "demo")
    runs = []
    for name in wanted:
        sources = {"generated": demo.path(name), "reference": demo.path("reference"), "train": demo.path("train")}
        report = evaluate(cfg, sources, f"genaudit demo sets=[{name}]")
        assert report is not None
        report.save(out / name)
        runs.append(str(out / name))
    if len(runs) > 1:
        comparison = compare(runs)
        comparison.show(comparison.write(out))
    return DONE
