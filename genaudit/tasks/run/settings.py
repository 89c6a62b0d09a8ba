"""The keys that every measuring verb knows, checked and resolved once, and the engine that runs its networks.

An engine runs a network where no gradient is taken. `engine=auto` is OpenVINO on a CPU in float32 where it is
installed, and PyTorch else. Whether OpenVINO takes a network shows when it is compiled, before an image is measured;
where it does not, PyTorch measures, a line says so, and the store remembers it, so that the next run need not try.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from genaudit.atomic import atomic_write
from genaudit.errors import UserError
from genaudit.measures.embedding import NetworkOutput
from genaudit.measures.measure import EngineRefused, fingerprint
from genaudit.measures.runners import COMPILED, OPENVINO, PYTORCH
from genaudit.store import Engine, Store
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
ENGINES = "engines"  # of the store: the networks that an engine did not take
OPENVINO_EXTRA = "pip install 'genaudit-images[openvino]'"
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """The resolved measuring keys.

    `network_engine` is `engine=`, `compile` whether PyTorch compiles networks (`genaudit.tasks.run.settings`).
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


class EngineChoice:
    """The engine of each measure of a run.

    Args:
        settings, store: of the run. notify: told of networks that an engine does not take. ranks: processes of the run.
    """

    def __init__(
        self, settings: Settings, store: Store, notify: Callable[[str], None] | None = None, ranks: int = 1
    ) -> None:
        self._settings, self._store, self._notify = settings, store, notify
        self._engine = chosen(settings, ranks)
        self.refused: dict[str, str] = {}  # feature model => why OpenVINO does not take it

    def assign(self, measures: Iterable[Any]) -> None:
        """Gives every measure that is a network's output its engine."""
        for measure in measures:
            if not isinstance(measure, NetworkOutput):
                continue  # it takes gradients, or runs no network
            measure.engine = self._engine
            if self._engine == OPENVINO and not measure.feature_model.fixed_graph:
                self._fall_back([measure], "it is a network of yours, whose forward may depend on the images")
            elif self._engine == OPENVINO and self._automatic and (reason := self._remembered(measure)) is not None:
                self._fall_back([measure], reason)

    def measured(self, work: Callable[[], T]) -> T:
        """What `work` gives, which measures; it is done again where an engine did not take a network.

        Raises:
            UserError: an engine that was asked for by name does not take a network.
        """
        while True:
            try:
                return work()
            except EngineRefused as refused:
                places = [self._place(measure) for measure in refused.measures]
                self._fall_back(refused.measures, refused.reason)
                for place in places:
                    _remember(place, refused.reason)

    @property
    def _automatic(self) -> bool:
        return self._settings.network_engine == "auto"

    def _fall_back(self, measures: Iterable[Any], reason: str) -> None:
        if not self._automatic:
            raise EngineRefused(list(measures), reason)
        for measure in measures:
            measure.engine = PYTORCH
            model = measure.feature_model
            measure.engine_note = f"OpenVINO does not take it: {reason}"
            if model.name not in self.refused and self._notify is not None:
                self._notify(f"{model.name} is run by PyTorch, since OpenVINO does not take it ({reason})")
            self.refused.setdefault(model.name, reason)

    def _place(self, measure: Any) -> Path:
        key = f"{fingerprint(measure, self._settings.engine.precision)} {metadata.version(OPENVINO)}"
        return self._store.root / ENGINES / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _remembered(self, measure: Any) -> str | None:
        try:
            reason = json.loads(self._place(measure).read_text(encoding="utf-8"))["refused"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(reason)


def chosen(settings: Settings, ranks: int = 1) -> str:
    """The engine that the keys ask for, or that fits the machine.

    Several processes of a run measure into rows of one fingerprint, and may be on machines that are not alike: they
    take PyTorch unless told otherwise.

    Raises:
        UserError: an engine that cannot run here, or not at this precision.
    """
    wanted, engine = settings.network_engine, settings.engine
    if settings.compile:
        if wanted == OPENVINO:
            raise UserError("compile=true compiles PyTorch's networks, and engine=openvino runs none of them; omit one")
        return COMPILED
    fits = engine.device == "cpu" and engine.precision == "float32"
    if wanted == OPENVINO:
        if not _openvino_is_installed():
            raise UserError(f"engine=openvino: OpenVINO is not installed; {OPENVINO_EXTRA}")
        if not fits:
            raise UserError(
                "engine=openvino runs on the CPU in float32 (device=cpu precision=float32), "
                f"got device={engine.device} precision={engine.precision}"
            )
        return OPENVINO
    return OPENVINO if wanted == "auto" and fits and ranks == 1 and _openvino_is_installed() else PYTORCH


def _remember(place: Path, reason: str) -> None:
    """A store that cannot be written remembers nothing: the next run tries again."""
    with contextlib.suppress(OSError), atomic_write(place) as temporary:
        temporary.write_text(json.dumps({"refused": reason}), encoding="utf-8")


def _openvino_is_installed() -> bool:
    # without importing it, or torch, which a run whose rows are all stored never needs
    return importlib.util.find_spec("openvino") is not None
