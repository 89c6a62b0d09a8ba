"""Processes that start from what this one has imported: a rank of a training need not import torch again."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = str(Path(__file__).resolve().parent.parent)
# CUDA cannot be used again in a fork, nor can Apple's libraries: a new interpreter then.
KIND = "fork" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"


def start(
    target: Callable[..., Any],
    *arguments: Any,
    environment: Mapping[str, str] | None = None,
    out: Path | None = None,
) -> Any:
    """A `multiprocessing.Process` that runs `target(*arguments)`; what it returns is the exit code (None: 0).

    Args:
        target: a function of a module, so that a new interpreter finds it too.
        environment: what is added to the environment. out: a file that takes what is printed.
    """
    if KIND == "spawn" and ROOT not in sys.path:  # where it finds the tests' modules
        sys.path.insert(0, ROOT)
    child = multiprocessing.get_context(KIND).Process(target=_run, args=(target, arguments, environment, out))
    child.start()
    return child


def codes_of(*children: Any, seconds: float = 300) -> list[int | None]:
    """The exit codes of children that must end within so many seconds."""
    for child in children:
        child.join(seconds)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
        child.join()
    return codes


def _run(target: Callable[..., Any], arguments: Any, environment: Mapping[str, str] | None, out: Path | None) -> None:
    os.environ.update(environment or {})
    torch.set_num_threads(1)  # threads of OpenMP do not live on in a fork, and those of linear algebra are few anyway
    with contextlib.ExitStack() as stack:
        if out is not None:
            file = stack.enter_context(open(out, "w", buffering=1))
            os.dup2(file.fileno(), 1)
            stack.enter_context(contextlib.redirect_stdout(file))
        code = target(*arguments)
    os._exit(code or 0)  # gloo's threads may outlive their group, and end an interpreter that shuts down with an abort


def ranks(port: int, count: int = 2) -> list[dict[str, str]]:
    """What torchrun sets for each of so many ranks of one machine."""
    meet = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [meet | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
