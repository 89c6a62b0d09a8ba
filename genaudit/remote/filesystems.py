"""Files and folders of `s3://`, `gs://` and `hf://`, through fsspec: listed, bounded, kept under their version.

fsspec is there already (torch and huggingface_hub need it) and so is Hugging Face's file system; s3fs and gcsfs are the
extra `genaudit-images[remote]`. Names come from a stranger's listing: none may lead out of the folder that keeps them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from genaudit.atomic import atomic_write
from genaudit.errors import UserError
from genaudit.reading import read_json
from genaudit.remote import http
from genaudit.remote.address import scheme_of
from genaudit.remote.cache import Cache, key_of
from genaudit.remote.fetch import is_offline
from genaudit.remote.http import Advance, one_reason

EXTRA = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
MOST_FILES = 2_000_000
_BLOCK = 1 << 20
_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "crc32c",
    "blob_id",
    "mtime",
    "LastModified",
    "last_commit",
    "created",
    "updated",
)


@dataclass(frozen=True)
class Listed:
    """A file of a listing: its path there, where it is kept, its size and what names its version."""

    there: str
    name: str
    size: int
    version: str


@dataclass(frozen=True)
class Mirrored:
    """What an address named, on this machine: a file, or a folder of files. `note` is what else is to be said."""

    path: Path
    files: int
    note: str = ""


def mirror(
    address: str, *, what: str, offline: bool = False, cache: Cache | None = None, advance: Advance | None = None
) -> Mirrored:
    """A file, a folder or what a pattern matches, copied here; files that did not change are not copied again.

    Args:
        what: the key that names it, for messages. advance: called with (bytes here, bytes in all).

    Raises:
        UserError: the extra is missing, nothing is there, nobody answers, or it is too large.
    """
    cache = Cache() if cache is None else cache
    home = cache.root / "folders" / key_of(address)
    with cache.alone(key_of(address)):
        latest = _latest(home)
        if is_offline(offline):
            if latest is None:
                raise UserError(f"{what}: {address} is not on this machine (offline=true; looked in {cache.root})")
            return _mirrored(home, latest)
        try:
            system = _filesystem(address)
            listed = _listing(system, address, what)
            version = _version_of(listed)
            if not (home / version).is_dir():
                _copy_all(system, listed, home, version, latest, what, advance)
            new = {"version": version, "only": listed[0].name if _is_file(address, listed) else ""}
            new["files"] = {each.name: [each.size, each.version] for each in listed}
            with atomic_write(home / "latest.json") as temporary:
                temporary.write_text(json.dumps(new))
            return _mirrored(home, new)
        except (UserError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:  # whatever a library of a cloud raises: no right, no network, no such bucket
            if latest is not None:
                note = f"{address} cannot be reached ({_reason(error)}); the copy that is here is used"
                return _mirrored(home, latest, note)
            raise UserError(f"{what}: {address} cannot be read ({_reason(error)})") from None


def _filesystem(address: str) -> Any:
    scheme = scheme_of(address)
    try:
        import fsspec

        return fsspec.filesystem(scheme)
    except (ImportError, ValueError):
        raise UserError(
            f"{scheme}:// needs the package {EXTRA[scheme]}: pip install 'genaudit-images[remote]'"
        ) from None


def _listing(system: Any, address: str, what: str) -> list[Listed]:
    """The files that an address names, in the order of their names."""
    path = system._strip_protocol(address)
    if any(each in address for each in "*?["):
        found = system.glob(address, detail=True)
        base = _before_pattern(path)
    elif (about := system.info(path))["type"] == "file":
        found, base = {about["name"]: about}, str(about["name"]).rpartition("/")[0]
    else:
        found, base = system.find(path, detail=True), path
    files = [each for each in found.values() if each.get("type") == "file" and not str(each["name"]).endswith("/")]
    if not files:
        raise UserError(f"{what}: {address} holds no file")
    if len(files) > MOST_FILES:
        raise UserError(f"{what}: {address} holds {len(files):,} files, more than the {MOST_FILES:,} that are fetched")
    listed = [_listed(each, base.rstrip("/"), address, what) for each in files]
    total = sum(each.size for each in listed)
    if total > http.MOST_BYTES:
        raise UserError(
            f"{what}: {address} holds {total:,} bytes, more than the {http.MOST_BYTES:,} that are fetched; copy it "
            "yourself and give the path"
        )
    return sorted(listed, key=lambda each: each.name)


def _listed(about: Any, base: str, address: str, what: str) -> Listed:
    there, size = str(about["name"]), about.get("size")
    name = there[len(base) :].lstrip("/") if there.startswith(f"{base}/") else there.rpartition("/")[2]
    parts = PurePosixPath(name).parts
    if not parts or any(part in ("..", ".", "/") or not _is_plain(part) for part in parts):
        raise UserError(f"{what}: {address} holds a file of the name {name!r}, which cannot be kept under it")
    if not isinstance(size, int) or size < 0:
        raise UserError(f"{what}: {address} does not say how large {name} is")
    version = next((f"{key}={about[key]}" for key in _VERSIONS if about.get(key)), "")
    return Listed(there, "/".join(parts), size, version[:400])


def _is_plain(part: str) -> bool:
    return part.isprintable() and "\\" not in part and ":" not in part and len(part.encode()) < 250


def _copy_all(
    system: Any, listed: list[Listed], home: Path, version: str, latest: Any, what: str, advance: Advance | None
) -> None:
    """Fills the folder of a version: links to the one before where a file is the same, else copies."""
    home.mkdir(parents=True, exist_ok=True)
    total = sum(each.size for each in listed)
    free = shutil.disk_usage(home).free - http.ROOM
    if total > free:
        raise UserError(f"{what}: its files have {total:,} bytes, and {home} has room for {max(0, free):,}")
    folder, before = home / f"{version}.part", home / str(latest["version"]) if latest else None
    known = latest["files"] if latest else {}
    done = 0
    for each in listed:
        path = folder / each.name
        path.parent.mkdir(parents=True, exist_ok=True)
        same = before is not None and each.version and known.get(each.name) == [each.size, each.version]
        if same and before is not None and not path.exists():
            with contextlib.suppress(OSError):
                os.link(before / each.name, path)
        if not path.is_file() or path.stat().st_size != each.size:
            _copy(system, each, path, what)
        done += each.size
        if advance is not None:
            advance(done, total)
    os.replace(folder, home / version)


def _copy(system: Any, file: Listed, path: Path, what: str) -> None:
    """One file, continued where an earlier try of this version ended."""
    part = path.with_name(f".{path.name[:100]}.part")
    have = part.stat().st_size if part.exists() else 0
    with system.open(file.there, "rb") as source, open(part, "ab" if 0 < have < file.size else "wb") as target:
        have = have if 0 < have < file.size else 0
        source.seek(have)
        while block := source.read(min(_BLOCK, file.size - have + 1)):
            have += len(block)
            if have > file.size:
                break
            target.write(block)
    if have != file.size:
        if have > file.size:
            part.unlink()
        raise UserError(f"{what}: {file.there} has {have:,} bytes or more, and its listing says {file.size:,}")
    os.replace(part, path)


def _version_of(listed: list[Listed]) -> str:
    """One name for all files as they are; a new one each time where a listing does not say which version a file is."""
    digest = hashlib.sha256(b"" if all(each.version for each in listed) else secrets.token_bytes(16))
    for each in listed:
        digest.update(f"{each.name}\0{each.size}\0{each.version}\n".encode())
    return digest.hexdigest()[:32]


def _is_file(address: str, listed: list[Listed]) -> bool:
    return len(listed) == 1 and not address.endswith("/") and address.rstrip("/").endswith(f"/{listed[0].name}")


def _latest(home: Path) -> Any:
    path = home / "latest.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = read_json(path, 1 << 30)
        if (home / found["version"]).is_dir() and re.fullmatch(r"[0-9a-f]{32}", found["version"]):
            return {"version": found["version"], "only": str(found["only"]), "files": dict(found["files"])}
    return None


def _mirrored(home: Path, latest: Any, note: str = "") -> Mirrored:
    folder = home / latest["version"]
    return Mirrored(folder / latest["only"] if latest["only"] else folder, len(latest["files"]), note)


def _before_pattern(path: str) -> str:
    """The folder below which a pattern's matches lie: `bucket/run` of `bucket/run/step_*/x.png`."""
    parts = path.split("/")
    until = next(i for i, part in enumerate(parts) if any(each in part for each in "*?["))
    return "/".join(parts[:until])


def _reason(error: BaseException) -> str:
    return one_reason(str(error) or type(error).__name__)
