"""Matrix products and what is read off them: by NumPy, or by torch on a device and where the work pays for its import.

Importing torch takes longer than all products of a few thousand images. Which of the two runs depends on the device
and on the work alone, so that a run whose rows are stored gives the bits of the run that measured them.

Q queries, R rows, D features, m of them chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Multiplications above which torch runs on the CPU too: there its threads, and bfloat16 where the processor has tiles
# of it, save more than the second and a half that its import takes (scripts/bench_stats.py products).
WORTH_TORCH = 2e11
ROWS_AT_ONCE = 512  # that NumPy sorts: it makes indices of 8 bytes


def products(device: str, work: float) -> NumPyProducts | TorchProducts:
    """What multiplies: `work` is the number of multiplications, Q times R times D."""
    return NumPyProducts() if device == "cpu" and work < WORTH_TORCH else TorchProducts(device)


class NumPyProducts:
    """Arrays stay NumPy's."""

    torch = False

    @property
    def namespace(self) -> Any:
        """Where exp, log, amax, clip, ... are."""
        return np

    def put(self, array: np.ndarray) -> Any:
        return array

    def get(self, array: Any) -> np.ndarray:
        found: np.ndarray = array
        return found

    def full(self, shape: tuple[int, ...], value: float, kind: Any = np.float32) -> Any:
        return np.full(shape, value, kind)

    def empty(self, size: int, like: Any) -> Any:
        return np.empty(size, like.dtype)

    def multiply(self, left: Any, right: Any, out: Any) -> None:
        """left (Q, D) times right (R, D), transposed, into `out` (Q, R)."""
        np.matmul(left, right.T, out=out)

    def subtract_from(self, row: Any, scores: Any) -> None:
        """scores = row - scores, in place."""
        np.subtract(row, scores, out=scores)

    def where(self, mask: Any) -> tuple[Any, ...]:
        return np.nonzero(mask)

    def minima(self, grouped: Any) -> Any:
        """(Q, S, G) => (Q, G)."""
        return grouped.min(axis=1)

    def members(self, grouped: Any, groups: Any) -> Any:
        """The groups (Q, m) of (Q, S, G) => (Q, S, m)."""
        return np.take_along_axis(grouped, groups[:, None, :], 2)

    def lowest(self, scores: Any, m: int) -> tuple[Any, Any]:
        """The m smallest of each row and their columns, in any order."""
        if m >= scores.shape[1]:
            return scores, np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        parts = [
            np.argpartition(scores[start : start + ROWS_AT_ONCE], m - 1, axis=1)[:, :m]
            for start in range(0, len(scores), ROWS_AT_ONCE)
        ]
        columns = np.concatenate(parts)
        return np.take_along_axis(scores, columns, 1), columns

    def highest_of_columns(self, scores: Any, m: int) -> Any:
        """The rows (m, C) of the m largest of each column of (B, C), the largest first."""
        flipped = np.ascontiguousarray(scores.T)
        _, rows = self.lowest(np.negative(flipped, out=flipped), m)
        order = np.argsort(np.take_along_axis(flipped, rows, 1), axis=1, kind="stable")
        return np.take_along_axis(rows, order, 1).T

    def take(self, array: Any, columns: Any) -> Any:
        """Of each row the columns (Q, m)."""
        return np.take_along_axis(array, columns, 1)

    def join(self, left: Any, right: Any) -> Any:
        return np.concatenate([left, right], axis=1)

    def at_least(self, array: Any, least: float) -> Any:
        return np.maximum(array, np.float32(least))

    def logsumexp(self, terms: Any) -> Any:
        """(B, M) => (B,)."""
        peak = terms.max(axis=1)
        return peak + np.log(np.exp(terms - peak[:, None]).sum(axis=1))


class TorchProducts:
    """Arrays are tensors on the device."""

    torch = True

    def __init__(self, device: str) -> None:
        self.device = device

    @property
    def namespace(self) -> Any:
        import torch

        return torch

    def put(self, array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(array).to(self.device)

    def get(self, array: Any) -> np.ndarray:
        found: np.ndarray = array.cpu().numpy()
        return found

    def full(self, shape: tuple[int, ...], value: float, kind: Any = np.float32) -> Any:
        return self.put(np.full(shape, value, kind))

    def empty(self, size: int, like: Any) -> Any:
        import torch

        return torch.empty(size, device=self.device, dtype=like.dtype)

    def multiply(self, left: Any, right: Any, out: Any) -> None:
        import torch

        torch.mm(left, right.T, out=out)

    def subtract_from(self, row: Any, scores: Any) -> None:
        import torch

        torch.sub(row, scores, out=scores)

    def where(self, mask: Any) -> tuple[Any, ...]:
        found: tuple[Any, ...] = mask.nonzero(as_tuple=True)
        return found

    def minima(self, grouped: Any) -> Any:
        return grouped.amin(1)

    def members(self, grouped: Any, groups: Any) -> Any:
        return grouped.gather(2, groups[:, None, :].expand(-1, grouped.shape[1], -1))

    def lowest(self, scores: Any, m: int) -> tuple[Any, Any]:
        values, columns = scores.topk(min(m, scores.shape[1]), dim=1, largest=False)
        return values, columns

    def highest_of_columns(self, scores: Any, m: int) -> Any:
        return scores.topk(m, dim=0).indices

    def take(self, array: Any, columns: Any) -> Any:
        return array.gather(1, columns)

    def join(self, left: Any, right: Any) -> Any:
        import torch

        return torch.cat([left, right], 1)

    def at_least(self, array: Any, least: float) -> Any:
        return array.clamp(min=least)

    def logsumexp(self, terms: Any) -> Any:
        return terms.logsumexp(dim=1)
