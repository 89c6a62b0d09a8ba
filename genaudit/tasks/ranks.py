"""Several processes under `torchrun`: each measures its share into the same store, rank 0 judges."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run; (0, 1) alone."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Joins torchrun's process group (gloo: only barriers pass through it), or stands alone."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1 or "RANK" not in os.environ:
            return cls()
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("gloo")
        return cls(dist.get_rank(), count)

    @property
    def judges(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until every rank has come here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()

    def leave(self) -> None:
        if self.count > 1:
            import torch.distributed as dist

            dist.destroy_process_group()
