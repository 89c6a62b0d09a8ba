"""A table that is listed with its published numbers and not recomputed, for a reason that it states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genaudit.errors import UserError
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Table
from genaudit_papers.published import published


class PublishedOnly:
    """Says what the table would need, and why genaudit does not recompute it.

    Args:
        paper, table: as `published` calls them.
        requires: what the authors used. why: why there is no recipe. instead: another recipe or verb that comes near.
    """

    def __init__(self, paper: str, table: str, *, requires: Sequence[str], why: str, instead: str = "") -> None:
        self.table = published(paper, table)
        self.requires, self.why, self.instead = list(requires), why, instead

    @property
    def published_only(self) -> str:
        """The sentence that the listing and the verb print."""
        beside = f" {self.instead}" if self.instead else ""
        return f"published numbers only: {self.why}{beside}"

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """What the authors used, and the missing recipe, so that it is never run."""
        return [Need("a recipe", False, self.published_only), *(Need(what, False) for what in self.requires)]

    def run(self, context: Context) -> Table:
        """Refuses.

        Raises:
            UserError: always.
        """
        raise UserError(self.published_only)
