"""The fuzzer itself: the same cases on every run, and it hears a canary, a write outside, a hang and an exception."""

from __future__ import annotations

import ctypes.util
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

import fuzz_inputs  # noqa: E402
import fuzz_mutations  # noqa: E402
import fuzz_targets  # noqa: E402

from genaudit.errors import UserError  # noqa: E402


def test_a_case_of_a_seed_is_the_same_on_every_run() -> None:
    document = {"a": [1, {"b": "c"}], "d": None}
    for number in range(50):
        one, two = (random.Random(f"0 {number}") for _ in range(2))
        assert fuzz_mutations.of_bytes(b"x" * 99, b"y" * 9, one) == fuzz_mutations.of_bytes(b"x" * 99, b"y" * 9, two)
        assert fuzz_mutations.of_document(document, one) == fuzz_mutations.of_document(document, two)
    assert document == {"a": [1, {"b": "c"}], "d": None}


@pytest.mark.parametrize("kind", [kind for kind in fuzz_inputs.KINDS if kind != "config"])
def test_spoilt_inputs_end_in_a_result_or_a_sentence(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few cases here; `make fuzz` runs thousands."""
    monkeypatch.setenv("FUZZ_CANARY", str(tmp_path))
    (tmp_path / "home").mkdir()
    run = fuzz_targets.TARGETS[kind](tmp_path / "home")
    ended: dict[str, int] = {"result": 0, "refused": 0}
    for number in range(25):
        folder = tmp_path / f"case{number}"
        folder.mkdir()
        try:
            run(random.Random(f"1 {number}"), folder)
        except UserError:
            ended["refused"] += 1
        else:
            ended["result"] += 1
    assert sum(ended.values()) == 25
    assert not (tmp_path / "unpickled").exists()


def _serve(answers: Callable[[random.Random, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the fuzzer's process says of one case that does this; in this process, so that it can be watched."""
    monkeypatch.setitem(fuzz_targets.TARGETS, "image", lambda home: answers)
    monkeypatch.setattr(fuzz_inputs.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(fuzz_inputs.faulthandler, "enable", lambda: None)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(fuzz_inputs.tempfile, "tempdir", None)
    for key in ("FUZZ_CANARY", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(key, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    said: list[Any] = []

    class Pipe:
        numbers = iter((7, None))

        def recv(self) -> Any:
            return next(self.numbers)

        def send(self, answer: Any) -> None:
            said.append(answer)

    fuzz_inputs.serve(Pipe(), 0, ["image"], tmp_path, 1000.0)
    assert said[0] == "ready"
    kind, outcome, found = said[1]
    assert (kind, outcome) == ("image", "finding" if found else outcome)
    return str(found)


def _raises(rng: random.Random, folder: Path) -> None:
    raise ValueError("not told to a user")


def _writes(rng: random.Random, folder: Path) -> None:
    (folder.parent / "elsewhere").write_text("x")


def _starts(rng: random.Random, folder: Path) -> None:
    os.system("true")


def _starts_what_python_starts(rng: random.Random, folder: Path) -> None:
    subprocess.run(["uname", "-p"], check=True, stdout=subprocess.DEVNULL)


def _asks_for_the_machine(rng: random.Random, folder: Path) -> None:
    """As a library does when it is imported: Python itself starts `uname` for it, and `ldconfig`."""
    platform._Processor.from_subprocess()  # type: ignore[attr-defined]
    ctypes.util.find_library("c")


def _sings(rng: random.Random, folder: Path) -> None:
    fuzz_targets.Canary().__reduce__()[0](os.path.join(os.environ["FUZZ_CANARY"], "unpickled"))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (_raises, "not told to a user"),
        (_writes, "outside its folder: open"),
        (_starts, "os.system"),
        (_starts_what_python_starts, "subprocess.Popen"),
        (_asks_for_the_machine, ""),
        (_sings, "a canary sang"),
        (lambda rng, folder: (folder / "inside").write_text("x"), ""),
    ],
)
def test_a_finding_is_found(
    case: Callable[[random.Random, Path], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _serve(case, tmp_path, monkeypatch)
    assert words in found
    assert bool(found) == bool(words)


def test_a_refusal_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(rng: random.Random, folder: Path) -> None:
        raise UserError("what was expected")

    assert _serve(refuses, tmp_path, monkeypatch) == ""
