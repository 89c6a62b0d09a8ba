"""A metric's values alone, again and again: for relabellings, resamplings and parts of sets."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from genaudit.metrics.result import base_name
from genaudit.reports.values import describe
from genaudit.tasks.run.judging import parameters_of

CHEAP = ("permutations", "bootstraps", "relabellings")  # what only intervals and p-values need
Values = Callable[[Any], Mapping[str, float]]


def values_of(
    metric: str, fn: Callable[..., Any], options: Mapping[str, Any], *, confidence: float, seed: int
) -> Callable[..., Values]:
    """A metric's values of generated rows, without what only its intervals need where that is dear.

    A metric's module may hold `prepared`: it takes the other roles' rows and the metric's settings, by their names, and
    returns a function of generated rows that gives the values by name, with all that does not depend on these rows
    done once. Where there is none the metric's function itself is called.

    Args:
        fn: the metric's function or a partial of it. options: settings beside those of the partial.

    Returns:
        called with the other roles' rows by keyword: a function of the generated rows.
    """
    inner = fn.func if isinstance(fn, functools.partial) else fn
    settings = {**(fn.keywords if isinstance(fn, functools.partial) else {}), **options}
    prepared = getattr(sys.modules.get(inner.__module__), "prepared", None) if inner.__name__ == "judge" else None
    taken = parameters_of(prepared or inner)
    settings = {**{"confidence": confidence, "seed": seed}, **settings} | dict.fromkeys(CHEAP, 1)
    settings = {key: each for key, each in settings.items() if key in taken}

    def fixed(**rows: Any) -> Values:
        given = {**settings, **{key: each for key, each in rows.items() if key in taken}}
        if prepared is not None:
            values: Values = prepared(**given)
            return values
        return lambda generated: {
            name: each.value
            for name, each in describe(inner(generated=generated, **given), base_name(metric)).values.items()
        }

    return fixed
