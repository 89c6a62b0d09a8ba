"""Which tests run which lines, and what they say of an edit: the running half of `mutate.py`.

A mutant is tried in a forked child of one process that has torch, SciPy, timm and pytest loaded, so that it costs about
a second. Tests run in a copy of the repository, in which the edit is really written: what tests start sees it too.
"""

from __future__ import annotations

import contextlib
import importlib
import json
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
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = f"collecting {report.nodeid}"


class Traced:
    """A pytest plugin: notes per test the lines of genaudit that it runs, and its seconds of the processor."""

    def __init__(self, folder: Path) -> None:
        import coverage

        self.folder = folder
        self.coverage = coverage.Coverage(source=[str(folder / "genaudit")], data_file=None, config_file=False)
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        before = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - before

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def lines(self) -> dict[str, dict[str, list[int]]]:
        """{file: {test: lines}}; under "" the lines that run at import."""
        data = self.coverage.get_data()
        found: dict[str, dict[str, list[int]]] = {}
        for file in data.measured_files():
            per_test: dict[str, list[int]] = defaultdict(list)
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    per_test[test].append(line)
            found[str(Path(file).relative_to(self.folder))] = {test: sorted(lines) for test, lines in per_test.items()}
        return found

    def start(self) -> None:
        """Starts, and imports every module: lines that run at import belong to no test."""
        self.coverage.start()
        for path in sorted((self.folder / "genaudit").rglob("*.py")):
            with contextlib.suppress(Exception):  # an optional package that is not there
                importlib.import_module(module_of(str(path.relative_to(self.folder))))


def module_of(file: str) -> str:
    """The dotted name of a file of the repository."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def trace(tree: Tree, tests: str, out: Path, *, again: bool) -> None:
    """Writes which lines each test under `tests` runs, unless it is known; tests that fail unedited are left out."""
    if out.exists() and not again:
        return

    def inside(_: int) -> None:
        tree.enter()
        traced = Traced(tree.folder)
        traced.start()
        pytest.main([tests, "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[traced])
        traced.coverage.stop()
        failed = set(traced.failed)
        lines = {f: {t: n for t, n in per.items() if t not in failed} for f, per in traced.lines().items()}
        text = json.dumps({"lines": lines, "seconds": dict(traced.seconds), "failed": sorted(failed)})
        out.with_suffix(".part").write_text(text)
        out.with_suffix(".part").rename(out)

    in_child(inside, out.with_suffix(".log"), cpu_seconds=1800, wall_seconds=3600)


def try_tests(tree: Tree, tests: Sequence[str], log: Path, cpu_seconds: int) -> tuple[str, str]:
    """What a session of its own says of the tree as it stands."""

    def inside() -> list[Any]:
        sys.dont_write_bytecode = True  # an edited file's compiled form must not outlive it
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        tree.enter()
        chosen = Chosen(tests)
        files = list(dict.fromkeys(test.split("::")[0] for test in tests))
        return [int(pytest.main([*QUIET, *files], plugins=[chosen])), chosen.failed]

    return verdict_of_child(inside, log, cpu_seconds)


def verdict_of_child(run: Callable[[], list[Any]], log: Path, cpu_seconds: int) -> tuple[str, str]:
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
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what tests started and left behind
    with os.fdopen(read) as pipe:
        return pipe.read()
