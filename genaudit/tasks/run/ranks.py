"""Several processes under `torchrun`: each measures its share into the same store, rank 0 judges."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# A rank may wait for a slower one as long as a run lasts; one that died is torchrun's to notice, which ends the others.
PATIENCE = datetime.timedelta(days=365)


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
