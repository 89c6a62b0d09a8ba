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
from genaudit.store.store import Engine

# The keys that say how many images of a role are taken.
LIMIT_KEYS = {
    "generated": "limit",
    "reference": "limit_reference",
    "train": "limit_train",
    "anomalies": "limit_anomalies",
}
PRECISIONS = ("float32", "bfloat16", "float64")
# What drivers of NVIDIA's (Tegra's too) and AMD's accelerators, and Windows beneath Linux, show in /dev.
ACCELERATORS = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/kfd", "/dev/dxg")
# Keys that say where and how a run happens and not what its numbers are; they stand in the report's environment.
WHERE_AND_HOW = ("out", "store", "device", "batch_size", "workers", "progress", "offline")


@dataclass(frozen=True)
class Settings:
    """The resolved measuring keys.

    `limits` says of how many images of a role a random subset is taken; roles without a limit are taken whole.
    """

    engine: Engine
    store: Path
    seed: int
    limits: Mapping[str, int]
    n_samples: int | None
    on_error: str
    max_skipped: float
    max_pixels: int
    confidence: float
    progress: bool

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Settings:
        """Reads and checks the keys.

        Raises:
            UserError: names the key and what would be right.
        """
        precision = str(cfg["precision"])
        if precision not in PRECISIONS:
            raise UserError(f"precision={precision}: one of {', '.join(PRECISIONS)} is needed")
        confidence = _number(cfg, "confidence", float)
        if not 0 < confidence < 1:
            raise UserError(f"confidence={confidence}: a number between 0 and 1 is needed")
        seed = _number(cfg, "seed", int)
        if seed < 0:
            raise UserError(f"seed={seed}: a whole number from 0 on is needed")
        engine = Engine(
            device=choose_device(str(cfg["device"])),
            precision=precision,
            batch_size=_auto(cfg, "batch_size", 1),
            workers=_auto(cfg, "workers", 0),
        )
        limits = {role: _count(cfg, key) for role, key in LIMIT_KEYS.items()}
        return cls(
            engine=engine,
            store=store_folder(cfg["store"]),
            seed=seed,
            limits={role: limit for role, limit in limits.items() if limit is not None},
            n_samples=_count(cfg, "n_samples"),
            on_error=str(cfg["on_error"]),
            max_skipped=_number(cfg, "max_skipped", float),
            max_pixels=_number(cfg, "max_pixels", int),
            confidence=confidence,
            progress=bool(cfg["progress"]),
        )


def store_folder(given: str | None) -> Path:
    """The row store: as given, else the user's cache folder."""
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "genaudit" / "store"


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


def _number(cfg: Mapping[str, Any], key: str, kind: type) -> Any:
    value = cfg[key]
    wrong = isinstance(value, bool) or not isinstance(value, (int, float)) or (kind is int and value != int(value))
    if wrong:
        raise UserError(f"{key}={value}: a {'whole ' if kind is int else ''}number is needed")
    return kind(value)


def _count(cfg: Mapping[str, Any], key: str) -> int | None:
    """A number of images, or None where the key is null."""
    if cfg.get(key) is None:
        return None
    value: int = _number(cfg, key, int)
    if value < 1:
        raise UserError(f"{key}={value}: {key} must be a positive integer, or null")
    return value


def _auto(cfg: Mapping[str, Any], key: str, least: int) -> int | None:
    if cfg[key] == "auto":
        return None
    value: int = _number(cfg, key, int)
    if value < least:
        raise UserError(f"{key}={value}: auto, or a whole number from {least} on, is needed")
    return value
