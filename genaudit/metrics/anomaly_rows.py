"""Rows of the anomaly measure, as AS and AS-i read them.

Columns are complexity (radians), vulnerability (feature units), and, where they were measured, complexity_lag2,
complexity_se, vulnerability_se. An angle between differences two steps apart (lag 2) that is smaller than the one
between neighbours marks a complexity that is rounding noise: on a smooth path it is larger. N images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.metrics.result import Caution
from genaudit.stats.arrays import RowsLike

COLUMNS = ("complexity", "vulnerability", "complexity_lag2", "complexity_se", "vulnerability_se")
COMPLEXITY, VULNERABILITY, LAG2, COMPLEXITY_SE, VULNERABILITY_SE = range(5)
NOISE_SHARE = 0.05  # above this share of images whose complexity is rounding noise, the result carries a warning


def table_of(rows: Any, name: str) -> np.ndarray:
    """Anomaly rows in memory, float64 (N, 2 to 5): a few numbers per image. NaN may stand in them."""
    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().numpy()
    elif not isinstance(rows, (np.ndarray, list, tuple)) and isinstance(rows, RowsLike):
        rows = rows[: len(rows)]
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0 or table.shape[1] < 2:
        raise ValueError(f"{name} must have shape (N, 2 or more) with columns {', '.join(COLUMNS)}, not {table.shape}")
    return table


def column(table: np.ndarray, index: int) -> np.ndarray | None:
    """A column that may not have been measured."""
    if table.shape[1] <= index or not np.isfinite(table[:, index]).any():
        return None
    return table[:, index]


def is_noise(table: np.ndarray) -> np.ndarray:
    """Whether an image's complexity is rounding noise (N,); False where no lag-2 angle was measured."""
    lag2 = column(table, LAG2)
    if lag2 is None:
        return np.zeros(len(table), bool)
    below: np.ndarray = lag2 < table[:, COMPLEXITY]  # False for NaN
    return below


def noise_share(table: np.ndarray) -> float | None:
    return None if column(table, LAG2) is None else float(is_noise(table).mean())


def cautions_of(
    noise: dict[str, float | None], left_out: dict[str, int], tables: dict[str, np.ndarray]
) -> tuple[Caution, ...]:
    cautions = [
        Caution(
            "complexity-is-noise",
            f"The complexity of {share:.0%} of the {role} images is rounding noise (the angle two steps apart is "
            f"smaller than that of neighbouring steps): use float64 or a larger step for the anomaly measure.",
        )
        for role, share in noise.items()
        if share is not None and share > NOISE_SHARE
    ]
    cautions += [
        Caution(
            "images-left-out",
            f"{count} of {len(tables[role])} {role} images have no finite complexity and vulnerability (their features "
            f"do not change along the path) and are left out.",
        )
        for role, count in left_out.items()
        if count > 0
    ]
    return tuple(cautions)
