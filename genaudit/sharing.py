"""One training on several processes: each takes its part of every batch, and the update is the one of a single process.

PyTorch's process group, where there is one (`torchrun`), else a process alone. Losses are sums over images divided by
the whole batch's size, so that gradients add up over the ranks; statistics that a network takes of its batch (batch
norm, a minibatch's deviation) are of the whole batch too, while a trainer says so (`Share.whole_batches`).

B images of a batch, R ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from genaudit.errors import UserError

_WHOLE: ContextVar[bool] = ContextVar("whole", default=False)


@dataclass(frozen=True)
class Share:
    """This process' share of a training: its rank of `ranks`, (0, 1) alone."""

    rank: int = 0
    ranks: int = 1

    @classmethod
    def here(cls) -> Share:
        """That of the process group that this process is in."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return cls()
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def check(self, batch_size: int, key: str) -> None:
        """Every rank needs an image of each batch.

        Raises:
            UserError: names the key that gives the batch's size.
        """
        if batch_size < self.ranks:
            raise UserError(f"{key}={batch_size}: a batch is shared by {self.ranks} processes, at least one image each")

    def mine(self, batch: Tensor) -> Tensor:
        """This rank's images (about B/R) of a batch."""
        return batch if self.ranks == 1 else batch[self.rank :: self.ranks]

    def of(self, batch_size: int) -> float:
        """The share of a batch's images that `mine` gives, in (0, 1]: the weight of a mean over them."""
        return len(range(self.rank, batch_size, self.ranks)) / batch_size

    def added(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's sum over the ranks, in one message; all of one dtype and device. Every rank must call it."""
        if self.ranks == 1 or not tensors:
            return list(tensors)
        flat = torch.cat([each.detach().flatten() for each in tensors])
        torch.distributed.all_reduce(flat)
        parts = flat.split([each.numel() for each in tensors])
        return [part.view_as(each) for part, each in zip(parts, tensors, strict=True)]

    def begin_alike(self, tensors: Iterable[Tensor]) -> None:
        """Gives every rank the first one's numbers, in place."""
        if self.ranks > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor.data, 0)

    @contextmanager
    def whole_batches(self) -> Iterator[None]:
        """Inside, `over_ranks` sums: every rank must run the same networks, in the same order."""
        token = _WHOLE.set(self.ranks > 1)
        try:
            yield
        finally:
            _WHOLE.reset(token)


def batch_is_shared() -> bool:
    """Whether statistics of a batch must be taken with `over_ranks`."""
    return _WHOLE.get()


def over_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor over the ranks, through which gradients flow back to every rank, second ones too."""
    from torch.distributed.nn.functional import all_reduce

    total: Tensor = all_reduce(x)
    return total


def moments_over_ranks(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (over B, not B - 1) of a batch that the ranks share, and the count: dims are kept.

    Two passes, as the variance from a sum of squares would lose the digits of a mean that is large.
    """
    count = over_ranks(x.new_tensor([math.prod(x.shape[dim] for dim in dims)]))
    mean = over_ranks(x.sum(dims, keepdim=True)) / count
    return mean, over_ranks((x - mean).square().sum(dims, keepdim=True)) / count, count
