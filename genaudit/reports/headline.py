"""The headline table on the console, at any width: what fits beside the values, and what stands below them.

Where the whole table does not fit, numbers of images and remarks (p-values, nulls) stand below it, what real images
score takes lines of its own, and an arrow alone says which end is better; a column that still has no room begins a
further table. No number is ever folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genaudit.reports.html import UNDER, Block, ValueLine
from genaudit.reports.styled import Column, Fitted, text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text


@dataclass(frozen=True)
class Headline:
    """The metrics' blocks by name as a rich renderable; `plain` without lines."""

    blocks: Mapping[str, Block]
    plain: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        images = list(dict.fromkeys(block.n for block in self.blocks.values()))
        names, values = self._names(), self._values(wide=True)
        whole, beside = Fitted(names, [*values, *self._about(images)], self.plain), Fitted(names, values, self.plain)
        if whole.fits(options.max_width):
            yield whole
            if len(images) == 1:
                yield text((images[0], "dim"))
            return
        yield beside if beside.fits(options.max_width) else Fitted(names, self._values(wide=False), self.plain)
        for each in images:
            which = [name for name, block in self.blocks.items() if block.n == each]
            named = f" ({', '.join(which)})" if len(images) > 1 else ""
            yield text(("images ", "dim"), (each, ""), (named, "dim"))
        for name, block in self.blocks.items():
            if remarks := _remarks(block):
                yield text((name, "bold"), (f": {remarks}", "dim"))

    def _names(self) -> list[Column]:
        metrics = self._of_metrics("metric", {name: text((name, "bold")) for name in self.blocks})
        return [metrics, self._column("value", lambda line: text((line.name, "")))]

    def _values(self, *, wide: bool) -> list[Column]:
        numbers = self._column("", lambda line: text((line.number, "bold")), right=True)
        interval = self._column("interval", lambda line: text((line.interval, "dim")))
        better = self._column("better" if wide else "", lambda line: text((_direction(line, wide), "dim")))
        if not any(line.real for line in self._lines):
            return [numbers, interval, better]
        real = self._column("real images", lambda line: _real(line, " " if wide else "\n"))
        return [numbers, interval, real, better] if wide else [numbers, interval, better, real]

    def _about(self, images: Sequence[str]) -> list[Column]:
        """What stands in the first line of each metric: its images, where metrics differ in them, and remarks."""
        remarks = self._of_metrics("", {name: text((_remarks(each), "dim")) for name, each in self.blocks.items()})
        if len(images) == 1:
            return [remarks]
        return [
            self._of_metrics("images", {name: text((each.n, "dim")) for name, each in self.blocks.items()}),
            remarks,
        ]

    def _of_metrics(self, heading: str, told: Mapping[str, Text]) -> Column:
        """A cell a metric, in the line of its first value."""
        cells = [
            told[name] if place == 0 else text()
            for name, block in self.blocks.items()
            for place in range(len(block.lines))
        ]
        return Column(text((heading, "")), cells)

    @property
    def _lines(self) -> list[ValueLine]:
        return [line for block in self.blocks.values() for line in block.lines]

    def _column(self, heading: str, cell: Any, *, right: bool = False) -> Column:
        return Column(text((heading, "")), [cell(line) for line in self._lines], right)


def _remarks(block: Block) -> str:
    """Without what a p-value is the chance under, which is said below the table."""
    return ", ".join(each.split(UNDER)[0] for each in block.beside)


def _real(line: ValueLine, gap: str) -> Text:
    """`0.91 ×1.01 (0.87 to 0.95)`, and what the generated images score where the floor has fewer, with gaps between."""
    real = line.real
    if real is None:
        return text(("", ""))
    shown = text((real.number, ""), (f" {real.ratio}".rstrip(), "bold"))
    for part in (real.interval and f"({real.interval})", real.again):
        if part:
            shown.append(gap).append_text(text((part, "dim")))
    return shown


def _direction(line: ValueLine, wide: bool) -> str:
    if not wide or not line.arrow:
        return line.arrow
    return f"{line.arrow} {line.direction.removesuffix(' is better')}"
