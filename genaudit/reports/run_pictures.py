"""What a comparison shows of a finished run besides its values: a link to its page, and pictures from it.

The pictures are the random generated images at the top of the run's report.html. They lie in that page, so that a run
that was moved, or whose samples are gone, still has them. The page may be a stranger's: only base64 of it passes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from genaudit.reports.gallery import Picture

if TYPE_CHECKING:
    from genaudit.reports.comparison import Run

PAGE = "report.html"
READ = 8_000_000  # characters of a page that are looked at
# up to so many runs: pictures of each
SHOWN = ((8, 6), (24, 2))
START, END = 'data-role="generated"', "</section>"
PICTURE = re.compile(r'<img src="(data:image/(?:png|webp);base64,[A-Za-z0-9+/=]{1,400000})"[^>]*?( class="pixels")?>')


def pictures_of(runs: Sequence[Run]) -> list[list[Picture]]:
    """For each run some random generated images, none where its page is not to be had or there are many runs."""
    count = next((shown for most, shown in SHOWN if len(runs) <= most), 0)
    return [_pictures(run, count) for run in runs]


def _pictures(run: Run, count: int) -> list[Picture]:
    page = _page(run)
    if not count or page is None:
        return []
    try:
        with open(page, encoding="utf-8", errors="replace") as stream:
            text = stream.read(READ)
    except OSError:
        return []
    part = text.partition(START)[2].partition("data-role=")[0].partition(END)[0]
    found = [PICTURE.match(part, place.start()) for place in re.finditer("<img ", part)]
    return [Picture(run.label, "a random image of", each[1], bool(each[2])) for each in [m for m in found if m][:count]]


def links_of(runs: Sequence[Run], out: Path | None) -> list[str | None]:
    """For each run the address of its page as seen from the folder `out`; None where there is none."""
    if out is None:
        return [None] * len(runs)
    pages = [_page(run) for run in runs]
    return [None if page is None else _address(page, out) for page in pages]


def _page(run: Run) -> Path | None:
    page = run.path.with_name(PAGE)
    return page if run.path.name == "report.json" and page.is_file() else None


def _address(page: Path, out: Path) -> str | None:
    try:
        path = Path(os.path.relpath(page.resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive
        return None
    # "./" so that no name is taken for a scheme such as javascript:
    return "./" + quote(os.fsencode(path))
