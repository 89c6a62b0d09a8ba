"""`genaudit demo`: the sets that ship inside the package, evaluated one after the other and then compared."""

from __future__ import annotations

from typing import Any

from genaudit.errors import DONE, UserError
from genaudit.tasks.compare import show
from genaudit.tasks.evaluate import evaluate
from genaudit.tasks.run_folder import run_folder


def main(cfg: Any) -> int:
    """The verb: a run folder per generated set, and a comparison of them all."""
    from genaudit import demo
    from genaudit.reports.comparison import compare

    generated = [name for name, each in demo.SETS.items() if each.role == "generated"]
    wanted = [str(name) for name in cfg.sets] if cfg.sets else generated
    unknown = [name for name in wanted if name not in generated]
    if unknown:
        raise UserError(f"sets={unknown[0]}: the demo has {', '.join(generated)}")
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
        comparison.write(out)
        show(comparison, out)
    return DONE
