"""The keys that every measuring verb knows, checked and resolved once."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genaudit.errors import UserError
from genaudit.store import Engine
from genaudit.tasks.run.folder import store_folder
from genaudit.tasks.run.keys import MEASURING, check_values

# The keys that say how many images of a role are taken.
LIMIT_KEYS = {
    "generated": "limit",
    "reference": "limit_reference",
    "train": "limit_train",
    "anomalies": "limit_anomalies",
}
# What drivers of NVIDIA's (Tegra's too) and AMD's accelerators, and Windows beneath Linux, show in /dev.
ACCELERATORS = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/kfd", "/dev/dxg")
# Keys that say where and how a run happens and not what its numbers are; they stand in the report's environment.
WHERE_AND_HOW = ("out", "store", "device", "batch_size", "workers", "progress", "offline", "explore")
RULES = ("require", "baseline", "strict")  # keys that judge a report and are no part of it


@dataclass(frozen=True)
class Settings:
    """The resolved measuring keys.

    `network_engine` is `engine=`, `compile` whether PyTorch compiles networks (`genaudit.tasks.run.engines`).
    `limits` says of how many images of a role a random subset is taken; roles without a limit are taken whole.
    """

    engine: Engine
    network_engine: str
    compile: bool
    store: Path
    seed: int
    limits: Mapping[str, int]
    n_samples: int | None
    on_error: str
    max_skipped: float
    max_pixels: int
    confidence: float
    progress: bool
    offline: bool = False

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Settings:
        """Reads and checks the keys.

        Raises:
            UserError: names the key and what was expected.
        """
        check_values(cfg, MEASURING)
        engine = Engine(
            device=choose_device(str(cfg["device"])),
            precision=str(cfg["precision"]),
            batch_size=_unless_auto(cfg["batch_size"]),
            workers=_unless_auto(cfg["workers"]),
        )
        if engine.precision == "tf32" and not engine.device.startswith("cuda"):
            raise UserError(f"precision=tf32 is of NVIDIA's GPUs (device=cuda), got device={engine.device}")
        limits = {role: cfg[key] for role, key in LIMIT_KEYS.items()}
        return cls(
            engine=engine,
            network_engine=str(cfg["engine"]),
            compile=bool(cfg["compile"]),
            store=store_folder(cfg["store"]),
            seed=cfg["seed"],
            limits={role: limit for role, limit in limits.items() if limit is not None},
            n_samples=cfg["n_samples"],
            on_error=cfg["on_error"],
            max_skipped=float(cfg["max_skipped"]),
            max_pixels=cfg["max_pixels"],
            confidence=float(cfg["confidence"]),
            progress=cfg["progress"],
            offline=bool(cfg["offline"]),
        )


def choose_device(wanted: str) -> str:
    """ "auto" is CUDA, then MPS, then the CPU; under torchrun each rank takes its own CUDA device.

    Raises:
        UserError: the device is unknown or not on this machine.
    """
    if wanted == "cpu" or (wanted == "auto" and _cpu_only()):
        return "cpu"
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdigit())):
        raise UserError(f"device={wanted}: auto, cpu, cuda, cuda:N or mps is needed")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise UserError(f"device={wanted}: PyTorch sees {count} CUDA devices here; device=auto picks what there is")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: PyTorch sees no such device here; device=auto picks what there is")
    return wanted


def _cpu_only() -> bool:
    """Whether no driver of an accelerator is on this machine, so that torch need not be imported to ask it."""
    return sys.platform == "linux" and not any(glob.glob(pattern) for pattern in ACCELERATORS)


def _unless_auto(value: Any) -> int | None:
    return None if value == "auto" else int(value)
