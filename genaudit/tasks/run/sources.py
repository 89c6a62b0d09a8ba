"""What a role's source stands for on this machine: a reference by its name and files elsewhere are fetched first."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.braces import expand
from genaudit.data.ignored import Note
from genaudit.errors import UserError
from genaudit.output import told
from genaudit.remote.address import is_remote, shown
from genaudit.remote.fetch import Fetched, fetch
from genaudit.remote.here import here, label
from genaudit.reports.report import ReportWarning
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.references import Entry, named

ROLE = "reference"
BY_NAME = "reference-by-name"  # the code of what a report says of a registered reference


@dataclass(frozen=True)
class Local:
    """A source that is on this machine now, and what its name and its origin are.

    Attributes:
        source: what `open_images` takes. label: its name for people and reports; None: the source's own.
        entry: where it is a registered reference. fetched: where it was fetched.
    """

    source: Any
    label: str | None = None
    entry: Entry | None = None
    fetched: Fetched | None = None

    def __str__(self) -> str:
        return str(self.source) if self.label is None else self.label

    def open_source(self) -> Any:
        return self.source

    def finish(self, opened: Any) -> Any:
        """The opened role under its name, with what the registry says of it."""
        if isinstance(opened, (Moments, FeatureSet)) and self.label is not None:
            opened = replace(opened, source=self.label)
        if self.entry is None:
            return opened
        if isinstance(opened, Moments):
            return _described(opened, self.entry, self.fetched)
        if isinstance(opened, ImageSet):
            note = Note(BY_NAME, sentence(self.entry, self.fetched))
            moments = opened.moments and _described(opened.moments, self.entry, self.fetched)
            return replace(opened, moments=moments, notes=(*opened.notes, note))
        return opened


def local(role: str, source: Any, *, offline: bool, progress: bool, config_dir: str | None = None) -> Local:
    """A source whose files are here.

    Raises:
        UserError: a file that cannot be had, or is another one than it must be.
    """
    entry = source if isinstance(source, Entry) else named(source, config_dir) if role == ROLE else None
    if entry is not None:
        return _of_entry(entry, offline, progress)
    if is_remote(source):
        paths = _fetched([source], role, offline, progress)
        return Local(paths[0] if len(paths) == 1 else paths, shown(source))
    if isinstance(source, (list, tuple)) and any(map(is_remote, source)):
        texts = [os.fspath(each) for each in source if isinstance(each, (str, os.PathLike))]
        if len(texts) == len(source):
            return Local(_fetched(texts, role, offline, progress), label(texts))
    return Local(source)


def _fetched(texts: Sequence[str], what: str, offline: bool, progress: bool) -> list[str]:
    """Paths for addresses, brace patterns of them (`s-{000..012}.tar`) one by one."""
    listed = [each for text in texts for each in (expand(text, what) if is_remote(text) else [text])]
    paths = []
    for text in listed:
        if not is_remote(text):
            paths.append(text)
            continue
        with Progress(progress).scan(f"fetch {shown(text)}", unit="bytes") as scanned:
            path, note = here(text, what=what, offline=offline, advance=_told(scanned))
        if note:
            told.note(f"{what}: {note}")
        paths.append(str(path))
    return paths


def _told(scanned: Callable[[int, int], None]) -> Callable[[int, int | None], None]:
    return lambda done, total: scanned(done, total or done)


def _of_entry(entry: Entry, offline: bool, progress: bool) -> Local:
    what = f"{ROLE}={entry.name}"
    if entry.file is not None:
        if not entry.file.is_file():
            raise UserError(f"{what}: {entry.file} does not exist, which its YAML names")
        return Local(str(entry.file), entry.name, entry)
    with Progress(progress).scan(f"fetch {entry.name}", unit="bytes") as scanned:
        got = fetch(
            entry.addresses,
            what=what,
            sha256=entry.sha256,
            size=entry.bytes,
            first_use=True,
            offline=offline,
            advance=_told(scanned),
        )
    if got.first_use:
        told.note(
            f"{what}: its SHA-256 is not published; trusted on first use is {got.sha256}, which is checked from now on"
        )
    return Local(str(got.path), entry.name, entry, got)


def _described(moments: Moments, entry: Entry, fetched: Fetched | None) -> Moments:
    """Moments that say of which networks they are and where they come from."""
    parts = moments.by_network or dict.fromkeys(entry.networks, moments)
    by_network = {}
    for name, part in parts.items():
        if name in entry.networks:
            about = {**part.about, "feature_model": name, "reference": entry.name}
            spatial = part.spatial and replace(part.spatial, about=about)
            n = part.n if part.n is not None else entry.n
            by_network[name] = replace(part, about=about, n=n, spatial=spatial, source=entry.name)
    n = moments.n if moments.n is not None else entry.n
    about = {**moments.about, "reference": entry.name, "said": sentence(entry, fetched)}
    return replace(moments, about=about, n=n, by_network=by_network, source=entry.name)


def named_warnings(role: Any) -> list[ReportWarning]:
    """What the report says of moments by name; of images their notes say it."""
    said = role.about.get("said") if isinstance(role, Moments) else None
    return [ReportWarning(BY_NAME, None, f"reference: {said}.")] if said else []


def sentence(entry: Entry, fetched: Fetched | None) -> str:
    """What the report says of a reference by name: equal for equal files."""
    said = f"{entry.name} ({entry.source}; {entry.license})"
    if fetched is None:
        return f"{said} is {entry.file}"
    trust = "as its entry states" if entry.sha256 else f"which nobody publishes: what {fetched.address} gave first"
    return f"{said} is {fetched.address}, SHA-256 {fetched.sha256}, {trust}"
