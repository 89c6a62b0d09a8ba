"""Drives the system's Chromium for tests and benchmarks of pages, over the DevTools protocol on a pipe.

Playwright for Python would bring Node and 45 MB for what needs a pipe and JSON; this takes whichever Chromium is
there, of Debian's package chromium or of GitHub's runners, and nothing else.

    with Browser() as browser:
        page = browser.open(path, width=1400, height=1000)
        page.press("Enter")
        page.js("document.title")
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-extensions", "--mute-audio", "--remote-debugging-pipe"),
)
SECONDS = 60.0
CODES = {" ": "Space", "/": "Slash", "?": "Slash"}
# puts two pipes where Chromium looks for them, then becomes Chromium
SHIM = (
    "import fcntl,os,sys;"
    "r,w=(fcntl.fcntl(int(n),fcntl.F_DUPFD,20) for n in sys.argv[1:3]);"
    "os.dup2(r,3);os.dup2(w,4);os.execvp(sys.argv[3],sys.argv[3:])"
)


def find() -> str | None:
    """The system's Chromium or Chrome; GENAUDIT_CHROMIUM names another. None where there is none."""
    given = os.environ.get("GENAUDIT_CHROMIUM")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One Chromium with an empty profile; a context."""

    def __init__(self, *flags: str) -> None:
        program = find()
        if program is None:
            raise FileNotFoundError("there is no Chromium on this machine")
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        theirs, self.out = os.pipe()
        self.into, mine = os.pipe()
        command = [program, *FLAGS, *flags, f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHIM, str(theirs), str(mine), *command],
            pass_fds=(theirs, mine), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.close(mine)
        self.buffer = b""
        self.number = 0
        self.pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, path: Path, *, width: int = 1400, height: int = 1000, dark: bool = False) -> Page:
        """A page of a file, loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        page.size(width, height)
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme",
                                                           "value": "dark" if dark else "light"}])  # fmt: skip
        page.send("Page.navigate", url=path.resolve().as_uri())
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page

    def send(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """One command and its answer; events that come meanwhile go to their pages."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            answer = self._next(end)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if (page := self.pages.get(answer.get("sessionId", ""))) is not None:
                page.events.append((answer["method"], answer["params"]))

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            if not select.select([self.into], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self.into, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Page:
    """A tab. `events` holds what the protocol told of it, as (method, parameters)."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send(self, method: str, **parameters: Any) -> Any:
        return self.browser.send(method, self.session, **parameters)

    def js(self, expression: str) -> Any:
        """The value of an expression, of a promise its result; an exception of the page is raised here."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = SECONDS) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}")
            time.sleep(0.02)

    def size(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key by its name ("Enter", "a", " "); modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        code = CODES.get(key) or (f"Key{key.upper()}" if len(key) == 1 else key)
        virtual = {"Enter": 13, " ": 32, "Escape": 27, "Tab": 9}.get(key, ord(key.upper()) if len(key) == 1 else 0)
        names = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "End": 35, "Home": 36}
        about: dict[str, Any] = {"key": key, "code": code, "modifiers": modifiers,
                                 "windowsVirtualKeyCode": names.get(key, virtual)}  # fmt: skip
        if len(key) == 1 and not modifiers & 2:
            about["text"] = key
        if key == "Enter":
            about["text"] = "\r"
        self.send("Input.dispatchKeyEvent", type="keyDown", **about)
        about.pop("text", None)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str, modifiers: int = 0) -> None:
        """The left button in the middle of the first such element."""
        place = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1,
                      modifiers=modifiers)  # fmt: skip

    def requests(self) -> list[str]:
        """The addresses of all that the page asked for."""
        return [told["request"]["url"] for method, told in self.events if method == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Exceptions of the page, and what the browser logged: what its policy refused is among them."""
        found = []
        for method, told in self.events:
            if method == "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("warning", "error"):
                found.append(told["entry"]["text"])
        return found

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))
