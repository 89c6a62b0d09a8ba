"""The mutation tool: its edits are what they say, and the tests of a small package catch those that they should."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def _script(name: str) -> Any:
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    return importlib.import_module(name)


tool = _script("mutants")


def _edits(tmp_path: Path, source: str) -> list[str]:
    (tmp_path / "code.py").write_text(source)
    return [mutant.apply(source) for mutant in tool.mutants(tmp_path, "code.py")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["(a <= b)", "(a > b)"]),
        ("a == b", ["(a != b)"]),
        ("a + b", ["(a - b)"]),
        ("a / b", ["(a * b)"]),
        ("x += 1", ["x -= 1", "pass", "x += 2"]),
        ("a and b", ["(a or b)"]),
        ("not a", ["(a)"]),
        ("-a", ["(a)"]),
        ("x = 1.5", ["x = 3.0"]),
        ("x = 0.0", ["x = 1.0"]),
        ("x = True", ["x = False"]),
        ("x = f(a, b)", ["x = f(b, a)"]),
        ("x = f(a, k=b)", ["x = f(a)"]),
        ("f(a)", ["pass"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("ü = 'é' * a; x = b - c", ["ü = 'é' * a; x = (b + c)"]),  # columns count bytes
    ],
)
def test_an_edit_changes_one_thing(tmp_path: Path, source: str, expected: list[str]) -> None:
    assert sorted(_edits(tmp_path, source)) == sorted(expected)


@pytest.mark.parametrize(
    "source",
    [
        "def f() -> Array[1]:\n    'text of 3'\n    raise Error(a + b)",
        "x: Bound[2]",
        "if TYPE_CHECKING:\n    x = 1",
        "__all__ = [1]",
        "x = f'{a + 1}'",
        "x = max(a, b)",
        "x = 'a' + b",
        "x = zip(a, b, strict=True)",
        "class A(Base[3]):\n    pass",
        "return_nothing = None",
    ],
)
def test_what_only_says_something_is_left_alone(tmp_path: Path, source: str) -> None:
    assert _edits(tmp_path, source) == []


def test_a_key_stays_while_the_lines_move_and_differs_between_edits_that_read_alike(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def f():\n    g(1)\n    g(1)\n")
    keys = [mutant.key for mutant in tool.mutants(tmp_path, "code.py")]
    assert len(set(keys)) == len(keys) == 4
    (tmp_path / "code.py").write_text("\n\ndef f():\n    g(1)\n    g(1)\n")
    assert [mutant.key for mutant in tool.mutants(tmp_path, "code.py")] == keys


def test_a_test_file_is_found_by_any_way_to_import_the_module(tmp_path: Path) -> None:
    imports = {
        "tests/a/test_code.py": "",
        "tests/b/test_whole.py": "import genaudit.a.code",
        "tests/b/test_line.py": "from genaudit.a import other, code",
        "tests/b/test_lines.py": "from genaudit.a import (\n    code,\n    other,\n)",
        "tests/b/test_names.py": "from genaudit.a.code import f",
        "tests/b/test_elsewhere.py": "from genaudit.a import (\n    other,\n)\ncode = 1",
        "genaudit/a/code.py": "x = 1",
        "genaudit/a/user.py": "from genaudit.a import code",
        "tests/a/test_user.py": "",
    }
    for name, text in imports.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    mutant, *_ = tool.mutants(tmp_path, "genaudit/a/code.py")
    stages = _script("mutate").Mirror(tmp_path, 3).tests(mutant, 20.0)
    found = [f"tests/b/test_{name}.py" for name in ("line", "lines", "names", "whole")]
    assert stages == [["tests/a/test_code.py"], found, ["tests/a/test_user.py"]]


CODE = '''"""A module."""

LIMIT = 10


class Counter:
    def __init__(self, step: int = 2) -> None:
        self.step = step

    @property
    def twice(self) -> int:
        return 2 * self.step


def clamp(x: int) -> int:
    """Held at the limit."""
    if x > LIMIT:
        return LIMIT
    return x


def unseen(x: int) -> int:
    return x + 1
'''
TESTS = """from pathlib import Path
from genaudit.code import LIMIT, Counter, clamp

def test_clamp(tmp_path):
    assert [clamp(3), clamp(12)] == [3, 10]

def test_counter(capsys):
    assert (Counter().step, Counter(5).twice) == (2, 10)

def test_that_passes_once_only_catches_nothing():
    assert clamp(10) == 10
    Path("once").touch(exist_ok=False)
"""


def test_it_finds_what_the_tests_of_a_small_package_catch(tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    for name, text in {"genaudit/__init__.py": "", "genaudit/code.py": CODE, "tests/test_code.py": TESTS}.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    (tmp_path / "root" / "same.json").write_text(
        json.dumps([{"file": "genaudit/code.py", "function": "clamp", "before": "x > LIMIT", "after": "(x >= LIMIT)",
                     "reason": "at the limit both give the limit"}])
    )  # fmt: skip
    keys = ["--all", "--tests", "tests", "--only", "genaudit/code.py", "--equivalent", "same.json"]
    places = ["--root", str(tmp_path / "root"), "--state", str(tmp_path / "state")]
    command = [sys.executable, "-m", "mutate", *keys, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPTS)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in (tmp_path / "state" / "results.jsonl").read_text().splitlines()]
    outcomes = {(each["before"], each["after"]): each["outcome"] for each in results}
    assert outcomes == {
        ("10", "11"): "killed", ("10", "9"): "killed",  # a constant of the module
        ("2", "3"): "killed", ("2", "1"): "killed",  # a default, and a number in a property
        ("return 2 * self.step", "return None"): "killed", ("2 * self.step", "(2 / self.step)"): "killed",
        ("x > LIMIT", "(x >= LIMIT)"): "survived", ("x > LIMIT", "(x < LIMIT)"): "killed",
        ("return LIMIT", "return None"): "killed", ("return x", "return None"): "killed",
        ("return x + 1", "return None"): "uncovered", ("x + 1", "(x - 1)"): "uncovered", ("1", "2"): "uncovered",
    }  # fmt: skip
    caught_by = {each["test"] for each in results if each["outcome"] == "killed"}
    assert caught_by == {"tests/test_code.py::test_clamp", "tests/test_code.py::test_counter"}
    found = json.loads((tmp_path / "state" / "score.json").read_text())
    assert found["files"] == found["all"]
    assert (found["all"]["mutants"], found["all"]["equivalent"], found["all"]["uncovered"]) == (15, 1, 3)
    assert found["all"]["score"] == pytest.approx(11 / 14)
    assert found["all"]["interval"] == [0.5241, 0.9243]  # Wilson's, of 11 in 14
    left = json.loads((tmp_path / "state" / "survivors.json").read_text())
    assert {each["function"] for each in left} == {"unseen"}
    # a second run has nothing to do
    subprocess.run(command, capture_output=True, check=True, cwd=SCRIPTS)
    assert len((tmp_path / "state" / "results.jsonl").read_text().splitlines()) == 15
    # a test file that changed is traced again
    more = TESTS.replace("clamp", "clamp, unseen", 1) + "\ndef test_unseen():\n    assert unseen(1) == 2\n"
    (tmp_path / "root" / "tests" / "test_code.py").write_text(more)
    subprocess.run([*command, "--again"], capture_output=True, check=True, cwd=SCRIPTS)
    assert json.loads((tmp_path / "state" / "score.json").read_text())["all"]["score"] == 1.0
