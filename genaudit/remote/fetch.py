"""Fetches a file from one of its addresses, verifies it and keeps it; what is here already is not fetched again.

Three kinds of trust. A file whose SHA-256 is known is that file or an error, and the network is asked only where it is
not here. One that is trusted on first use is compared with what its address gave then. Any other address is asked
whether its file has changed, and the copy that is here serves where nobody answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genaudit.errors import UserError
from genaudit.reading import sha256_of_file
from genaudit.remote import http
from genaudit.remote.address import check_address, name_of, shown
from genaudit.remote.cache import Cache, Record, key_of, now
from genaudit.remote.http import Advance, Failed, Validator


@dataclass(frozen=True)
class Fetched:
    """A file that is here now.

    Attributes:
        path: of the file. address: that gave it, as people may see it. sha256, size: of its content.
        first_use: its content is trusted from now on, because nothing was known of it. since: when it was fetched.
        note: what else is to be said: that it changed, or that nobody could be asked.
    """

    path: Path
    address: str
    sha256: str
    size: int
    first_use: bool = False
    since: str = ""
    note: str = ""


def is_offline(offline: bool = False) -> bool:
    """Whether the network must not be asked: offline=true, or HF_HUB_OFFLINE=1, which says so to every tool."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch(
    addresses: Sequence[str],
    *,
    what: str,
    sha256: str = "",
    size: int | None = None,
    first_use: bool = False,
    offline: bool = False,
    cache: Cache | None = None,
    advance: Advance | None = None,
) -> Fetched:
    """A file by its addresses, which are tried in their order: the first and its mirrors.

    Args:
        what: the key or thing that needs it, for messages: "feature_model fid_inception".
        sha256: of the file, whole or its beginning (at least 8 digits), where it is known. size: in bytes, likewise.
        first_use: trust what comes the first time and nothing else afterwards.
        offline: take what is here and ask nobody. advance: called with (bytes here, bytes in all or None).

    Raises:
        UserError: it is not here and cannot be had, or is another file than it must be.
    """
    if not addresses:
        raise UserError(f"{what}: there is no address to fetch it from")
    for address in addresses:
        check_address(address, what)
    cache = Cache() if cache is None else cache
    main, name = addresses[0], name_of(addresses[0])
    with cache.alone(key_of(main)):
        record = cache.record_of(main)
        pinned = sha256 or (record.sha256 if record is not None and first_use else "")
        here = _here(cache, record, sha256, name)
        if here is not None and (pinned or is_offline(offline)):
            return here
        if is_offline(offline):
            why = "offline=true" if offline else "HF_HUB_OFFLINE is set"
            raise UserError(
                f"{what}: {shown(main)} is not on this machine ({why}; looked in {cache.root}). Run once with "
                "a network connection, or fetch it yourself and give its path."
            )
        getter = _Getter(cache, what, pinned, record if first_use and not sha256 else None, size, advance)
        return getter.get(addresses, name, None if pinned else record, here, first_use=first_use and not pinned)


def _here(cache: Cache, record: Record | None, sha256: str, name: str) -> Fetched | None:
    """The file as it is in the cache."""
    whole = sha256 if len(sha256) == 64 else record.sha256 if record is not None else ""
    if not whole.startswith(sha256) or not whole:
        return None
    path = cache.find(whole, name)
    if path is None:
        return None
    address, since = (record.address, record.fetched) if record is not None else ("", "")
    return Fetched(path, address, whole, path.stat().st_size, since=since)


def find(addresses: Sequence[str], sha256: str) -> Path | None:
    """The file of a known SHA-256 (or its beginning) where it was fetched before; nobody is asked."""
    cache = Cache()
    here = _here(cache, cache.record_of(addresses[0]), sha256, name_of(addresses[0]))
    return None if here is None else here.path


@dataclass(frozen=True)
class _Getter:
    cache: Cache
    what: str
    pinned: str  # the SHA-256 that the file must have, or the beginning of it; "": any
    trusted: Record | None  # the first use that says so
    size: int | None
    advance: Advance | None

    def get(
        self, addresses: Sequence[str], name: str, record: Record | None, here: Fetched | None, *, first_use: bool
    ) -> Fetched:
        failures: list[str] = []
        for number, address in enumerate(addresses):
            unless = None
            if here is not None and record is not None and number == 0:
                unless = Validator(record.etag, record.modified)
            try:
                validator, part, found = self._from(address, unless)
            except Failed as failure:
                failures.append(f"{shown(address)} {failure}")
                continue
            if validator is None or part is None:
                assert here is not None
                return here
            path = self.cache.keep(part, found, name)
            http.forget(part)
            new = Record(shown(address), found, path.stat().st_size, name, now(), validator.etag, validator.modified)
            self.cache.write_record(addresses[0], new)
            note = ""
            if record is not None and record.sha256 != found:
                note = f"{shown(address)} has changed since {record.fetched}: its new content is used"
            return Fetched(path, shown(address), found, new.size, first_use, new.fetched, note)
        if here is not None:
            return Fetched(
                here.path, here.address, here.sha256, here.size, since=here.since,
                note=f"{'; '.join(failures)}; the copy of {here.since} is used",
            )  # fmt: skip
        kept = any(self.cache.part(address).exists() for address in addresses)
        begun = "what has come is kept and the next run continues it; or " if kept else ""
        raise UserError(f"{self.what}: {'; '.join(failures)}: {begun}fetch it yourself and give its path")

    def _from(self, address: str, unless: Validator | None) -> tuple[Validator | None, Path | None, str]:
        """A whole file with the content that is wanted; a resumed one that has another is fetched again once."""
        part = self.cache.part(address)
        resumed = part.exists()
        while True:
            validator = self._receive(address, part, unless)
            if validator is None:
                return None, None, ""
            found = sha256_of_file(part)
            if found.startswith(self.pinned):
                return validator, part, found
            http.forget(part)
            if not resumed:
                raise self._other(address, found)
            resumed = False

    def _receive(self, address: str, part: Path, unless: Validator | None) -> Validator | None:
        verified = bool(self.pinned)
        return http.receive(address, part, verified=verified, size=self.size, unless=unless, advance=self.advance)

    def _other(self, address: str, found: str) -> Exception:
        if self.trusted is None:
            return Failed(f"gives another file: its SHA-256 is {found}, not {self.pinned}; it was not kept")
        return UserError(
            f"{self.what}: {shown(address)} gives another file than on {self.trusted.fetched}, when it was trusted on "
            f"first use: its SHA-256 is {found}, not {self.pinned}. Nothing of it was kept; where the change is meant, "
            f"remove {self.cache.record_path(address)}"
        )
