"""What a metric's result class declares about itself, for those who have a finished report and not the result.

A report.json names each metric's function (`config.metric.NAME.fn._target_`). The function's return annotation is the
result class. Only genaudit's own functions are looked up: a report of another machine must not choose what is imported.
"""

from __future__ import annotations

import functools
import importlib
import typing
from typing import Any


def result_class(function: Any) -> Any:
    """The class that a metric's function says it returns; None where it does not say, or the name cannot be had."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def result_class_of(target: Any) -> Any:
    """The result class of one of genaudit's own metrics by its function's dotted path; None for any other path.

    >>> result_class_of("genaudit.metrics.kernel.judge").__name__
    'KernelResult'
    >>> result_class_of("os.system")
    """
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not module.startswith("genaudit.metrics."):
        return None
    try:
        return result_class(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError):
        return None
