"""Lines and tables of the console in one style; what they hold is shown, never obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genaudit.errors import one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def new_table(plain: bool) -> Table:
    """A table in the style of all tables: a line under the header, none around it."""
    from rich import box
    from rich.table import Table

    return Table(box=None if plain else box.SIMPLE_HEAD, header_style="bold", pad_edge=False)


def text(*pieces: tuple[str, str]) -> Text:
    """(text, style) pieces as one line; markup and control characters within are shown, not obeyed."""
    from rich.text import Text

    return Text.assemble(*((one_line(each), style) for each, style in pieces))
