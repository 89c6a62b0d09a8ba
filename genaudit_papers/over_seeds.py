"""A number that several seeds gave, beside the published one: a single training is no finding."""

from __future__ import annotations

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
    note = "seeds: " + ", ".join(f"{value:.3f}" for value in values) if several else ""
    return replace(compared(cell, float(np.mean(values)), unit=unit, note=note, **ends), trainings=len(values))
