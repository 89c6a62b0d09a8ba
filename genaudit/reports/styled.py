"""Tables and lines of the console in one style, of which no number is ever folded.

What they hold is shown, never obeyed. Columns that do not fit stand in a further table below. A cell may have lines of
its own (a number, its interval below it); none of them is broken. Columns that name the rows begin every table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from genaudit.errors import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

PLAIN_WIDTH = 160  # columns where the output is not a terminal: nothing is cut
GAP = 2  # between columns
LABEL = 28  # characters of a heading that names a run
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def make_console(stream: TextIO | None = None) -> Console:
    """A console on `stream` (standard output), wide enough for whole tables where it is not a terminal."""
    from rich.console import Console
    from rich.segment import Segment

    class Escaping(Console):
        """Shows control characters of what it prints, whoever forgot to; its own codes are not in the text."""

        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            for shown, style, control in super().render(renderable, options):
                yield Segment(shown if control else visible(shown), style, control)

    console = Escaping(file=stream, highlight=False, force_jupyter=False)
    if console.is_terminal:
        return console
    return Escaping(file=stream, highlight=False, force_jupyter=False, width=PLAIN_WIDTH)


def new_table(plain: bool) -> Table:
    """A table in the style of all tables: a line under the header, none around it."""
    from rich import box
    from rich.table import Table

    return Table(box=None if plain else box.SIMPLE_HEAD, header_style="bold", pad_edge=False)


def text(*pieces: tuple[str, str]) -> Text:
    """(text, style) pieces as one line; markup and control characters within are shown, not obeyed."""
    from rich.text import Text

    return Text.assemble(*((one_line(each), style) for each, style in pieces))


@dataclass(frozen=True)
class Column:
    """A heading and a cell a row; `right` for numbers."""

    heading: Text
    cells: Sequence[Text]
    right: bool = False

    @property
    def width(self) -> int:
        """Of its longest line."""
        return max(line.cell_len for text in (self.heading, *self.cells) for line in (text.split("\n") or [text]))


@dataclass(frozen=True)
class Fitted:
    """Columns that name the rows, and columns of numbers, as one table or as several; `plain` without lines."""

    names: Sequence[Column]
    columns: Sequence[Column]
    plain: bool = False

    def parts(self, width: int) -> Iterator[Sequence[Column]]:
        """The columns of each table that a console of `width` holds, one at the least."""
        room = width - sum(column.width + GAP for column in self.names)
        part: list[Column] = []
        used = 0
        for column in self.columns:
            if part and used + column.width > room:
                yield part
                part, used = [], 0
            part.append(column)
            used += column.width + GAP
        yield part

    def fits(self, width: int) -> bool:
        """Whether one table holds all columns."""
        return len(list(self.parts(width))) == 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.text import Text

        for place, part in enumerate(self.parts(options.max_width)):
            if place:
                yield Text()
            yield self._table(part)

    def _table(self, part: Sequence[Column]) -> Table:
        table = new_table(self.plain)
        shown = (*self.names, *part)
        for column in shown:
            justify: Any = "right" if column.right else "left"
            table.add_column(column.heading, no_wrap=True, justify=justify, min_width=column.width)
        for cells in zip(*(column.cells for column in shown), strict=True):
            table.add_row(*cells)
        return table


def shortened(label: str, longest: int = LABEL) -> str:
    """A name cut in its middle: its end tells runs apart.

    >>> shortened("a_model_with_a_name/step_001000", 20)
    'a_mode…e/step_001000'
    """
    if len(label) <= longest:
        return label
    end = longest * 2 // 3
    return f"{label[: longest - end - 1]}{ELLIPSIS}{label[-end:]}"
