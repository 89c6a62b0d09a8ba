"""Which tests run which lines, and what they say of an edit: the running half of `mutate.py`.

A mutant is tried in a forked child of one process that has torch, SciPy, timm and pytest loaded, so that it costs about
a second. Tests run in a copy of the repository, in which the edit is really written: what tests start sees it too.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

PRELOADED = ("numpy", "scipy.stats", "scipy.linalg", "scipy.optimize", "scipy.special", "scipy.spatial", "torch",
             "torchvision", "timm", "sklearn.cluster", "sklearn.metrics", "PIL.Image", "hydra", "omegaconf",
             "matplotlib", "jsonschema", "jinja2", "rich.console", "hypothesis", "h5py",
             "safetensors.torch")  # fmt: skip
COPIED = ("genaudit", "genaudit_papers", "configs", "tests", "scripts", "docs", "examples")
QUIET = ("-q", "-x", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore")


def preload(root: Path) -> None:
    """Imports what the repository uses and is slow and not ours, once; children inherit it."""
    code = "".join(path.read_text(encoding="utf-8") for path in (root / "genaudit").rglob("*.py"))
    for name in PRELOADED:
        if f"import {name.split('.')[0]}" in code or f"from {name.split('.')[0]}" in code:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    from hypothesis import settings

    # the same cases every time, none remembered, and no deadline: a busy machine must not kill a mutant
    settings.register_profile("mutation", deadline=None, derandomize=True, database=None)
    settings.load_profile("mutation")


class Tree:
    """A copy of the repository in which files are edited."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in root.iterdir():
            if path.is_file():
                shutil.copy2(path, folder / path.name)

    def remove(self) -> None:
        """Removes the copy."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def enter(self) -> None:
        """Makes the copy's packages the ones that are imported, here and in processes that tests start."""
        sys.dont_write_bytecode = True  # an edited file's compiled form must not outlive it
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = str(self.folder)
        sys.path[:] = [str(self.folder), *(p for p in sys.path if p not in ("", str(self.root), str(self.folder)))]

    @contextlib.contextmanager
    def edited(self, file: str, text: str) -> Iterator[None]:
        """The file holds `text` inside the block."""
        path = self.folder / file
        path.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            shutil.copy2(self.root / file, path)  # with its time, so that compiled files are valid again


class Chosen:
    """A pytest plugin: runs the wanted tests in the wanted order and notes the first that fails."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self.order = {name: index for index, name in enumerate(wanted)}
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        wanted = [(place, item) for item in items if (place := self._place(item.nodeid)) is not None]
        items[:] = [item for _, item in sorted(wanted, key=lambda pair: pair[0])]

    def _place(self, name: str) -> int | None:
        return self.order.get(name, self.order.get(name.split("::")[0]))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = f"collecting {report.nodeid}"


class Traced:
    """A pytest plugin: writes, file by file, which lines of genaudit each test runs, and its processor seconds."""

    def __init__(self, tree: Tree, folder: Path) -> None:
        import coverage

        self.tree, self.folder = tree, folder
        self.coverage = coverage.Coverage(source=[str(tree.folder / "genaudit")], data_file=None, config_file=False)
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        before = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - before
            if nextitem is None or nextitem.path != item.path:
                self.write(str(item.path.relative_to(self.tree.folder)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def write(self, tests: str) -> None:
        """Writes what was traced since the last time, under the name of the test file."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines: dict[str, dict[str, list[int]]] = {}
        for file in data.measured_files():
            per_test: dict[str, list[int]] = defaultdict(list)
            for line, names in data.contexts_by_lineno(file).items():
                for name in names:
                    per_test[name].append(line)
            kept = {name: sorted(found) for name, found in per_test.items() if name not in self.failed}
            lines[str(Path(file).relative_to(self.tree.folder))] = kept
        record = {"lines": lines, "seconds": self.seconds, "failed": sorted(self.failed)}
        out = traced_file(self.folder, tests)
        out.with_suffix(".part").write_text(json.dumps({"digest": digest_of(self.tree.root / tests), **record}))
        out.with_suffix(".part").rename(out)
        self.seconds, self.failed = {}, set()
        self.coverage.erase()
        self.coverage.start()

    def start(self) -> None:
        """Starts, and imports every module: lines that run at import belong to no test."""
        self.coverage.start()
        for path in sorted((self.tree.folder / "genaudit").rglob("*.py")):
            if path.stem == "__main__":
                continue
            with contextlib.suppress(Exception):  # an optional package that is not there
                importlib.import_module(module_of(str(path.relative_to(self.tree.folder))))
        self.write(IMPORT)


