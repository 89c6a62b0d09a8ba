"""One file over HTTP: resumed where the last try ended (RFC 9110, section 14), bounded in size and in time.

Python's own `urllib` does it: it follows the system's proxies and certificates and is always there. pooch and
`torch.hub` begin again when a connection breaks; `huggingface_hub` resumes, but of its own hub alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genaudit import __version__
from genaudit.remote.address import scheme_of, shown

Advance = Callable[[int, int | None], None]  # bytes that are here, bytes in all where that is known

MOST_BYTES = 64 << 30  # of one file; a larger one is better fetched by hand
ROOM = 64 << 20  # bytes that stay free on the disk
TIMEOUT = 30.0  # seconds without a byte
SLOWEST = 1024, 60.0  # a connection that brings fewer bytes a second over so many seconds is given up
TRIES = 4  # in a row that bring nothing
MOST_TRIES = 40
DELAYS = (0.5, 2.0, 5.0)  # seconds before the next try
LONGEST_WAIT = 30.0  # of what a server asks for by Retry-After
_BLOCK = 1 << 18
_LATER = (408, 425, 429, 500, 502, 503, 504)  # worth another try


class Failed(Exception):
    """A file that could not be had; its text is a predicate: "answers 404 (Not Found)"."""


class _Again(Failed):
    """A fault that another try may not meet; `wait` is what the server asks for, in seconds."""

    def __init__(self, text: str, wait: float | None = None, *, slow: bool = False) -> None:
        super().__init__(text)
        self.wait, self.slow = wait, slow


@dataclass(frozen=True)
class Validator:
    """What names a version of a file on its server: a strong ETag, or the time of its last change."""

    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, headers: Any) -> Validator:
        return cls(str(headers.get("ETag") or "")[:256], str(headers.get("Last-Modified") or "")[:64])

    @property
    def for_range(self) -> str:
        """What `If-Range` takes: weak ETags are none."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    @property
    def conditional(self) -> dict[str, str]:
        """The headers that ask for the file only where it has changed."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.modified} if self.modified else {}


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to HTTP and HTTPS alone, and never from HTTPS to HTTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        kind = scheme_of(newurl)
        if kind not in ("http", "https") or (kind == "http" and scheme_of(req.full_url) == "https"):
            raise Failed(f"leads to {shown(newurl)}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def receive(
    address: str,
    part: Path,
    *,
    verified: bool = False,
    size: int | None = None,
    unless: Validator | None = None,
    advance: Advance | None = None,
) -> Validator | None:
    """Brings a file to `part`, where an earlier try may have left its beginning; None where it has not changed.

    Args:
        verified: the caller knows the file's SHA-256, so that a beginning without a validator may be continued.
        size: how many bytes the file has, where that is known. unless: ask only for another version than this.

    Raises:
        Failed: says why; what has come stays in `part` for the next time.
    """
    without_bytes = 0
    for _ in range(MOST_TRIES):
        before = _size(part)
        try:
            return _once(address, part, verified, size, unless, advance)
        except _Again as fault:
            without_bytes = 0 if _size(part) > before and not fault.slow else without_bytes + 1
            if without_bytes >= TRIES:
                raise Failed(str(fault)) from None
            wait = fault.wait if fault.wait is not None else DELAYS[min(without_bytes, len(DELAYS) - 1)]
            time.sleep(min(wait, LONGEST_WAIT))
    raise Failed(f"broke off {MOST_TRIES} times")


def forget(part: Path) -> None:
    """Removes what a try has left."""
    for path in (part, _beside(part)):
        path.unlink(missing_ok=True)


def _once(
    address: str, part: Path, verified: bool, size: int | None, unless: Validator | None, advance: Advance | None
) -> Validator | None:
    have, known = _size(part), _left_validator(part)
    headers = {"User-Agent": f"genaudit/{__version__}", "Accept-Encoding": "identity"}
    if have and (known.for_range or verified):
        headers["Range"] = f"bytes={have}-"
        headers |= {"If-Range": known.for_range} if known.for_range else {}
    elif unless is not None:
        headers |= unless.conditional
    with _opened(address, headers) as answer:
        if answer.status == 304 and unless is not None:
            return None
        if answer.status == 416:  # nothing lies beyond what is here: the whole file, or another one
            if _total(answer) == have and (size is None or size == have):
                return known
            forget(part)
            raise _Again("has another file than it had before")
        if answer.status == 304:
            raise Failed("answers 304 to a question that was not asked")
        if answer.status == 206 and not _continues(answer, have):
            forget(part)
            raise _Again("continues at another place than it was asked to")
        have = have if answer.status == 206 else 0
        total = _length(answer, have)
        if total is None and not verified and "chunked" not in (answer.headers.get("Transfer-Encoding") or ""):
            raise Failed("does not say how long the file is, so that a part could pass for the whole")
        _check_size(total, size, have, part)
        validator = Validator.of(answer.headers)
        part.parent.mkdir(parents=True, exist_ok=True)
        _beside(part).write_text(json.dumps({"etag": validator.etag, "modified": validator.modified}))
        with open(part, "ab" if have else "wb") as file:
            got = _copy(answer, file, have, min(each for each in (MOST_BYTES, total, size) if each), total, advance)
    if total is not None and got < total:
        raise _Again(f"broke off after {got:,} of {total:,} bytes")
    if size is not None and got != size:
        raise Failed(f"has {got:,} bytes, not {size:,}")
    return validator


def _copy(answer: Any, file: Any, have: int, most: int, total: int | None, advance: Advance | None) -> int:
    """Appends what comes; returns how many bytes the file has then."""
    least, seconds = SLOWEST
    since, mark = time.monotonic(), have
    while True:
        try:
            block = answer.read1(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Again(f"broke off after {have:,} bytes ({_reason(error)})") from None
        if not block:
            return have
        have += len(block)
        if have > most:
            raise Failed(f"sends more than the {most:,} bytes that were expected")
        file.write(block)
        if advance is not None:
            advance(have, total)
        if (now := time.monotonic()) - since > seconds:
            if have - mark < least * seconds:
                raise _Again(f"brought {have - mark:,} bytes in {now - since:.0f} seconds", slow=True)
            since, mark = now, have


@contextlib.contextmanager
def _opened(address: str, headers: dict[str, str]) -> Any:
    """The server's answer: 200, 206, 304 or 416; everything else is a fault."""
    try:
        request = urllib.request.Request(address, headers=headers)
        answer: Any = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code in (304, 416):
            answer = error
        else:
            error.close()
            text = f"answers {error.code} ({one_reason(error.reason)})"
            if error.code in _LATER:
                raise _Again(text, _retry_after(error.headers)) from None
            raise Failed(text) from None
    except urllib.error.URLError as error:
        again = not isinstance(error.reason, (ssl.SSLCertVerificationError, socket.gaierror, ConnectionRefusedError))
        raise (_Again if again else Failed)(f"cannot be reached ({_reason(error.reason)})") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Again(f"cannot be reached ({_reason(error)})") from None
    try:
        if (answer.headers.get("Content-Encoding") or "identity").lower() != "identity":
            raise Failed("sends the file packed, which was not asked for")
        if answer.status not in (200, 206, 304, 416):  # 204, and whatever else calls itself a success
            raise Failed(f"answers {answer.status}, which holds no file")
        yield answer
    finally:
        answer.close()


