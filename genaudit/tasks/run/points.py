"""A metric's values alone, again and again: for relabellings, resamplings and parts of sets."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from genaudit.reports.values import describe
from genaudit.tasks.run.judging import parameters_of

CHEAP = ("permutations", "bootstraps", "relabellings")  # what only intervals and p-values need


def point_of(
    metric: str, fn: Callable[..., Any], options: Mapping[str, Any], *, confidence: float, seed: int
) -> Callable[..., dict[str, float]]:
    """A metric's values of rows by role, without what only its intervals need where that is dear.

    A metric's module may hold `point`: it takes what the metric's function takes of rows and settings, and returns the
    values by name. Where there is none the function itself is called.

    Args:
        fn: the metric's function or a partial of it. options: settings beside those of the partial.
    """
    inner = fn.func if isinstance(fn, functools.partial) else fn
    settings = {**(fn.keywords if isinstance(fn, functools.partial) else {}), **options}
    point = getattr(sys.modules.get(inner.__module__), "point", None) if inner.__name__ == "judge" else None
    taken = parameters_of(point or inner)
    settings = {key: each for key, each in settings.items() if key in taken}
    settings |= {key: each for key, each in {"confidence": confidence, "seed": seed}.items()
                 if key in taken and key not in settings}  # fmt: skip
    settings |= {key: 1 for key in CHEAP if key in taken}

    def values(**rows: Any) -> dict[str, float]:
        given = {**settings, **{key: each for key, each in rows.items() if key in taken}}
        if point is not None:
            return dict(point(**given))
        return {name: each.value for name, each in describe(inner(**given), metric).values.items()}

    return values
