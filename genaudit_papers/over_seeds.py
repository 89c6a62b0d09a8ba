"""A number that several seeds gave, beside the published one: a single training is no finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genaudit.reports.table import Cell
from genaudit_papers.published import PublishedCell, compared


def over_seeds_compared(cell: PublishedCell, values: Sequence[float], *, unit: str = "") -> Cell:
    """The seeds' mean beside the published number; the interval is their lowest and highest, a note lists them.

    One seed has no scatter, hence no interval, and gets no verdict.
    """
    several = len(values) > 1
    ends: dict[str, Any] = {"lower": min(values), "upper": max(values)} if several else {}
    note = seeds_note(values) if several else ""
    return replace(compared(cell, float(np.mean(values)), unit=unit, note=note, **ends), trainings=len(values))


def seeds_note(values: Sequence[float]) -> str:
    """Every seed's number, with three decimals, or more where those would not tell the seeds apart.

    >>> seeds_note([-0.00008, 0.00082]), seeds_note([0.34, 0.99])
    ('seeds: −0.00008, 0.00082', 'seeds: 0.340, 0.990')
    """
    half = (max(values) - min(values)) / 2
    decimals = min(max(3, 1 - math.floor(math.log10(half))), 6) if half > 0 else 3
    return "seeds: " + ", ".join(f"{value:.{decimals}f}" for value in values).replace("-", "\N{MINUS SIGN}")
