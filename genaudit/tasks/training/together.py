"""A training on the processes of `torchrun`: they join, agree on the folder, and the first one writes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from genaudit.tasks.run.environment import PATIENCE, Ranks

T = TypeVar("T")


def join(device: str) -> Ranks:
    """The ranks of torchrun: gradients on CUDA devices are summed by NCCL, everything else by gloo."""
    if device.startswith("cuda") and "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        import torch
        import torch.distributed as dist

        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE)
        return dataclasses.replace(Ranks.join(), ours=True)
    return Ranks.join()


def agreed(folder: Path, ranks: Ranks) -> Path:
    """The first rank's folder: one that is named after the time may differ between ranks."""
    if ranks.count == 1:
        return folder
    import torch.distributed as dist

    box: list[Any] = [str(folder)]
    dist.broadcast_object_list(box, 0)
    return Path(box[0])


def first_writes(ranks: Ranks, work: Callable[[], T]) -> T:
    """What `work` gives, which may leave files that make it quick for those who come after: rank 0 comes first.

    Where it fails on rank 0, the others are let go to find out for themselves.
    """
    if not ranks.judges:
        ranks.wait()
        return work()
    try:
        return work()
    finally:
        ranks.wait()
