"""The processes and the machine of a run, and what its report says of them.

Of several processes under `torchrun` each measures its share into the same store, and rank 0 judges.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from genaudit.config_files import installed
from genaudit.network_words import as_typed
from genaudit.tasks.run.settings import RULES, WHERE_AND_HOW, Settings

# A rank may wait for a slower one as long as a run lasts; one that died is torchrun's to notice, which ends the others.
PATIENCE = datetime.timedelta(days=365)
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "hydra-core", "openvino")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run; (0, 1) alone."""

    rank: int = 0
    count: int = 1
    group: Any = None  # of our own, since another's would give up after its own timeout
    ours: bool = False  # whether the process group was begun here

    @classmethod
    def join(cls) -> Ranks:
        """Joins torchrun's process group (gloo: only barriers pass through it), or stands alone."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1 or "RANK" not in os.environ:
            return cls()
        import torch.distributed as dist

        ours = not dist.is_initialized()
        if ours:
            dist.init_process_group("gloo", timeout=PATIENCE)
        return cls(dist.get_rank(), count, dist.new_group(backend="gloo", timeout=PATIENCE), ours)

    @property
    def judges(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until every rank has come here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier(self.group)

    def agree(self, value: np.ndarray) -> np.ndarray:
        """The first rank's value, on every rank."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        box: list[Any] = [value]
        dist.broadcast_object_list(box, 0, group=self.group)
        agreed: np.ndarray = box[0]
        return agreed

    def totals(self, values: Sequence[int]) -> list[int]:
        """The sums over the ranks of each value; waits until every rank has come here."""
        if self.count == 1:
            return list(values)
        import torch.distributed as dist

        gathered: list[Any] = [None] * self.count
        dist.all_gather_object(gathered, list(values), group=self.group)
        return [int(sum(each)) for each in zip(*gathered, strict=True)]

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the process group where it was begun here, or else our own.

        A rank that is done waits for the others first: a group that ends while another rank still uses it ends that
        rank. One that failed does not wait, and those that wait for it are let go when its connection breaks.
        """
        if self.count > 1:
            import torch.distributed as dist

            if kind is None:
                with contextlib.suppress(RuntimeError):
                    self.wait()
            dist.destroy_process_group(None if self.ours else self.group)


def environment(cfg: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Versions, machine, device, and the keys that change where and how a run happens but not what it finds.

    `threads` are PyTorch's, None where the run had nothing for it to do.
    """
    torch = sys.modules.get("torch")  # it takes seconds to import, and where it was not needed it did nothing
    device = settings.engine.device
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": {
            **{name: metadata.version(name) for name in PACKAGES if _installed(name)},
            **{plugin.distribution: plugin.version for plugin in installed()},
        },
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if torch and device.startswith("cuda") else _processor(),
        "threads": torch.get_num_threads() if torch else None,
        "run": {key: cfg.get(key) for key in WHERE_AND_HOW},
    }


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def command_line(verb: str, **replaced: str) -> str:
    """The command that gives the same numbers: as typed, without the keys that say where and how it runs.

    `replaced` holds paths in place of what was typed for a key.
    """
    if not sys.argv or not sys.argv[0].startswith("genaudit "):
        return f"genaudit.{verb}(...)"
    typed = [(word.partition("=")[0], word) for word in as_typed(sys.argv[1:])]
    words = [
        f"{key}={shlex.quote(replaced[key])}" if key in replaced else word
        for key, word in typed
        if key not in (*WHERE_AND_HOW, *RULES)
    ]
    return " ".join([f"genaudit {verb}", *words])


def resolved(cfg: Any) -> dict[str, Any]:
    """The configuration that determines the numbers, resolved; where and how it ran stands in the environment."""

    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    return _without_offline({str(key): value for key, value in config.items() if key not in (*WHERE_AND_HOW, *RULES)})


def _without_offline(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_offline(value) for key, value in node.items() if key != "offline"}
    return [_without_offline(value) for value in node] if isinstance(node, list) else node


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
