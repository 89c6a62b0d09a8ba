"""Why something failed, in words: no message of ours shows how Python writes an exception."""

from __future__ import annotations

import json
import pickle
import socket
import urllib.error
from pathlib import Path

import pytest
import torch

from genaudit.errors import reason_of

UNREACHABLE = (
    "HTTPSConnectionPool(host='hub.invalid', port=443): Max retries exceeded with url: /x (Caused by "
    "NameResolutionError(\"<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve 'hub.invalid'\"))"
)


def raised(action: object) -> BaseException:
    with pytest.raises(Exception) as caught:
        action()  # type: ignore[operator]
    return caught.value


def test_a_reason_reads_as_a_phrase_and_shows_no_mark_of_python(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    errors = {
        "Name or service not known": urllib.error.URLError(socket.gaierror(-2, "Name or service not known")),
        "HTTP Error 404: Not Found": urllib.error.HTTPError("http://x", 404, "Not Found", {}, None),  # type: ignore[arg-type]
        "hub.invalid cannot be reached": OSError(UNREACHABLE),
        "byte 3 is not UTF-8 text": raised(lambda: b"abc\xff".decode()),
        f"No such file or directory: {tmp_path / 'none'}": raised((tmp_path / "none").read_bytes),
        "std is missing": raised(lambda: {"mean": 1}["std"]),
        "timeout": TimeoutError(),
        "end of file": EOFError(),
        "Expecting value: line 1 column 1 (char 0)": raised(lambda: json.loads("")),
        "there is not enough memory": MemoryError(),
        "a\\x1b[2J name": ValueError("a\x1b[2J name\nsecond line"),
        "its own words": "its own words",
    }
    for expected, error in errors.items():
        assert reason_of(error) == expected
    of_torch = reason_of(raised(lambda: network.load_state_dict({})))
    assert "Missing key(s)" in of_torch, "the head alone says nothing"
    assert "\\n" not in of_torch
    assert reason_of(raised(lambda: pickle.loads(b""))) == "Ran out of input"
    assert len(reason_of(ValueError("x" * 10_000))) == 300
