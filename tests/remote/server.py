"""An HTTP server on loopback whose faults are chosen: files, ranges, and everything that goes wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# what a fault does in place of the answer: True where it has answered
Fault = Callable[["Handler", bytes], bool]


@dataclass
class Site:
    """Files by path, and one fault for each of the next requests.

    Attributes:
        files: path => bytes. faults: taken one a request, in their order. requests: (path, headers) as they came.
        validators: whether answers carry an ETag. ranges: whether ranges are served.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault | None] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    validators: bool = True
    ranges: bool = True

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.site.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        path = self.path.partition("?")[0].lstrip("/")
        fault = self.site.faults.pop(0) if self.site.faults else None
        if fault is not None and fault(self, self.site.files.get(path, b"")):
            return
        self.serve(self.site.files.get(path))

    def serve(self, content: bytes | None, until: int | None = None) -> None:
        """The file, or the part that was asked for; it breaks off at `until`."""
        if content is None:
            self.answer(404, b"")
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"' if self.site.validators else ""
        if etag and self.headers.get("If-None-Match") == etag:
            self.answer(304, b"")
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fresh = self.headers.get("If-Range", etag) == etag
        if asked and self.site.ranges and fresh:
            start = int(asked[1])
            if start >= len(content):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            where = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:until], {"Content-Range": where, "ETag": etag}, len(content) - start)
        else:
            self.answer(200, content[:until], {"ETag": etag}, len(content))
        self.close_connection = until is not None

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in (headers or {}).items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


def cut(at: int) -> Fault:
    """Claims the whole file and breaks off after its first `at` bytes."""

    def fault(handler: Handler, content: bytes) -> bool:
        handler.serve(content, at)
        return True

    return fault


def status(code: int, **headers: str) -> Fault:
    def fault(handler: Handler, content: bytes) -> bool:
        handler.answer(code, b"<html>no</html>", {key.replace("_", "-"): value for key, value in headers.items()})
        return True

    return fault


def says(body: bytes, **headers: str) -> Fault:
    """Another body than the file's."""

    def fault(handler: Handler, content: bytes) -> bool:
        handler.answer(200, body, {key.replace("_", "-"): value for key, value in headers.items()})
        return True

    return fault


def endless(handler: Handler, content: bytes) -> bool:
    """No length, and bytes without end."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
    handler.close_connection = True
    return True


def unmeasured(handler: Handler, content: bytes) -> bool:
    """No length: the end of the connection is the end of the file."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(content)
    handler.close_connection = True
    return True


@contextlib.contextmanager
def served(**files: bytes) -> Iterator[Site]:
    site = Site(files={name.replace("__", "."): content for name, content in files.items()})
    handler = type("Bound", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
