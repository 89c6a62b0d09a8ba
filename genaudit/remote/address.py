"""Addresses of files elsewhere: `https://`, `http://`, `s3://`, `gs://` and `hf://`. Others are paths."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from genaudit.errors import UserError

WEB = ("https", "http")
STORES = ("s3", "gs", "hf")  # through fsspec
LONGEST = 100  # characters of a file's name in the cache
_SCHEME = re.compile(rf"({'|'.join((*WEB, *STORES))})://", re.IGNORECASE)


def is_remote(source: Any) -> bool:
    """Whether a source is text that names a file elsewhere.

    >>> is_remote("https://example.org/real.npz"), is_remote("real.npz")
    (True, False)
    """
    return isinstance(source, str) and _SCHEME.match(source) is not None


def scheme_of(address: str) -> str:
    return address.partition("://")[0].lower()


def shown(address: str) -> str:
    """The address for people and reports: without its query and fragment, which may hold a signature or a token.

    >>> shown("https://example.org/a.npz?signature=secret")
    'https://example.org/a.npz'
    """
    if scheme_of(address) in STORES:
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def name_of(address: str) -> str:
    """A name for the file in the cache, whose ending says its kind: of letters, digits and `._+-` alone.

    >>> name_of("https://example.org/a/real%20set.npz?download=1")
    'real_set.npz'
    """
    path = urlsplit(address).path if scheme_of(address) in WEB else address
    last = unquote(path.rstrip("/").rpartition("/")[2])
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", last).lstrip(".")
    return name[-LONGEST:] or "file"


def check_address(address: str, what: str) -> None:
    """Refuses an address that no request can be made of.

    Raises:
        UserError: no host, a name and password in it, or characters that no address has.
    """
    if scheme_of(address) not in WEB:
        return
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise UserError(f"{what}: {address} is no address ({error})") from None
    if not parts.hostname or not address.isprintable() or any(each.isspace() for each in address):
        raise UserError(f"{what}: {shown(address)} is no address: https://HOST/PATH without spaces is needed")
    if parts.username or parts.password:
        raise UserError(
            f"{what}: {shown(address)} is given with a name and password, which would stand in reports and histories; "
            "fetch the file yourself and give its path"
        )
