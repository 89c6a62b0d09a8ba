"""The roles that images play, in the order in which reports name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaudit.metrics.result import ROLES

COUNTED = ROLES[:3]  # have a column of their own in metrics.csv


def by_role(items: Mapping[str, Any]) -> dict[str, Any]:
    """`items` with generated, reference and train first, then other roles by name."""
    order = {role: place for place, role in enumerate(COUNTED)}
    return dict(sorted(items.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
