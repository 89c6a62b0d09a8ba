"""Which real images play the generated ones, so that a metric says what fresh real images would score.

    a metric takes               real images that play generated              against
    reference, train is given    train, without images of the reference       reference
    reference, no train          a half of reference                          the other half
    train                        reference, without training images           train
    train and reference (both)   a half of reference                          train and the other half
    reference at option alone    train, or else reference itself              nothing that the value depends on

A metric whose reference is at option and that can do with train (`irs`, `authpct`) leaves the reference out, since it
plays. The metric's YAML may say `real: halves` (the reference is part of the value even where train is given) or
`real: none` (real images in place of generated ones have no meaning for it).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from genaudit.metrics.result import RealSource

Mode = Literal["auto", "halves", "none"]


@dataclass(frozen=True)
class Pairing:
    """Who plays generated (`plays`), the roles that are handed on as they are, and the name in the reports.

    With `halves` a part of `plays` plays generated and the rest plays itself.
    """

    plays: str
    keeps: tuple[str, ...]
    source: RealSource
    halves: bool = False


def pairing(takes: Mapping[str, bool], rows: Collection[str], mode: Mode = "auto") -> Pairing | None:
    """How real images play generated ones for a metric; None where none can.

    Args:
        takes: the roles that the metric takes => whether it needs them.
        rows: the roles whose rows are there; those that a metric does not take may play.
        mode: what the metric's YAML says.
    """
    if mode == "none" or "generated" not in takes:
        return None
    given = tuple(role for role in takes if role in rows and role not in ("generated", "reference"))
    halves = Pairing("reference", given, "reference_halves", halves=True) if "reference" in rows else None
    if "train" in takes and "train" in rows:
        if "reference" not in rows:
            return None
        return halves if takes.get("reference") or mode == "halves" else Pairing("reference", given, "reference")
    if "reference" not in takes:
        return None
    if takes["reference"] or "train" in takes or mode == "halves":
        return Pairing("train", (*given, "reference"), "train") if _may_play(takes, rows, mode) else halves
    keeps = (*given, *(role for role in ("reference",) if role in rows))
    if "train" in rows:
        return Pairing("train", keeps, "train")
    return Pairing("reference", keeps, "reference") if "reference" in rows else None


def _may_play(takes: Mapping[str, bool], rows: Collection[str], mode: Mode) -> bool:
    """Whether training images can play generated ones against the reference."""
    return "train" in rows and "train" not in takes and mode != "halves"
