"""A number that several seeds gave, beside the published one: a single training is no finding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genaudit.reports.table import Cell
from genaudit_papers.published import PublishedCell, compared


def over_seeds_compared(cell: PublishedCell, values: Sequence[float], *, unit: str = "") -> Cell:
    """The seeds' mean beside the published number; the interval is their lowest and highest, a note lists them."""
    note = "seeds: " + ", ".join(f"{value:.3f}" for value in values)
    return compared(cell, float(np.mean(values)), lower=min(values), upper=max(values), unit=unit, note=note)
