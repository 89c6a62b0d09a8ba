"""genaudit audits generative image models: quality, diversity, memorisation, likelihood.

    report = genaudit.evaluate(generated="samples/", reference="real/", train="train/")
    report.metrics["irs"].values["irs_inf"].value

The command line is `genaudit`; see `genaudit --help`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genaudit.errors import UserError

if TYPE_CHECKING:
    from genaudit.backbones.module_model import ModuleModel
    from genaudit.data.columns import labelled
    from genaudit.reports.report import Report
    from genaudit.tasks.api import evaluate
    from genaudit.tasks.gate.diversity_gate import DiversityGate

__version__ = "0.1.0"
__all__ = ["DiversityGate", "ModuleModel", "Report", "UserError", "__version__", "evaluate", "labelled"]

_LAZY = {
    "evaluate": "genaudit.tasks.api",
    "DiversityGate": "genaudit.tasks.gate.diversity_gate",
    "ModuleModel": "genaudit.backbones.module_model",
    "Report": "genaudit.reports.report",
    "labelled": "genaudit.data.columns",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: `genaudit --help` and `import genaudit` do not wait for it
    if name in _LAZY:
        import importlib

        from genaudit.tasks.run.guest import tidy

        with tidy():
            return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is for users; the rooms of the package are imported by their names."""
    return sorted(__all__)
