"""What a preset says of itself, and how many images its authors use.

A preset (`configs/preset/NAME.yaml`) holds the differences to genaudit's defaults that give another tool's or paper's
numbers: networks, preprocessing, settings of metrics. Its node `preset` names its source and the authors' counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaudit.data import Moments
from genaudit.reports.report import ReportWarning
from genaudit.tasks.run.roles import Role


def preset_warnings(cfg: Any, roles: Mapping[str, Role]) -> list[ReportWarning]:
    """A warning for each role that has another number of images than the preset's authors use."""
    preset = cfg.get("preset")
    if not preset:
        return []
    warnings = []
    for role, count in (preset.get("counts") or {}).items():
        images = roles.get(role)
        n = None if images is None else images.n if isinstance(images, Moments) else len(images)
        if n is not None and n != count:
            message = (
                f"preset={preset.name}: its authors use {count:,} {role} images ({preset.source}), these are {n:,}. "
                "Values that depend on the number of images are not comparable with theirs."
            )
            warnings.append(ReportWarning("counts-of-preset", None, message))
    return warnings
