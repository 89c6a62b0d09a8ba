"""`genaudit train`: a density model or PIAD, as the configuration says, or a perceptual network's statistics."""

from __future__ import annotations

import importlib
from typing import Any

from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.tasks.run.settings import Settings

MODELS = {"likelihood": "likelihood", "piad": "piad"}  # config group => module of genaudit.tasks.training
STATISTICS = "piad-statistics"


def main(cfg: Any) -> int:
    """The verb: hands on to the module that trains what was named."""
    if cfg.what is not None and cfg.what != STATISTICS:
        raise UserError(
            f"unexpected argument {str(cfg.what)!r}: `genaudit train likelihood=glow train=T` names images by train=; "
            f"the one bare word is {STATISTICS}"
        )
    named = [group for group in MODELS if cfg.get(group) is not None]
    if cfg.what is None and len(named) != 1:
        options = "; ".join(f"{group}={'|'.join(_options(group))}" for group in MODELS)
        wrong = "both likelihood= and piad= were given, and one model is trained at a time" if named else (
            "the model to train is missing"
        )  # fmt: skip
        raise UserError(f"{wrong}: {options}")
    module = "statistics" if cfg.what is not None else MODELS[named[0]]
    settings = Settings.of(cfg)
    if "generated" in settings.limits:
        raise UserError(f"limit={cfg.limit} is about generated images, and a training has none: give limit_train=N")
    task = importlib.import_module(f"genaudit.tasks.training.{module}")
    code: int = task.run(cfg, settings)
    return code


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))
