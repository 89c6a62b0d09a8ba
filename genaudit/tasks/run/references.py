"""References by name: `reference=adm/imagenet256` is what `configs/reference/adm/imagenet256.yaml` says.

An entry is data, and never makes or imports anything:

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

Folders of --config-dir and installed packages (`genaudit.plugins`) may add entries.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genaudit.errors import UserError
from genaudit.reading import read_text
from genaudit.remote.address import is_remote
from genaudit.remote.fetch import find
from genaudit.tasks.run.config_folders import config_folders

GROUP = "reference"
HOLDS = ("moments", "spatial moments", "images", "features")
_NAME = re.compile(r"[\w-]+(/[\w-]+)*")
_KEYS = ("url", "file", "sha256", "bytes", "holds", "networks", "n", "images", "crop", "license", "source")


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