def _check_size(total: int | None, size: int | None, have: int, part: Path) -> None:
    if total is None:
        return
    if size is not None and total != size:
        raise Failed(f"has a file of {total:,} bytes, not of {size:,}")
    if total > MOST_BYTES:
        raise Failed(f"has a file of {total:,} bytes, more than the {MOST_BYTES:,} that are fetched")
    folder = next(each for each in part.parents if each.is_dir())
    free = shutil.disk_usage(folder).free
    if total - have > free - ROOM:
        raise Failed(f"has a file of {total:,} bytes, and {folder} has room for {max(0, free - ROOM):,}")


def _length(answer: Any, have: int) -> int | None:
    """The bytes of the whole file, as far as the answer says."""
    if (total := _total(answer)) is not None:
        return total
    text = answer.headers.get("Content-Length") or ""
    return have + int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _total(answer: Any) -> int | None:
    found = re.fullmatch(r"bytes (?:\d{1,18}-\d{1,18}|\*)/(\d{1,18})", answer.headers.get("Content-Range") or "")
    return int(found[1]) if found and answer.status in (206, 416) else None


def _continues(answer: Any, have: int) -> bool:
    found = re.match(r"bytes (\d{1,18})-", answer.headers.get("Content-Range") or "")
    return found is not None and int(found[1]) == have


def _retry_after(headers: Any) -> float | None:
    text = headers.get("Retry-After") or ""
    return float(text) if re.fullmatch(r"\d{1,6}", text) else None


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing for {TIMEOUT:g} seconds"
    return one_reason(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def one_reason(text: Any) -> str:
    """What a server or a library says, short."""
    return " ".join(str(text).split())[:120]


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _left_validator(part: Path) -> Validator:
    try:
        found = json.loads(_beside(part).read_text())
        return Validator(str(found["etag"]), str(found["modified"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Validator()


def _size(part: Path) -> int:
    try:
        return os.stat(part).st_size
    except OSError:
        return 0
