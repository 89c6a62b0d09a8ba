"""What a report says of the machine and of how the run happened."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from omegaconf import OmegaConf

from genaudit.config_files import installed
from genaudit.network_words import as_typed
from genaudit.tasks.run.settings import RULES, WHERE_AND_HOW, Settings

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "hydra-core", "openvino")


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
