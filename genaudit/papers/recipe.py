"""What a recipe of a paper's table is: it says what it needs, and computes the table step by step.

A recipe is a class in `genaudit.papers.recipes`, made from the YAML of the same name in `configs/table/`. Each costly
part of it is a step whose result is kept in the recipe's folder, so that a run that was cut off goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from genaudit.papers.table import Table

Scale = Literal["laptop", "paper"]


@dataclass(frozen=True)
class Need:
    """Something that a recipe needs: what, whether this machine has it, and how to get it."""

    what: str
    have: bool
    how: str = ""


def _silent(message: str) -> None:
    pass


@dataclass
class Context:
    """Where and how a recipe runs.

    Attributes:
        scale: "laptop" or "paper".
        folder: the recipe's own, kept between runs.
        data: the root of the user's datasets, or None.
        store: the row store. device: for networks. seed: of everything random.
        report: takes a line for the person who waits.
    """

    scale: Scale
    folder: Path
    data: Path | None
    store: Path
    device: str = "cpu"
    seed: int = 0
    report: Callable[[str], None] = field(default=_silent)

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of `compute()`, which JSON must be able to hold; read back where an earlier run left it.

        Args:
            name: of the step, a file name; tells apart everything that the result depends on within this recipe.
        """
        path = self.folder / "steps" / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text())
        self.report(name)
        result = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(result))
        os.replace(temporary, path)
        # what a first and a later run see must not differ: tuples become lists now, not only when read back
        return json.loads(path.read_text())


class Recipe(Protocol):
    """A table or figure that can be recomputed."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """What it needs at this scale, given the root of the user's datasets."""

    def run(self, context: Context) -> Table:
        """Recomputes it; called only where every need is met."""
