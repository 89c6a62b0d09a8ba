"""What a role's source stands for on this machine: references by name and files elsewhere are fetched first.

`reference=adm/imagenet256` is what `configs/reference/adm/imagenet256.yaml` says. Such an entry is data, and never
makes or imports anything:

    # What it is, in one line, for `genaudit list references`.
    url: https://example.org/stats.npz    # or a list: the first and its mirrors; or file: stats.npz beside the YAML
    sha256: null                          # of the file; null: trusted on first use
    bytes: null
    holds: [moments]                      # moments, spatial moments, images, features
    networks: {fid_inception: {preprocessing: clean-fid}}   # of the moments: the YAML's name and the keys that prepare
    n: 50000                              # images behind the moments
    images: null                          # images in the file
    crop: null
    license: ...
    source: ...                           # where these facts come from

Folders of --config-dir and installed packages (`genaudit.config_files`) may add entries.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genaudit.config_files import config_folders
from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.braces import expand
from genaudit.data.ignored import Note
from genaudit.errors import UserError
from genaudit.output import told
from genaudit.reading import read_text
from genaudit.remote.address import is_remote, shown
from genaudit.remote.fetch import Fetched, fetch, find
from genaudit.remote.here import here, label
from genaudit.reports.report import ReportWarning
from genaudit.tasks.run.progress import Progress

GROUP = "reference"
HOLDS = ("moments", "spatial moments", "images", "features")
_NAME = re.compile(r"[\w-]+(/[\w-]+)*")
_KEYS = ("url", "file", "sha256", "bytes", "holds", "networks", "n", "images", "crop", "license", "source")
ROLE = "reference"
BY_NAME = "reference-by-name"  # the code of what a report says of a registered reference


@dataclass(frozen=True)
class Entry:
    """A registered reference; see the module. `addresses` is empty where `file` is there."""

    name: str
    about: str
    addresses: tuple[str, ...]
    file: Path | None
    sha256: str
    bytes: int | None
    holds: tuple[str, ...]
    networks: Mapping[str, Mapping[str, Any]]
    n: int | None
    images: int | None
    crop: str
    license: str
    source: str
    origin: str = field(default="", compare=False)

    @property
    def needs(self) -> str:
        """The words that give a run its networks: `feature_model=NAME feature_model.preprocessing=clean-fid`."""
        names = list(self.networks)
        if len(names) == 1:
            keys = [f"feature_model.{key}={value}" for key, value in self.networks[names[0]].items()]
            return " ".join([f"feature_model={names[0]}", *keys])
        keys = [f"feature_model.{name}.{k}={v}" for name, given in self.networks.items() for k, v in given.items()]
        return " ".join([f"feature_model=[{','.join(names)}]", *keys]) if names else ""

    def here(self) -> Path | None:
        """The file where it is on this machine already."""
        if self.file is not None:
            return self.file if self.file.is_file() else None
        return find(self.addresses, self.sha256)


def registered(config_dir: str | None = None) -> dict[str, Entry]:
    """All entries by name.

    Raises:
        UserError: an entry that is not as it must be; names its file.
    """
    entries: dict[str, Entry] = {}
    for whose, folder in config_folders(config_dir):
        root = folder / GROUP
        for path in sorted(root.rglob("*.yaml")):
            name = path.relative_to(root).with_suffix("").as_posix()
            entries.setdefault(name, _entry(name, path, whose))
    return entries


def named(text: Any, config_dir: str | None = None) -> Entry | None:
    """The entry that a source names: text that is no path and no address, and is registered."""
    if not isinstance(text, str) or not _NAME.fullmatch(text) or Path(text).exists():
        return None
    for whose, folder in config_folders(config_dir):
        path = folder / GROUP / f"{text}.yaml"
        if path.is_file():
            return _entry(text, path, whose)
    return None


def meant(text: Any) -> str:
    """What to add to the message about a path that is not there: names that are like it."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        return ""
    close = difflib.get_close_matches(text, registered(), n=2, cutoff=0.7)
    return f" Or did you mean {' or '.join(close)} (`genaudit list references`)?" if close else ""


def _entry(name: str, path: Path, whose: str) -> Entry:
    from omegaconf import OmegaConf

    try:
        text = read_text(path, 1 << 16)
        found: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except Exception as error:  # whatever YAML makes of it
        raise UserError(f"{path} cannot be read as a reference ({str(error).splitlines()[0]})") from None
    try:
        return _checked(name, path, whose, found, _comment(text))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no reference: {error}; docs/references.md has an example") from None


def _checked(name: str, path: Path, whose: str, found: Any, comment: str) -> Entry:
    if not isinstance(found, dict):
        raise ValueError("keys and values are needed")
    if unknown := [str(key) for key in found if key not in _KEYS]:
        raise ValueError(f"unknown key {unknown[0]}; there are {', '.join(_KEYS)}")
    url, file = found.get("url"), found.get("file")
    addresses = tuple([url] if isinstance(url, str) else url or ())
    if bool(addresses) == bool(file) or not all(is_remote(each) for each in addresses):
        raise ValueError("url (one address or a list) or file is needed")
    sha256 = found.get("sha256") or ""
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
        raise ValueError(f"sha256={sha256}: 64 hexadecimal digits or null are needed")
    holds = tuple(found.get("holds") or ())
    if not holds or not set(holds) <= set(HOLDS):
        raise ValueError(f"holds={list(holds)}: some of {', '.join(HOLDS)} are needed")
    networks = found.get("networks") or {}
    if not all(isinstance(keys, dict) for keys in networks.values()) or ("moments" in holds and not networks):
        raise ValueError(
            "networks: a name and its keys each are needed, as {fid_inception: {preprocessing: clean-fid}}"
        )
    counts = {key: found.get(key) for key in ("bytes", "n", "images")}
    for key, count in counts.items():
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise ValueError(f"{key} must be a positive integer or null, got {count}")
    if not found.get("source") or not found.get("license"):
        raise ValueError("source and license are needed; license: unknown says that nobody knows")
    return Entry(
        name=name,
        about=comment,
        addresses=addresses,
        file=None if file is None else path.parent / str(file),
        sha256=str(sha256),
        holds=holds,
        networks=networks,
        crop=str(found.get("crop") or ""),
        license=str(found["license"]),
        source=str(found["source"]),
        origin=whose,
        **counts,
    )


def _comment(text: str) -> str:
    lines: Sequence[str] = text.splitlines()
    until = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ").rstrip() for line in lines[:until])


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


def entry_of(source: Any) -> Entry | None:
    """The registered reference behind a source, or behind what it was opened as."""
    moments = source.moments if isinstance(source, ImageSet) else source
    if isinstance(moments, Moments):
        return named(moments.about.get("reference"))
    return source if isinstance(source, Entry) else named(source)


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
