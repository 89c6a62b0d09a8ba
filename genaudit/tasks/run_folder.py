"""Where a run writes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from genaudit.tasks.places import expanded


def run_folder(cfg: Any, verb: str) -> Path:
    """`out` as given, else the job's own folder of a sweep, else runs/VERB/DATE_TIME."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    given = cfg.get("out")
    if given:
        return expanded("out", str(given))
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return Path(HydraConfig.get().runtime.output_dir)
    base = Path("runs") / verb / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder
