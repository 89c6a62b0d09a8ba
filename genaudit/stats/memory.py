"""Batches that fit: one for which the device's memory is too small is halved until it does, and stays so.

B rows of a batch.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
NUMBERS = 4096 * 3 * 32 * 32  # of pixels in one pass: 4,096 images of CIFAR, 64 of 256x256


def rows_that_fit(numbers: int, most: int) -> int:
    """How many rows to begin with, from how many numbers (pixels times channels) one of them has.

    >>> rows_that_fit(3 * 32 * 32, 4096), rows_that_fit(3 * 256 * 256, 4096), rows_that_fit(3 * 1024 * 1024, 4096)
    (4096, 64, 4)
    """
    return max(1, min(most, NUMBERS // numbers))


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is too small, whoever raised it."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text))
    )


class Fitting:
    """Runs a function on a batch, in parts where the whole does not fit; later batches begin with what did.

    Args:
        what: for the warning, "embedding resnet50". unit: parts are multiples of it, and none is smaller.
    """

    def __init__(self, what: str, *, unit: int = 1) -> None:
        self.what, self.unit = what, unit
        self.most: int | None = None

    def __call__(self, function: Callable[..., Result], *batch: Any) -> list[Result]:
        """What the function gives for each part, in order.

        Args:
            batch: sequences, arrays or tensors of one length B, cut at the same places.

        Raises:
            Exception: the function's own; that of too little memory where not even one unit fits.
        """
        count, start, results = len(batch[0]), 0, []
        while start < count:
            size = min(self.most or count, count - start)
            part = [each[start : start + size] for each in batch]
            if (result := self._try(function, part, size)) is not None:
                results.append(result[0])
                start += size
        return results

    def _try(self, function: Callable[..., Result], part: list[Any], size: int) -> tuple[Result] | None:
        try:
            return (function(*part),)
        except Exception as error:
            if not out_of_memory(error) or size <= self.unit:
                raise
            half = -(-size // (2 * self.unit)) * self.unit
            self.most = half if half < size else self.unit
        # outside: the exception held what the function had allocated
        _free()
        warnings.warn(
            f"{self.what}: {size} images at a time do not fit in memory; now {self.most}, with which "
            f"batch_size={self.most} would begin",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
