"""explore.html: every generated image of a run with its columns, to sort, filter, look at and pick names from.

The page loads nothing from a network; its one script and its style sheet run by their hashes (`strict_page`). Up to
`EMBEDDED` images the pictures lie in the page; above, in the folder `explore` beside it. An image that is opened is
read from its own file where that is still there and larger. Names come from strangers' files: they reach the page as
escaped JSON and are only ever set as text, or as a path that is escaped part by part.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from genaudit.errors import one_line
from genaudit.metrics.result import Pictures, RoleImage
from genaudit.reports.sprites import Sprites, data_uri, pack

if TYPE_CHECKING:
    from genaudit.reports.report import Report

PAGE, FOLDER = "explore.html", "explore"
EMBEDDED = 2_000  # images whose pictures lie in the page itself
MOST = 50_000  # images of a page
# up to so many images: pixels of a picture's longer side, so that a page stays near 40 MB and a folder near 150 MB
SIDES = ((60, 1024), (250, 512), (500, 256), (EMBEDDED, 128), (5_000, 256), (20_000, 160), (MOST, 112))
FEW = 1_000  # different words of a column that is filtered by choosing one: ImageNet's classes


@dataclass
class Explorer:
    """The page of one report, in two steps: `pictures` (which fills the folder, if there is one), then `html`.

    Attributes:
        out: the folder that the page will stand in, from which the images' own files are linked; None: they are not.
        chosen: (N,) the generated images that the page shows: all, or `MOST` evenly spaced.
    """

    report: Report
    out: Path | None = None
    chosen: np.ndarray = field(init=False)
    pointed: dict[str, np.ndarray] = field(init=False, default_factory=dict)  # role => indices of its images
    sprites: Sprites | None = field(init=False, default=None)
    pointed_sprites: dict[str, Sprites] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        count = self.total
        self.chosen = np.linspace(0, count - 1, min(count, MOST)).round().astype(np.int64)
        for role, indices in self.report.pointers.values():
            found = indices[self.chosen]
            known = self.pointed.get(role, np.zeros(0, np.int64))
            self.pointed[role] = np.union1d(known, found[found >= 0])

    @property
    def total(self) -> int:
        """Generated images of the run."""
        return len(next(iter(self.report.images.values()), ()))

    @property
    def embedded(self) -> bool:
        """Whether the pictures lie in the page."""
        return len(self.chosen) <= EMBEDDED

    def pictures(self, folder: Path | None) -> None:
        """Packs the pictures, into files of `folder` where one is given."""
        side = next(side for most, side in SIDES if len(self.chosen) <= most)

        def packed(role: str, indices: np.ndarray, prefix: str) -> Sprites:
            def keep(number: int, kind: str, data: bytes) -> str:
                if folder is None:
                    return data_uri(kind, data)
                name = f"{prefix}-{number:04d}.{'jpg' if kind == 'jpeg' else kind}"
                (folder / name).write_bytes(data)
                return f"{FOLDER}/{name}"

            return pack(self.report.pictures.get(role), indices, side, keep)

        self.sprites = packed("generated", self.chosen, "generated")
        self.pointed_sprites = {role: packed(role, each, f"nearest-{role}") for role, each in self.pointed.items()}

    def html(self) -> str:
        """The page, once the pictures are packed."""
        from genaudit.reports.html import strict_page

        source = self.report.roles["generated"].source if "generated" in self.report.roles else "run"
        names = {
            "title": Path(str(source)).name or str(source),
            "count": len(self.chosen),
            "total": self.total,
            "data": escaped_json(self.data()),
            "beside": not self.embedded or any(map(self._folder, self.report.pictures)),
        }
        return strict_page("explore.html.j2", names, script="explore.js", style="explore.css")

    def data(self) -> dict[str, Any]:
        """What the script reads: names, columns, pictures."""
        assert self.sprites is not None, "pictures come first"
        return {
            "names": [one_line(self.report.images["name"][index]) for index in self.chosen],
            "columns": [self._column(name) for name in self.report.images if name != "name"],
            "pictures": self.sprites.to_dict(),
            "folder": self._folder("generated"),
            "pointed": {
                role: {
                    "names": self._names(role, self.pointed[role]),
                    "pictures": sprites.to_dict(),
                    "folder": self._folder(role),
                }
                for role, sprites in self.pointed_sprites.items()
            },
            "more": self._more(),
        }

    def _folder(self, role: str) -> str:
        """The address of the folder of a role's files, seen from the page; empty where the images are no files."""
        folder = getattr(self.report.pictures.get(role), "folder", None)
        if folder is None or self.out is None:
            return ""
        try:
            path = os.path.relpath(os.path.abspath(folder), os.path.abspath(self.out))
        except ValueError:  # another drive
            return ""
        return quote(os.fsencode(Path(path).as_posix())) + "/"

    def _names(self, role: str, indices: np.ndarray) -> list[str]:
        names = self.report.names.get(role)
        return [one_line(names[index]) if names is not None else f"#{index}" for index in indices]

    def _column(self, name: str) -> dict[str, Any]:
        """A column as numbers, as one of few words, as texts, or as places in a role's pictures."""
        if name in self.report.pointers:
            role, indices = self.report.pointers[name]
            found = indices[self.chosen]
            places = np.where(found >= 0, np.searchsorted(self.pointed[role], found), -1)
            return {"name": name, "kind": "image", "role": role, "codes": _packed(places, "<i4")}
        column = self.report.images[name]
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            return {"name": name, "kind": "number", "numbers": _packed(column[self.chosen], "<f8")}
        texts = ["" if column[index] is None else one_line(column[index]) for index in self.chosen]
        words = sorted(set(texts))
        if len(words) <= min(FEW, len(texts) // 2):
            codes = np.searchsorted(np.array(words), np.array(texts))
            return {"name": name, "kind": "word", "words": words, "codes": _packed(codes, "<i4")}
        return {"name": name, "kind": "text", "texts": texts}

    def _more(self) -> dict[int, list[dict[str, Any]]]:
        """What metrics made of single images, such as reconstructions: by the image's place, title and picture."""
        places = {int(index): place for place, index in enumerate(self.chosen)}
        found: dict[int, list[dict[str, Any]]] = {}
        for entry in self.report.metrics.values():
            for drawing in (each for each in entry.parts.drawings if isinstance(each, Pictures)):
                for row in drawing.rows:
                    owner: int | None = None
                    for column, cell in enumerate(row.cells):
                        if isinstance(cell, RoleImage):
                            owner = places.get(cell.index) if cell.role == "generated" else None
                        elif owner is not None:
                            title = drawing.columns[column] if column < len(drawing.columns) else ""
                            found.setdefault(owner, []).append({"title": title or "made", **_alone(cell)})
        return found


def _alone(cell: np.ndarray) -> dict[str, Any]:
    """One picture as a sheet of its own."""
    packed = pack(lambda index: cell, [0], 256, lambda number, kind, data: data_uri(kind, data))
    return {"pictures": packed.to_dict()}


def _packed(numbers: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, dtype=dtype).tobytes()).decode()


def escaped_json(document: Mapping[str, Any]) -> str:
    """JSON that ends no element of a page, whatever its texts hold: ASCII without <, > and &."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def wanted(report: Report, explore: bool | str) -> tuple[bool, str]:
    """Whether to write the page, and what to tell the user where it is not written.

    "auto" writes it where the pictures lie in the page: above, they take a folder of up to about 150 MB, and a run that
    is one of many may not need it.
    """
    if explore is False or "generated" not in report.pictures or not len(report.images.get("name", ())):
        return False, ""
    count = len(report.images["name"])
    if explore is True or count <= EMBEDDED:
        return True, ""
    return False, f"{PAGE} shows all {count:,} images: explore=true writes it, with a folder of thumbnails"
