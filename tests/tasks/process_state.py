"""What a process has only once: `snapshot()` before and after a call must be equal."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def snapshot() -> dict[str, Any]:
    """Of Hydra, PyTorch, NumPy, Pillow, Python and the operating system, everything that a library could leave."""
    import decimal
    import locale
    import sys

    import matplotlib
    from hydra.core.config_store import ConfigStore
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.version import VersionBase
    from omegaconf.basecontainer import BaseContainer
    from PIL import Image, ImageFile

    gc.collect()
    held: dict[Any, Any] = {kind.__name__: one for kind, one in Singleton._instances.items()}
    global_hydra, job, version = (held.get(kind) for kind in ("GlobalHydra", "JobRuntime", "VersionBase"))
    assert HydraConfig is not None
    assert VersionBase is not None
    return {
        "hydra": (
            id(getattr(global_hydra, "hydra", None)),
            str(getattr(job, "conf", None)),
            str(getattr(version, "version_base", None)),
            str(getattr(held.get("HydraConfig"), "cfg", None)),
        ),
        "config store": _tree(ConfigStore.instance().repo),
        "resolvers": {name: id(function) for name, function in BaseContainer._resolvers.items()},
        "torch": (
            torch.get_num_threads(),
            _in_new_thread(torch.get_num_threads),
            torch.get_num_interop_threads(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_anomaly_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.enabled,
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            _precisions(),
        ),
        "generators": (
            torch.get_rng_state().numpy().tobytes(),
            np.random.get_state()[1].tobytes(),  # type: ignore[index,union-attr]  # noqa: NPY002
            hash(random.getstate()),
            torch.initial_seed(),
        ),
        "numpy": (np.geterr(), str(np.get_printoptions())),
        "pillow": (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS),
        "matplotlib": (matplotlib.rcParams["backend"], dict(matplotlib.rcParams)),
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "logging": (
            logging.root.manager.disable,
            logging.root.level,
            list(logging.root.handlers),
            logging.raiseExceptions,
        ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "python": (os.getcwd(), dict(os.environ), list(sys.path), list(sys.argv), sys.excepthook, sys.stdout,
                   sys.stderr, sys.displayhook, sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold()),
        "locale": (locale.setlocale(locale.LC_ALL), decimal.getcontext().prec, os.umask(os.umask(0o022))),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "files": open_files(),
    }  # fmt: skip


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The parts that differ, with both values."""
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def open_files() -> list[str]:
    """The files that the process holds open or mapped in place of memory, shared libraries and pipes left out."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return []
    held = []
    for entry in folder.iterdir():
        try:
            held.append(os.readlink(entry))
        except OSError:  # the folder's own handle
            continue
    return sorted(name for name in held if name.startswith("/") and not name.startswith(("/dev/", "/proc/")))


def _precisions() -> list[str]:
    found = []
    for name in ("", "mkldnn", "mkldnn.matmul", "mkldnn.conv", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn"):
        owner: Any = torch.backends
        for part in filter(None, name.split(".")):
            owner = getattr(owner, part, None)
        found.append(str(getattr(owner, "fp32_precision", None) if hasattr(torch.backends, "fp32_precision") else None))
    try:
        found.append(torch.get_float32_matmul_precision())
    except RuntimeError:  # set by both of PyTorch's interfaces
        found.append("mixed")
    return found


def _tree(node: Any) -> Any:
    return {key: _tree(value) for key, value in node.items()} if isinstance(node, dict) else id(node)


def _in_new_thread(work: Callable[[], Any]) -> Any:
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(work()))
    thread.start()
    thread.join()
    return box[0]