IMPORT = "import"  # in place of a test file: what runs when modules are imported


def traced_file(folder: Path, tests: str) -> Path:
    """Where the lines that a test file runs are kept."""
    return folder / f"trace-{tests.replace('/', '-')}.json"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes; "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def module_of(file: str) -> str:
    """The dotted name of a file of the repository."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def trace(tree: Tree, places: Sequence[str], folder: Path, *, again: bool, minutes: float) -> bool:
    """Traces the test files at these places that are new or changed since; whether all are traced.

    Tests that fail without an edit are left out. What is traced before time is over stays traced.
    """
    tests: list[str] = []
    for place in places:
        found = sorted((tree.root / place).rglob("test_*.py")) if (tree.root / place).is_dir() else [tree.root / place]
        tests += [str(path.relative_to(tree.root)) for path in found]

    def missing() -> list[str]:
        return [test for test in tests if not _is_traced(tree, folder, test)]

    todo = tests if again else missing()
    if not todo:
        return True

    def inside(_: int) -> None:
        tree.enter()
        traced = Traced(tree, folder)
        traced.start()
        pytest.main([*todo, "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[traced])
        for test in todo:  # files of which no test ran
            if not _is_traced(tree, folder, test):
                traced.write(test)

    in_child(inside, folder / "trace.log", wall_seconds=math.ceil(60 * min(minutes, 10_000)))
    return not missing()


def _is_traced(tree: Tree, folder: Path, test: str) -> bool:
    path = traced_file(folder, test)
    return path.exists() and json.loads(path.read_text())["digest"] == digest_of(tree.root / test)


def try_tests(tree: Tree, tests: Sequence[str], log: Path, cpu_seconds: int) -> Verdict:
    """What a session of its own says of the tree as it stands."""

    def inside() -> list[Any]:
        tree.enter()
        chosen = Chosen(tests)
        files = list(dict.fromkeys(test.split("::")[0] for test in tests))
        return [int(pytest.main([*QUIET, *files], plugins=[chosen])), chosen.failed]

    return verdict_of_child(inside, log, cpu_seconds)


Verdict = tuple[str, str]


def verdict(
    tests: Sequence[str],
    edited: Callable[[Sequence[str]], Verdict],
    unedited: Callable[[Sequence[str]], Verdict],
    sound: dict[str, bool],
) -> Verdict:
    """What the tests say of an edit, where those that fail without any edit say nothing.

    `sound` keeps whether a test that caught an edit passes alone without one.
    """
    while tests := [test for test in tests if sound.get(test, True)]:
        outcome, test = edited(tests)
        if outcome == "timeout" and unedited(tests)[0] == "timeout":
            return "survived", ""  # they take longer than is allowed whatever is edited
        if outcome != "killed" or test not in tests:
            return outcome, test
        if test not in sound:
            sound[test] = unedited([test])[0] == "survived"
        if sound[test]:
            return outcome, test
    return "survived", ""


def verdict_of_child(run: Callable[[], list[Any]], log: Path, cpu_seconds: int) -> Verdict:
    """("killed", test), ("timeout", "") or ("survived", "") of `run`, which gives an exit code and what failed."""

    def inside(write: int) -> None:
        os.write(write, json.dumps(run()).encode())

    text = in_child(inside, log, cpu_seconds=cpu_seconds, wall_seconds=60 * cpu_seconds)
    if not text:
        return "timeout", ""
    code, failed = json.loads(text)
    return ("survived", "") if code in (0, 5) and not failed else ("killed", failed)


def in_child(work: Any, log: Path, *, cpu_seconds: int = 10**6, wall_seconds: int = 10**6) -> str:
    """What `work(pipe)` wrote in a forked child; "" where it died or took too long."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(read)
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
        tempfile.tempdir = None
        code = 1
        try:
            work(write)
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(write)
    end = time.monotonic() + wall_seconds
    try:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.02)
    except BaseException:  # this process ends: so does the child, after its own
        os.killpg(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what tests started and left behind
    with os.fdopen(read) as pipe:
        return pipe.read()
