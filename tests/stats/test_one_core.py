"""Linear algebra inside `one_core` runs in one thread, and in as many as before afterwards."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from genaudit.stats.process_state import one_core


def threads() -> set[int]:
    np.linalg.eigvalsh(np.eye(3))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_are_one_inside_and_as_before_afterwards() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        with one_core():
            assert threads() == {1}
        assert threads() == before
