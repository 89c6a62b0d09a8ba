"""Where a run writes, and where its rows are kept."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from genaudit.tasks.run.places import expanded


def run_folder(cfg: Any, verb: str) -> Path:
    """`out` as given, else the job's own folder of a sweep, else runs/VERB/DATE_TIME; a gate's is that of its run.

    In a sweep the command line's `out` says each job's own folder (`genaudit.hydra_words.own_folders`); one that a YAML
    sets is led on into one.
    """

    given = cfg.get("out")
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if given:
        folder = expanded("out", str(given))
        typed = sweeping and any(each.lstrip("+").startswith("out=") for each in HydraConfig.get().overrides.task)
        return folder / str(HydraConfig.get().job.num) if sweeping and not typed else folder
    if sweeping:
        return Path(HydraConfig.get().runtime.output_dir)
    if verb == "gate" and cfg.get("run"):  # beside the report that it judges
        run = expanded("run", str(cfg["run"]))
        return run.parent if run.is_file() else run
    base = Path("runs") / verb / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def store_folder(given: str | None) -> Path:
    """The row store: as given, else the user's cache folder."""
    if given:
        return expanded("store", str(given))
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded("store", cache) / "genaudit" / "store"
