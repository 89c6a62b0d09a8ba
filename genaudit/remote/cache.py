"""What was fetched, on this machine: files under the SHA-256 of their content, and a record for each address.

    files/SHA-256/NAME       a file, once, from however many addresses
    records/KEY.json         of an address: the SHA-256, size and version that it had, and when
    parts/KEY                the beginning of a file that is still to come
    folders/KEY/VERSION/     what lay in a folder of s3://, gs:// or hf://

Records outlive their files: what was trusted at its first use is compared with them for good.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genaudit.atomic import atomic_write
from genaudit.errors import UserError
from genaudit.folder_lock import locked
from genaudit.reading import read_json, sha256_of_file

VARIABLE = "GENAUDIT_DOWNLOADS"
_PAUSE = 0.2  # seconds between looks at a lock that another process holds


@dataclass(frozen=True)
class Record:
    """What an address gave.

    Attributes:
        address: without query. sha256, size: of the file. name: in the cache. fetched: date and time, UTC.
        etag, modified: the server's names of this version.
    """

    address: str
    sha256: str
    size: int
    name: str
    fetched: str
    etag: str = ""
    modified: str = ""


class Cache:
    """The folder of what was fetched: `GENAUDIT_DOWNLOADS`, else in the user's cache folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = downloads_folder() if root is None else root

    def record_of(self, address: str) -> Record | None:
        """What the address gave the last time.

        Raises:
            UserError: a record that cannot be read: what it was there to check would pass unchecked.
        """
        path = self.record_path(address)
        if not path.exists():
            return None
        try:
            found = read_json(path, 1 << 16)
            record = Record(**{key: found[key] for key in Record.__dataclass_fields__ if key in found})
            if not (len(record.sha256) == 64 and isinstance(record.size, int) and isinstance(record.name, str)):
                raise ValueError("it lacks a SHA-256 or a size")
            return record
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path}, the record of {address.partition('?')[0]}, cannot be read ({error}); remove it to begin again"
            ) from None

    def record_path(self, address: str) -> Path:
        return self.root / "records" / f"{key_of(address)}.json"

    def write_record(self, address: str, record: Record) -> None:
        with atomic_write(self.record_path(address)) as temporary:
            temporary.write_text(json.dumps(asdict(record), indent=1))

    def part(self, address: str) -> Path:
        return self.root / "parts" / key_of(address)

    def find(self, sha256: str, name: str) -> Path | None:
        """The file of a content, verified: under `name`, which is made where the content is there under another.

        A file whose size or time changed since it was verified is hashed again, and set aside where it is another.
        """
        folder = self.root / "files" / sha256
        there = [folder / name, *(sorted(folder.iterdir()) if folder.is_dir() else [])]
        for path in there:
            if path.name.startswith(".") or not path.is_file():
                continue
            if not self._is_whole(path, sha256):
                path.unlink(missing_ok=True)
                continue
            if path != folder / name:
                _link(path, folder / name)
                _note_verified(folder / name)
            return folder / name
        return None

    def keep(self, part: Path, sha256: str, name: str) -> Path:
        """Moves a whole file to its place."""
        path = self.root / "files" / sha256 / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, path)
        _note_verified(path)
        return path

    def _is_whole(self, path: Path, sha256: str) -> bool:
        with contextlib.suppress(OSError):
            if _seal(path).read_text() == _state(path):
                return True
        if sha256_of_file(path) != sha256:
            return False
        _note_verified(path)
        return True

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """One process at a time fetches an address; others wait, and find what it has fetched."""
        folder = self.root / "locks" / key
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(folder, "used"))
                    break
                except UserError:  # another process holds it, for as long as it lives
                    time.sleep(_PAUSE)
            yield


def downloads_folder() -> Path:
    """`GENAUDIT_DOWNLOADS`, else `genaudit/downloads` in the user's cache folder.

    Raises:
        UserError: there is no home folder.
    """
    given = os.environ.get(VARIABLE) or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "genaudit", "downloads"
    )
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UserError(f"no home folder can be found for {given}; {VARIABLE}=DIR names another") from None


def key_of(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:32]


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _seal(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _state(path: Path) -> str:
    state: Any = path.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ino}"


def _note_verified(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is hashed again the next time
        _seal(path).write_text(_state(path))


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without links
        with atomic_write(other) as temporary:
            shutil.copyfile(path, temporary)
