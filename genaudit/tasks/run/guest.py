"""genaudit inside another program: a training, a notebook, a service.

What the process has only once (`tests/tasks/process_state.py` lists it) is afterwards as it was before.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from genaudit.stats.process_state import Shared, Undo

# Packages that are imported when they are needed, and add to the process's warnings and environment on import
PACKAGES = ("matplotlib", "numpy", "scipy", "sklearn", "sympy", "timm", "torch", "torchmetrics", "torchvision")
VARIABLES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR")
OF_NUMPY = "the matrix subclass"  # a filter that names no package


@contextmanager
def guest() -> Iterator[None]:
    """Settings of the calling thread that would change numbers hold as they are at the start of a process.

    Those are PyTorch's (`genaudit.stats.process_state.neutral`) and NumPy's reaction to floating-point errors. The
    caller has its own again afterwards, and finds no trace of the packages that were imported meanwhile.
    """
    with ExitStack() as stack:
        stack.enter_context(tidy())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if "torch" in sys.modules:  # it takes seconds to import, and where nobody has, it is as it starts
            from genaudit.stats.process_state import neutral

            stack.enter_context(neutral())
        yield


def _tidy() -> Undo:
    _import_rich()
    variables = [name for name in VARIABLES if name not in os.environ]
    filters = list(warnings.filters)

    def undo() -> None:
        for name in variables:
            os.environ.pop(name, None)
        # one by one and only those of the packages: another thread may have filters of its own by now
        for each in [each for each in warnings.filters if each not in filters and _of_a_package(each)]:
            warnings.filters.remove(each)  # type: ignore[attr-defined]
            warnings._filters_mutated() if hasattr(warnings, "_filters_mutated") else None

    return undo


def _of_a_package(entry: Any) -> bool:
    _, message, category, module, _ = entry
    texts = [getattr(pattern, "pattern", pattern) or "" for pattern in (message, module)]
    named = {category.__module__.partition(".")[0], texts[1].lstrip("^").replace("\\", "").partition(".")[0]}
    return bool(named & set(PACKAGES)) or texts[0].startswith(OF_NUMPY)


def _import_rich() -> None:
    """rich draws from Python's generator when it is imported."""
    if "rich.style" not in sys.modules:
        state = random.getstate()
        import rich.style  # noqa: F401

        random.setstate(state)


tidy = Shared(_tidy)
