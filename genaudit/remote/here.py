"""Any address as a path on this machine: a file over HTTP, or a file or folder of a store."""

from __future__ import annotations

from pathlib import Path

from genaudit.remote.address import STORES, scheme_of, shown
from genaudit.remote.fetch import fetch
from genaudit.remote.filesystems import mirror
from genaudit.remote.http import Advance


def here(address: str, *, what: str, offline: bool = False, advance: Advance | None = None) -> tuple[Path, str]:
    """Where the content of an address lies now, and what else is to be said ("" for nothing).

    Args:
        what: the key that names it, for messages. advance: called with (bytes here, bytes in all or None).

    Raises:
        UserError: it cannot be had.
    """
    if scheme_of(address) in STORES:
        mirrored = mirror(address, what=what, offline=offline, advance=advance)
        return mirrored.path, mirrored.note
    got = fetch([address], what=what, offline=offline, advance=advance)
    return got.path, got.note


def label(addresses: list[str]) -> str:
    """Addresses for people and reports."""
    named = ", ".join(map(shown, addresses[:3]))
    return named if len(addresses) <= 3 else f"{named} and {len(addresses) - 3:,} more"
