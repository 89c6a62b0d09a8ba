"""Decompositions of matrices on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from genaudit.stats.shared import Shared, Undo


@contextmanager
def one_core() -> Iterator[None]:
    """Linear algebra inside runs in one thread.

    Eigenvalues and singular values of thousands of columns make a library's threads wait for each other at every
    column. Where something else wants a core too, which is the rule beside a training run, they wait for a time slice:
    eigenvalues of 2,000 columns took 14.6 s in two threads beside another process on two cores, and 0.9 s in one.
    """
    with _LIMITED():
        yield


def _limit() -> Undo:
    limits = threadpool_limits(limits=1, user_api="blas")
    undo: Undo = limits.restore_original_limits
    return undo


_LIMITED = Shared(_limit)
